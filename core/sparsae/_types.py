"""Types that many signatures use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sparsae.errors import SparsaeError

Array = NDArray[np.floating[Any]]
"""An array of float32 or float64."""

Output = Literal["sigmoid", "linear"]
OUTPUTS: tuple[Output, ...] = ("sigmoid", "linear")

Activation = Literal["sigmoid", "relu", "topk", "batchtopk", "jumprelu"]
ACTIVATIONS: tuple[Activation, ...] = ("sigmoid", "relu", "topk", "batchtopk", "jumprelu")
COUNT_BITS = 53
MOST_COUNTED = 1 << COUNT_BITS
"""Larger than anything that is counted; up to here each integer is a float64 too."""

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))

Threading = Literal["workers", "blas", "own", "none"]
THREADINGS: tuple[Threading, ...] = ("workers", "blas", "own", "none")

RunTasks = Callable[[Callable[[int], None], int], None]
"""Calls ``task(i)`` for i below a count, in any order, on as many threads as there are; returns when all are done."""


def run_in_turn(task: Callable[[int], None], count: int) -> None:
    """Call ``task(i)`` for i below `count`, in this thread: the `RunTasks` of one thread."""
    for number in range(count):
        task(number)


def as_float_dtype(dtype: Any, error: type[SparsaeError]) -> np.dtype[Any]:
    """Return float32 or float64 as a `numpy.dtype`, or raise that error."""
    try:
        wanted: np.dtype[Any] = np.dtype(dtype)
    except TypeError as cause:
        raise error(f"dtype must be float32 or float64; given {dtype!r}.") from cause
    if wanted not in FLOATS:
        raise error(f"dtype must be float32 or float64; given {wanted}.")
    return wanted
