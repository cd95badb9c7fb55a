"""Tensors that lie in one piece in a file: what safetensors and torch have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, final

import numpy as np

from sparsae.data.readers.entries import ArrayEntry, LoadedArray, ReadRequest, choose_entry
from sparsae.data.readers.limits import check_memory
from sparsae.data.readers.source_file import SourceFile, shorten
from sparsae.engine.binary_file import BinaryFile, open_binary


@final
@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file.

    Attributes
    ----------
    name : str
    shape : tuple of int
    kind : str
        Its type as the file calls it.
    dtype : numpy.dtype or None
        uint16 for bfloat16; None for types that are not read.
    offset : int
        Bytes before its first number.
    bfloat16 : bool
    fortran : bool
        Whether the first axis varies fastest.
    """

    name: str
    shape: tuple[int, ...]
    kind: str
    dtype: np.dtype[Any] | None
    offset: int
    bfloat16: bool = False
    fortran: bool = False

    def open(self, file: SourceFile, label: str) -> BinaryFile:
        """Return its rows, which stay in the file."""
        assert self.dtype is not None  # chosen among the numeric ones
        return BinaryFile(
            file.path,
            open_binary(file.path),
            shape=self.shape,
            dtype=self.dtype,
            offset=self.offset,
            fortran=self.fortran,
            bfloat16=self.bfloat16,
            label=label,
        )


def load_tensor(file: SourceFile, tensors: Sequence[TensorEntry], request: ReadRequest) -> LoadedArray:
    """Open the tensor that was named, or the only one that fits; arrays that are no matrix are read whole."""
    by_name = {tensor.name: tensor for tensor in tensors}

    def whole(tensor: TensorEntry) -> np.ndarray[Any, Any]:
        label = _label(file, tensor)
        rows = replace(tensor, shape=tensor.shape or (1,)).open(file, label)  # a scalar as one number
        check_memory(label, rows.n_bytes)
        return rows[:].reshape(tensor.shape)

    entries = [
        ArrayEntry(tensor.name, tensor.shape, tensor.kind, tensor.dtype is not None, partial(whole, tensor))
        for tensor in tensors
    ]
    entry = choose_entry(file.label, entries, request)
    if len(entry.shape) != 2 or request.images:
        return LoadedArray(entry.read())
    tensor = by_name[entry.name]
    return LoadedArray(tensor.open(file, _label(file, tensor)))


def _label(file: SourceFile, tensor: TensorEntry) -> str:
    return f"{file.label}:{shorten(tensor.name)}" if tensor.name else file.label
