"""What the `fused` and `numba` backends share: aligned arrays, the constant that turns e^x into 2^x, no collection."""

from __future__ import annotations

import gc
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from sparsae import Array

LOG2E = 1.4426950408889634
ALIGNMENT = 64  # bytes: a vector register of AVX-512, a cache line


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array without values, its first element on a cache line."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    array: Array = raw[start : start + size].view(dtype).reshape(shape)
    return array


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep Python from looking for cyclic garbage: importing and running a compiler, it takes a sixth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
