"""Tables in memory, of pandas, polars or pyarrow, as matrices.

Columns hold numbers or booleans; others, and missing values, are refused with the names of the columns.  The libraries
are not imported: their objects are recognised by what they have.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae._text import listed, plural, printable
from sparsae.engine.arrow_columns import arrow_layout
from sparsae.errors import DataError

NUMBERS = "fiub"
PIECE_BYTES = 1 << 22
POLARS = {"Boolean": np.dtype(bool)} | {
    f"{kind}{bits}": np.dtype(f"{kind}{bits}".lower())
    for kind, sizes in (("Float", (16, 32, 64)), ("Int", (8, 16, 32, 64)), ("UInt", (8, 16, 32, 64)))
    for bits in sizes
}


def frame_values(data: Any, name: str) -> NDArray[Any] | None:
    """Return the values of a frame; None for what is no frame.

    Parameters
    ----------
    data : object
    name : str
        How messages call it: "X" or "target".

    Raises
    ------
    DataError
        When a column holds no numbers, or values are missing; names the columns.
    """
    library = type(data).__module__.partition(".")[0]
    if hasattr(data, "isna") and hasattr(data, "dtypes") and hasattr(data, "to_numpy"):
        return _pandas_values(data, name)
    if library == "polars" and hasattr(data, "collect") and not hasattr(data, "shape"):
        raise DataError(f"{name} is a lazy frame, whose values are not known yet; pass {name}.collect().")
    if library == "polars" and hasattr(data, "columns"):
        return _polars_values(data, name)
    if library == "pyarrow" and hasattr(data, "schema") and hasattr(data, "num_rows"):
        return _arrow_values(data, name)
    return None


def _pandas_values(frame: Any, name: str) -> NDArray[Any]:
    """Return the values of a pandas frame or series."""
    columns = [(None, frame)] if not hasattr(frame, "columns") else [(c, frame[c]) for c in frame.columns]
    if len({label for label, _ in columns}) != len(columns):  # a label that occurs twice gives a frame
        columns = [(label, frame.iloc[:, i]) for i, label in enumerate(frame.columns)]
    text, missing, dtypes = [], [], []
    for label, column in columns:
        dtype = getattr(column.dtype, "numpy_dtype", column.dtype)  # what a nullable or Arrow dtype holds
        if not isinstance(dtype, np.dtype) or dtype.kind not in NUMBERS:
            text.append(f"{printable(label)} ({column.dtype})")
        elif count := int(column.isna().sum()):
            missing.append((printable(label), count))
        dtypes.append(dtype)
    sparse = f", sparse ones with {name}.sparse.to_dense()" if any("(Sparse[" in what for what in text) else ""
    _refuse_text(name, text, f"for example with pandas.to_numeric{sparse}")
    _refuse_missing(name, missing, f"for example {name}.fillna({name}.mean()) or {name}.dropna()")
    if not dtypes:
        return np.empty(frame.shape)
    values: NDArray[Any] = frame.to_numpy(dtype=np.result_type(*dtypes))
    return values


def _polars_values(frame: Any, name: str) -> NDArray[Any]:
    """Return the values of a polars frame, or of its only column where that holds arrays."""
    columns = [(printable(label), frame[label]) for label in frame.columns]
    if len(columns) == 1 and str(columns[0][1].dtype).startswith("Array("):
        values: NDArray[Any] = columns[0][1].to_numpy()
        return values
    text = [f"{label} ({column.dtype})" for label, column in columns if str(column.dtype) not in POLARS]
    _refuse_text(name, text, f"for example with {name}.select(polars.selectors.numeric())")
    advice = f"for example {name}.fill_null(strategy='mean') or {name}.drop_nulls()"
    _refuse_missing(name, [(label, column.null_count()) for label, column in columns], advice)
    if not columns:
        return np.empty(frame.shape)
    values = np.empty(frame.shape, np.result_type(*(POLARS[str(column.dtype)] for _, column in columns)))
    for j, (_, column) in enumerate(columns):
        values[:, j] = column.to_numpy()
    _refuse_nan(name, values, [label for label, _ in columns], advice)
    return values


def _arrow_values(table: Any, name: str) -> NDArray[Any]:
    """Return the values of a pyarrow table or record batch."""
    fields = list(table.schema)
    columns = [(printable(field.name), table.column(i)) for i, field in enumerate(fields)]
    advice = f"Drop them, for example with {name}.drop_columns([...]), or cast them."
    layout = arrow_layout(name, fields, [column.null_count > 0 for _, column in columns], advice)
    fill = f"for example {name}.drop_null()"
    _refuse_missing(name, [(label, column.null_count) for label, column in columns], fill)
    picked = layout.pick(table)
    values = np.empty((table.num_rows, picked.n_columns), layout.dtype)
    picked.write(0, table.num_rows, values)
    _refuse_nan(name, values, [label for label, _ in columns] if not layout.lists else None, fill)
    return values


def _refuse_text(name: str, columns: Sequence[str], advice: str) -> None:
    """Raise `DataError` where columns hold no numbers."""
    if columns:
        raise DataError(
            f"{name} has {plural(len(columns), 'column')} that {'is' if len(columns) == 1 else 'are'} not of numbers: "
            f"{listed(columns)}. Drop or convert them, {advice}."
        )


def _refuse_missing(name: str, counts: Iterable[tuple[str, int]], advice: str) -> None:
    """Raise `DataError` where columns have missing values."""
    missing = [f"{count:,} in {label}" for label, count in counts if count]
    if missing:
        raise DataError(f"{name} has missing values (NA or NaN): {listed(missing)}. Fill or drop them, {advice}.")


def _refuse_nan(name: str, values: NDArray[Any], labels: Sequence[str] | None, advice: str) -> None:
    """Raise `DataError` where columns have values that are NaN."""
    if values.dtype.kind != "f":
        return
    counts = np.zeros(values.shape[1], np.int64)
    step = max(1, PIECE_BYTES // max(1, values.shape[1] * values.itemsize))
    for start in range(0, len(values), step):
        counts += np.count_nonzero(np.isnan(values[start : start + step]), axis=0)
    names = labels if labels is not None else [f"position {j}" for j in range(values.shape[1])]
    _refuse_missing(name, zip(names, map(int, counts), strict=True), advice)
