"""torch's .pt and .pth: tensors, read with ``weights_only``, so that nothing in the file can run.

torch tells where the numbers of a tensor lie in the file; they are read with pread, as those of any other format.
Files of torch before 1.6, and tensors that do not lie in one piece, are read whole.
"""

from __future__ import annotations

import math
import pickle
import re
import sys
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any

import numpy as np

from sparsae.data.readers.entries import ArrayEntry, LoadedArray, ReadRequest, choose_entry
from sparsae.data.readers.extra import require
from sparsae.data.readers.limits import check_memory
from sparsae.data.readers.source_file import SourceFile, shorten
from sparsae.data.readers.tensors import TensorEntry, load_tensor
from sparsae.errors import FileFormatError

ZIP = b"PK\x03\x04"
LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number, pickled
MAX_TENSORS = 10_000
MAX_DEPTH = 10
BFLOAT16 = "bfloat16"
DTYPES = {
    BFLOAT16: "<u2",
    "bool": "|b1",
    **{f"float{bits}": f"<f{bits // 8}" for bits in (16, 32, 64)},
    **{f"{sign}int{bits}": f"<{sign[:1] or 'i'}{bits // 8}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


def is_torch(head: bytes) -> bool:
    """Whether these first bytes are those of a file that torch.save wrote."""
    n_name = int.from_bytes(head[26:28], "little")
    return head.startswith(LEGACY) or (head.startswith(ZIP) and head[30 : 30 + n_name].endswith(b"/data.pkl"))


def read_torch(file: SourceFile, request: ReadRequest) -> LoadedArray:
    """Open the named tensor, or the only one that fits.

    Raises
    ------
    FileFormatError
        When the file is damaged, or holds objects whose loading could run code.
    DataError
        When it holds no such matrix.
    """
    if file.compressed:
        raise FileFormatError(f"{file.label} is a torch file inside {file.compression}; decompress it first.")
    torch = require("torch", file.label, "a torch file", extra="torch")
    if not file.head.startswith(LEGACY) and _is_little_endian(file):
        from torch._subclasses.fake_tensor import FakeTensorMode

        with FakeTensorMode():  # shapes and places, without the numbers
            placed = [_entry(file, name, tensor) for name, tensor in _tensors(torch, _load(torch, file), file)]
        whole = {entry.name for entry in placed if entry.offset < 0}
        if choose_entry(file.label, [_described(entry) for entry in placed], request).name not in whole:
            return load_tensor(file, placed, request)
    check_memory(file.label, file.size)
    entries = [
        ArrayEntry(name, tuple(tensor.shape), _kind(tensor), _kind(tensor) in DTYPES, partial(_values, tensor))
        for name, tensor in _tensors(torch, _load(torch, file), file)
    ]
    return LoadedArray(choose_entry(file.label, entries, request).read())


def _load(torch: Any, file: SourceFile) -> Any:
    """Read what the file holds; nothing but tensors and plain containers is allowed in it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch on versions of pickle, and on sparse tensors
        try:
            return torch.load(file.path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            named = re.search(r"(?:GLOBAL|Unsupported global:?(?: GLOBAL)?) ([\w.]+)", str(error))
            what = f" ({shorten(named[1])})" if named else ""
            raise FileFormatError(
                f"{file.label} holds objects beside tensors{what}, or is damaged; it was not loaded, since "
                f"loading them can run code. Save the tensor alone, for example "
                f"torch.save(tensor.detach().cpu(), {file.path.name!r})."
            ) from error


def _tensors(torch: Any, found: Any, file: SourceFile, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Yield the tensors in nested containers by their path."""
    if isinstance(found, torch.Tensor):
        yield name, found
    elif isinstance(found, (Mapping, list, tuple)) and depth < MAX_DEPTH:
        items = found.items() if isinstance(found, Mapping) else enumerate(found)
        for key, value in islice(items, MAX_TENSORS):
            yield from _tensors(torch, value, file, f"{name}/{key}" if name else str(key), depth + 1)


def _kind(tensor: Any) -> str:
    """Return the type of a tensor's numbers; what is not strided has another kind than any of `DTYPES`."""
    kind = str(tensor.dtype).removeprefix("torch.")
    return kind if str(tensor.layout) == "torch.strided" else f"{kind}, {str(tensor.layout).removeprefix('torch.')}"


def _entry(file: SourceFile, name: str, tensor: Any) -> TensorEntry:
    """Return where a tensor lies; its offset is -1 where it does not lie in one piece."""
    kind, shape = _kind(tensor), tuple(int(n) for n in tensor.shape)
    if kind not in DTYPES:
        return TensorEntry(name, shape, kind, None, offset=-1)
    dtype = np.dtype(DTYPES[kind])
    start = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
    fortran = len(shape) == 2 and not tensor.is_contiguous() and tensor.t().is_contiguous()
    if start is None or not (tensor.is_contiguous() or fortran):
        return TensorEntry(name, shape, kind, dtype, offset=-1)
    offset = int(start) + int(tensor.storage_offset()) * dtype.itemsize
    if offset + math.prod(shape) * dtype.itemsize > file.size:
        raise FileFormatError(f"{file.label} is truncated: tensor {shorten(name)} ends beyond the end of the file.")
    return TensorEntry(name, shape, kind, dtype, offset=offset, bfloat16=kind == BFLOAT16, fortran=fortran)


def _described(entry: TensorEntry) -> ArrayEntry:
    return ArrayEntry(entry.name, entry.shape, entry.kind, entry.dtype is not None, lambda: np.empty(0))


def _values(tensor: Any) -> np.ndarray[Any, Any]:
    """Return a tensor as an array."""
    tensor = tensor.detach()
    values: np.ndarray[Any, Any] = (tensor.float() if _kind(tensor) == BFLOAT16 else tensor).contiguous().numpy()
    return values


def _is_little_endian(file: SourceFile) -> bool:
    """Whether the numbers are stored as this machine has them."""
    with zipfile.ZipFile(file.path) as archive:
        marks = [name for name in archive.namelist() if name.endswith("/byteorder")]
        stored = archive.read(marks[0])[:10] if marks else b"little"
    return stored == b"little" and sys.byteorder == "little"
