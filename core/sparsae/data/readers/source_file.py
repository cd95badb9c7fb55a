"""`SourceFile`: a regular file on disk, looked at once, and what every reader needs to know of it."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, final

from sparsae._text import printable
from sparsae.data.readers.compression import SUFFIXES, decompressed, find_compression
from sparsae.errors import FileAccessError, FileFormatError, FileMissingError, SparsaeError
from sparsae.files import file_kind
from sparsae.files.opening import open_unbuffered

_names: dict[str, str] = {}  # of paths that go by another name in messages
HEAD_BYTES = 1024  # enough for the signature of every format
UNREADABLE = (errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE)  # any other error is one of the file's content


@final
@dataclass(frozen=True)
class SourceFile:
    """A regular file to read data from.

    Attributes
    ----------
    path : Path
    label : str
        The path as messages show it: printable, on one line, at most 200 characters.
    size : int
        Bytes on disk.
    head : bytes
        The first bytes, after decompression.
    compression : {"", "gzip", "bzip2", "xz"}
        How the file is compressed.
    """

    path: Path
    label: str
    size: int
    head: bytes
    compression: str

    @classmethod
    def find(cls, path: str | os.PathLike[str]) -> SourceFile:
        """Look at a path and read the first bytes.

        Raises
        ------
        FileMissingError, FileAccessError
            When there is no such file, it may not be read, or it is a pipe, a device or a socket.
        FileFormatError
            When it is a folder.
        """
        label = path_label(path)
        with open_regular(path) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(HEAD_BYTES)
        source = cls(Path(path), label, size, head, find_compression(head))
        if not source.compression:
            return source
        with source.open() as stream, damage_refused(label, f"{source.compression} file"):
            return cls(source.path, label, size, stream.read(HEAD_BYTES), source.compression)

    @property
    def compressed(self) -> bool:
        """Whether the file is compressed as a whole."""
        return self.compression != ""

    @property
    def suffix(self) -> str:
        """The ending of the name in lower case, without that of a compression."""
        suffixes = [suffix.lower() for suffix in self.path.suffixes]
        if suffixes and suffixes[-1] in SUFFIXES:
            suffixes.pop()
        return suffixes[-1] if suffixes else ""

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Open for reading from the start; decompressed up to the limit on expansion."""
        with open_regular(self.path) as file:
            if self.compression:
                yield decompressed(file, self.compression, self.label, self.size)
            else:
                yield file


def path_label(path: str | os.PathLike[str]) -> str:
    """Return a path as messages show it: printable, on one line, at most 200 characters."""
    text = os.fspath(path)
    for known, name in _names.items():
        if text.startswith(known):
            text = name + text.removeprefix(known)
    return shorten(text, 200)


@contextmanager
def path_goes_by(path: str | os.PathLike[str], name: str) -> Iterator[None]:
    """Within the block, messages call a path by another name: of a copy, the name of what was copied."""
    _names[os.fspath(path)] = name
    try:
        yield
    finally:
        del _names[os.fspath(path)]


def shorten(text: object, length: int = 60) -> str:
    """Return text from a file in a printable form, cut where it is longer than `length`."""
    shown = printable(str(text)[: 4 * length])
    return shown if len(shown) <= length else f"{shown[: length - 3]}..."


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a regular file for reading; the open never waits.

    Raises
    ------
    FileMissingError, FileAccessError, FileFormatError
        As `SourceFile.find` does.
    """
    label = path_label(path)
    try:
        check_regular(os.stat(path), label)  # noqa: PTH116  a device is not even opened
        file = BufferedReader(open_unbuffered(path, "r", os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)))
    except SparsaeError:
        raise
    except ValueError as error:  # an embedded NUL character
        raise FileMissingError(f"There is no file {label}: {error}.") from error
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise FileMissingError(f"There is no file {label}: its name is too long.") from error
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise FileMissingError(f"There is no file {label}.") from error
        raise FileAccessError(f"{label} cannot be read: {error.strerror or error}.") from error
    try:
        check_regular(os.fstat(file.fileno()), label)  # the path may have been replaced in between
    except BaseException:
        file.close()
        raise
    return file


def check_regular(status: os.stat_result, label: str) -> None:
    """Raise `FileAccessError` for a pipe, a device or a socket, `FileFormatError` for a folder."""
    if stat.S_ISDIR(status.st_mode):
        raise FileFormatError(f"{label} is a folder. For pictures in it use patches:{label}.")
    if not stat.S_ISREG(status.st_mode):
        raise FileAccessError(
            f"{label} is {file_kind(status)}, not a regular file; write the data to a file first, then give that file."
        )


@contextmanager
def damage_refused(label: str, kind: str) -> Iterator[None]:
    """Turn whatever a parser raises on a damaged file into one `FileFormatError` that names the file."""
    try:
        yield
    except SparsaeError:
        raise
    except MemoryError as error:
        raise FileFormatError(f"{label} cannot be read as a {kind}: the memory does not suffice.") from error
    except OSError as error:
        if error.errno in UNREADABLE:
            raise FileAccessError(f"{label} cannot be read: {error.strerror}.") from error
        raise FileFormatError(f"{label} is damaged or not a {kind}: {shorten(error, 150)}.") from error
    except Exception as error:
        what = shorten(error, 150).rstrip(".") or type(error).__name__
        raise FileFormatError(f"{label} is damaged or not a {kind}: {what}.") from error
