"""Scaling a range of values to [0.1, 0.9], which a sigmoid output can reproduce."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae.data.dataset import HIGH, LOW
from sparsae.data.readers.limits import check_memory
from sparsae.errors import DataError, ParameterError

PIECE_BYTES = 1 << 22
EXACT_INTEGERS = 2**53  # not all larger integers are float64
SMALL_SPAN = 2.0**-960  # below it 0.8 / span overflows, or differences have lost digits
SHIFT = 512  # such values are multiplied by 2 to this power first, which is exact


def find_range(X: Any, name: str) -> dict[str, Any]:
    """Return the record that maps the range of all values to [0.1, 0.9].

    Raises
    ------
    DataError
        When values are not finite, the range overflows float64, or integers are too large for float64.
    ParameterError
        When all values are equal.
    """
    low, high = np.inf, -np.inf
    for _, piece in _pieces(X, name):
        if not np.isfinite(piece).all():
            raise DataError(f"{name} contains values that are not finite; remove or fill them before scaling.")
        low, high = min(low, float(piece.min())), max(high, float(piece.max()))
    if low == high:
        raise ParameterError(f"All values of {name} are {low:g}; there is no range to scale.")
    if not np.isfinite(high - low):
        raise DataError(f"The range of {name}, {low:g} to {high:g}, is too large for float64; divide the data first.")
    return {"kind": "scaled", "low": low, "high": high}


def apply_range(X: Any, name: str, record: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    """Return ``(X - low) * factor + 0.1``, computed in float64; float16 and float32 data becomes float32.

    Raises
    ------
    DataError
        When the record is not one of `find_range`, or the result does not fit into the memory share.
    """
    try:
        low, high = float(record["low"]), float(record["high"])
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"The record of the scaling needs low and high; it has {', '.join(record)}.") from error
    dtype = np.float32 if X.dtype in (np.float16, np.float32) else np.float64
    check_memory(name, int(np.prod(X.shape)) * np.dtype(dtype).itemsize)
    shift = SHIFT if high - low < SMALL_SPAN else 0
    factor = (HIGH - LOW) / float(np.ldexp(high - low, shift))
    scaled = np.empty(X.shape, dtype)
    for where, piece in _pieces(X, name):
        inside = (piece >= low) & (piece <= high)
        values = np.ldexp(piece - low, shift) * factor + LOW
        # Rounding may step over an end by one bit; new data outside the range keeps its place.
        scaled[where] = np.where(inside, np.clip(values, LOW, HIGH), values)
    return scaled


def _pieces(X: Any, name: str) -> Iterator[tuple[slice, NDArray[np.float64]]]:
    """Yield slices of rows and their values as float64."""
    step = max(1, PIECE_BYTES // (8 * X.shape[1]))
    for start in range(0, X.shape[0], step):
        where = slice(start, min(start + step, X.shape[0]))
        rows = np.asarray(X[where])
        if rows.dtype.kind in "iu" and rows.dtype.itemsize == 8 and rows.size:
            largest = max(abs(int(rows.min())), abs(int(rows.max())))
            if largest > EXACT_INTEGERS:
                raise DataError(
                    f"{name} has integers up to {largest}, which float64 cannot hold exactly; "
                    f"subtract a constant from them before scaling."
                )
        yield where, rows.astype(np.float64)
