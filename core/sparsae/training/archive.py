"""Archives of arrays with a JSON header: the format of checkpoints and of model files.

An archive is a NumPy ``.npz`` file without compression.  Its member ``header`` is a JSON object as bytes; its field
``members`` lists every other member with dtype, shape and checksum.  A reader compares what the file declares with
that list and with the size of the file before it allocates anything, so that a damaged or hostile file costs no more
memory than its own size.
"""

from __future__ import annotations

import json
import math
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sparsae._text import printable
from sparsae.errors import FileFormatError
from sparsae.files import check_readable
from sparsae.machine.resources import memory_limit
from sparsae.training.schema import parse_integer

HEADER = "header"
_ENCRYPTED = 0x1
_PIECE_BYTES = 1 << 20
MOST_TEXT = 300  # characters of what a library says about a damaged file
_NPY_HEADER_BYTES = 4096  # ours take 128; arrays of a structured dtype, which we never write, could take more


def write_archive(file: BinaryIO, header: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write header and arrays to an open file."""
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    members = {
        name: {"dtype": array.dtype.str, "shape": list(array.shape), "crc32": zlib.crc32(_as_bytes(array))}
        for name, array in contiguous.items()
    }
    text = json.dumps({**header, "members": members}, default=_plain).encode()
    np.savez(file, allow_pickle=False, **{HEADER: np.frombuffer(text, dtype=np.uint8)}, **contiguous)


def read_archive(path: Path, *, kind: str, version: int, what: str) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """Read and check all of an archive.

    Parameters
    ----------
    path : Path
    kind : str
        Expected value of the header's field ``format``.
    version : int
        Highest value of the header's field ``version`` that can be read.
    what : str
        What the file should be, for messages: "checkpoint", "model file".

    Returns
    -------
    header : dict
    arrays : dict of str to ndarray

    Raises
    ------
    FileMissingError, FileAccessError
        When there is no such file, it is not a regular file, or may not be read.
    FileFormatError
        When it is truncated, damaged, foreign, too large for the memory, or of a later version.
    """
    check_readable(path, what=what)
    try:
        with path.open("rb") as file:
            return _read(path, file, kind=kind, version=version, what=what)
    except FileFormatError:
        raise
    except Exception as error:  # zipfile and NumPy raise anything from KeyError to tokenize.TokenError
        reason = printable(error)[:MOST_TEXT].rstrip(".") or type(error).__name__
        raise FileFormatError(f"{path} is truncated or damaged, or is not a {what} of sparsae: {reason}.") from error


def _read(path: Path, file: BinaryIO, *, kind: str, version: int, what: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read the header, compare the members with it, then read the members."""
    with zipfile.ZipFile(file) as archive:
        entries = _check_entries(path, archive, what)
        if HEADER not in entries:
            raise FileFormatError(f"{path} is not a {what} of sparsae.")
        header = json.loads(_read_member(archive, entries[HEADER], None).tobytes(), parse_int=parse_integer)
        _check_format(path, header, kind=kind, version=version, what=what)
        members = header.pop("members", None)
        if not isinstance(members, dict) or members.keys() != entries.keys() - {HEADER}:
            raise FileFormatError(f"{path} is damaged: its members are not those that its header lists.")
        arrays = {name: _read_member(archive, entries[name], declared) for name, declared in members.items()}
    return header, arrays


def _check_entries(path: Path, archive: zipfile.ZipFile, what: str) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, after a check of their sizes against the file and the memory limit."""
    infos = archive.infolist()
    total, present, limit = sum(info.file_size for info in infos), path.stat().st_size, memory_limit()
    if total > present or any(
        info.compress_type != zipfile.ZIP_STORED
        or info.compress_size != info.file_size
        or info.flag_bits & _ENCRYPTED
        or not info.filename.endswith(".npy")
        for info in infos
    ):
        raise FileFormatError(f"{path} is not a {what} of sparsae: its members are compressed, encrypted or no arrays.")
    if total > limit:
        raise FileFormatError(
            f"{path} holds {total / 2**30:.1f} GiB of arrays and the memory limit is {limit / 2**30:.1f} GiB."
        )
    entries = {info.filename.removesuffix(".npy"): info for info in infos}
    if len(entries) != len(infos):
        raise FileFormatError(f"{path} is damaged: it has two members of one name.")
    return entries


def _check_format(path: Path, header: Any, *, kind: str, version: int, what: str) -> None:
    """Check that the header is that of the expected format and version."""
    found = header.get("format") if isinstance(header, dict) else None
    if found != kind:
        other = f"; it is a {found}" if isinstance(found, str) and found.startswith("sparsae ") else ""
        raise FileFormatError(f"{path} is not a {what} of sparsae{other}.")
    number = header.get("version")
    if not isinstance(number, int) or number < 1:
        raise FileFormatError(f"{path} is damaged: its format version is {number!r}.")
    if number > version:
        raise FileFormatError(
            f"{path} has format version {number} and this sparsae reads up to {version}; upgrade sparsae."
        )


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, declared: Any) -> NDArray[Any]:
    """Read one array; sizes are compared before its memory is allocated, checksums afterwards.

    Parameters
    ----------
    declared : dict or None
        dtype, shape and crc32 from the header; None for the header itself, a vector of bytes.
    """
    with archive.open(info) as member:
        shape, fortran_order, dtype = _read_npy_header(member)
        if dtype.hasobject or fortran_order:
            raise ValueError(f"member {info.filename} is not an array of numbers in C order")
        expected = {"dtype": "|u1", "shape": [math.prod(shape)]} if declared is None else declared
        if [dtype.str, list(shape)] != [expected["dtype"], expected["shape"]]:
            raise ValueError(f"member {info.filename} has dtype {dtype} and shape {shape}; its header says {expected}")
        if dtype.itemsize * math.prod(shape) > info.file_size:
            raise ValueError(f"member {info.filename} is shorter than its shape {shape}")
        array: NDArray[Any] = np.empty(shape, dtype=dtype)
        _fill(member, _as_bytes(array))
    if declared is not None and zlib.crc32(_as_bytes(array)) != declared["crc32"]:
        raise ValueError(f"member {info.filename} has another checksum than the header says")
    return array


def _fill(member: IO[bytes], target: memoryview) -> None:
    """Read exactly what fills the target, in pieces; zipfile compares its own checksum at the end."""
    for start in range(0, len(target), _PIECE_BYTES):
        piece = target[start : start + _PIECE_BYTES]
        data = member.read(len(piece))
        if len(data) != len(piece):
            raise ValueError("a member ends early")
        piece[:] = data
    if member.read(1):
        raise ValueError("a member is longer than its shape")


def _read_npy_header(member: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, order and dtype of a ``.npy`` member."""
    if npy.read_magic(member) != (1, 0):
        raise ValueError("an array has a format version that sparsae does not write")
    return npy.read_array_header_1_0(member, max_header_size=_NPY_HEADER_BYTES)


def _as_bytes(array: NDArray[Any]) -> memoryview:
    """Return the memory of a contiguous array."""
    return memoryview(array.reshape(-1).view(np.uint8))  # type: ignore[arg-type]  # arrays have the buffer protocol


def _plain(value: Any) -> Any:
    """Turn NumPy numbers, arrays and paths into what JSON can take."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else str(value)
