"""Feather, which is Arrow's file format: record batches are decoded one by one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae.data.readers.arrow import COLUMN_ADVICE, choose_fields
from sparsae.data.readers.entries import LoadedArray, ReadRequest
from sparsae.data.readers.extra import require
from sparsae.data.readers.source_file import SourceFile
from sparsae.engine.arrow_columns import arrow_layout
from sparsae.engine.chunked_rows import ChunkedRows
from sparsae.engine.file_state import HeldFile
from sparsae.errors import FileFormatError

SIGNATURE = b"ARROW1"
VERSION_1 = b"FEA1"


def read_feather(file: SourceFile, request: ReadRequest) -> LoadedArray:
    """Open a Feather file; its rows are read when they are needed."""
    if file.compressed:
        raise FileFormatError(
            f"{file.label} is a Feather file inside {file.compression}; decompress it first. "
            f"Feather compresses by itself: write_feather(..., compression='zstd')."
        )
    if file.head.startswith(VERSION_1):
        raise FileFormatError(f"{file.label} is a Feather file of version 1; write it again, as version 2 or Parquet.")
    arrow = require("pyarrow", file.label, "a Feather file")
    ipc = require("pyarrow.ipc", file.label, "a Feather file")
    state = HeldFile(file.path, file.label)
    opened = ipc.open_file(arrow.OSFile(str(file.path)), options=ipc.IpcReadOptions(use_threads=False))
    fields = choose_fields(opened.schema, request, file.label)
    wanted = [opened.schema.get_field_index(field.name) for field in fields]
    layout = arrow_layout(file.label, fields, [True] * len(fields), COLUMN_ADVICE)

    def batches(which: list[int]) -> Any:
        """Open the file for those columns alone; a reader belongs to one thread at a time."""
        options = ipc.IpcReadOptions(use_threads=False, included_fields=which)
        return ipc.open_file(arrow.OSFile(str(file.path)), options=options)

    bounds, number, width = _bounds(batches(wanted[:1]), layout.lists and layout)
    width = width if layout.lists else len(fields)
    reader = batches(wanted)

    def decode(first: int, last: int) -> NDArray[Any]:
        columns = layout.pick(reader.get_batch(number[first]), first, width)
        rows = np.empty((columns.n_rows, columns.n_columns), layout.dtype)
        columns.write(0, columns.n_rows, rows)
        return rows

    names = None if layout.lists else layout.names
    rows = ChunkedRows(file.label, (bounds[-1], width), layout.dtype, bounds, decode, columns=names, check=state.check)
    return LoadedArray(rows, names=names, columns_chosen=True)


def _bounds(reader: Any, lists: Any) -> tuple[list[int], dict[int, int], int]:
    """Return bounds of the record batches that have rows, their numbers by first row, and the length of lists.

    One column is read for it.
    """
    bounds: list[int] = [0]
    number: dict[int, int] = {}
    width = 0
    for i in range(reader.num_record_batches):
        batch = reader.get_batch(i)
        if batch.num_rows:
            number[bounds[-1]] = i
            bounds.append(bounds[-1] + batch.num_rows)
            width = width or (lists.pick(batch).n_columns if lists else 0)
    return bounds, number, width
