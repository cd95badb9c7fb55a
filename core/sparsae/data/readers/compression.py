"""Compressed files: gzip, bzip2 and xz, decompressed as a stream that ends with an error where it grows too long."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol, cast, final

from sparsae.data.readers.limits import expansion_error, expansion_limit

SIGNATURES = {"gzip": b"\x1f\x8b", "bzip2": b"BZh", "xz": b"\xfd7zXZ\0"}
SUFFIXES = (".gz", ".bz2", ".xz")
XZ_MEMORY = 1 << 28  # a dictionary of 64 MB, as `xz -9` has it, takes less
READ_BYTES = 1 << 16


def find_compression(head: bytes) -> str:
    """Return how a file that begins so is compressed; "" where it is not."""
    return next((name for name, signature in SIGNATURES.items() if head.startswith(signature)), "")


def decompressed(file: BinaryIO, compression: str, label: str, compressed_bytes: int) -> BinaryIO:
    """Return the decompressed bytes of an open file as a stream.

    Parameters
    ----------
    file : binary file
    compression : {"gzip", "bzip2", "xz"}
    label : str
        How messages call the file.
    compressed_bytes : int
        Its size, which limits what it may expand to.
    """
    makers: dict[str, Callable[[], Any]] = {
        "gzip": lambda: gzip.GzipFile(fileobj=file),
        "bzip2": lambda: bz2.BZ2File(file),
        "xz": lambda: _XzStream(file),
    }
    limited = _LimitedStream(makers[compression](), label, compressed_bytes)
    return cast("BinaryIO", io.BufferedReader(limited))


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


@final
class _LimitedStream(io.RawIOBase):
    """Decompressed bytes, which end with an error where there are too many."""

    def __init__(self, stream: _Readable, label: str, compressed_bytes: int) -> None:
        self._stream, self._label, self._compressed_bytes = stream, label, compressed_bytes
        self._left = expansion_limit(compressed_bytes)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._stream.read(min(len(buffer), self._left + 1))
        self._left -= len(piece)
        if self._left < 0:
            raise expansion_error(self._label, self._compressed_bytes)
        buffer[: len(piece)] = piece
        return len(piece)


@final
class _XzStream:
    """Bytes of an xz file, which `lzma.LZMAFile` would decompress with as much memory as the file asks for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._decompressor = self._new()

    @staticmethod
    def _new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        """Return up to that many bytes, none at the end of the last stream."""
        while True:
            if self._decompressor.eof:
                rest = self._decompressor.unused_data.lstrip(b"\0") or self._file.read(READ_BYTES).lstrip(b"\0")
                if not rest:
                    return b""
                self._decompressor = self._new()  # streams may follow one another, with padding between them
            else:
                rest = self._file.read(READ_BYTES) if self._decompressor.needs_input else b""
                if self._decompressor.needs_input and not rest:
                    raise EOFError("the compressed data ends before its end marker")
            found = self._decompressor.decompress(rest, max_length=size)
            if found:
                return found
