"""safetensors: a header of JSON, then the numbers of each tensor in one piece; read with pread, without the library.

Source: "Format" in the README of the safetensors project.
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

from sparsae.data.readers.entries import LoadedArray, ReadRequest
from sparsae.data.readers.source_file import SourceFile, shorten
from sparsae.data.readers.tensors import TensorEntry, load_tensor
from sparsae.errors import FileFormatError

MAX_HEADER = 100_000_000  # the format's own limit
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "BOOL": "|b1",
    **{f"{sign}{8 * size}": f"<{sign.lower()}{size}" for sign in "IU" for size in (1, 2, 4, 8)},
}


def is_safetensors(head: bytes) -> bool:
    """Whether these first bytes are those of a safetensors file."""
    return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= MAX_HEADER


def read_safetensors(file: SourceFile, request: ReadRequest) -> LoadedArray:
    """Open the named tensor, or the only one that fits; its rows are read when they are needed."""
    if file.compressed:
        raise FileFormatError(f"{file.label} is a safetensors file inside {file.compression}; decompress it first.")
    with file.open() as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, file.size - 8):
            raise FileFormatError(f"{file.label} is truncated: its header promises {length:,} bytes.")
        header = json.loads(stream.read(length))
    tensors = [_entry(file, name, facts, 8 + length) for name, facts in header.items() if name != "__metadata__"]
    return load_tensor(file, tensors, request)


def _entry(file: SourceFile, name: str, facts: dict[str, Any], start: int) -> TensorEntry:
    """Check what the header says of one tensor."""
    shape, stored = tuple(int(n) for n in facts["shape"]), str(facts["dtype"])
    first, last = (int(place) for place in facts["data_offsets"])
    dtype = np.dtype(DTYPES[stored]) if stored in DTYPES else None
    shown = shorten(name)
    if min(shape, default=1) < 0 or not 0 <= first <= last:
        raise FileFormatError(
            f"{file.label} is damaged: tensor {shown} has the shape {shape}, bytes {first} to {last}."
        )
    if start + last > file.size:
        raise FileFormatError(
            f"{file.label} is truncated: tensor {shown} ends at byte {start + last:,} and the file at {file.size:,}."
        )
    if dtype is not None and last - first != math.prod(shape) * dtype.itemsize:
        raise FileFormatError(
            f"{file.label} is damaged: tensor {shown} of shape {shape} and {stored} has {last - first:,} bytes."
        )
    return TensorEntry(name, shape, stored, dtype, offset=start + first, bfloat16=stored == "BF16")
