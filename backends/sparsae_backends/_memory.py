"""What the `fused` and `numba` backends share: aligned arrays, arrays in turns, e^x as 2^x, no garbage collection."""

from __future__ import annotations

import gc
import math
import weakref
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

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


@final
class ArraysInTurns:
    """Arrays of one name and size that are used again, two in turns, when nobody refers to them any more.

    What one core writes where another has just read waits for the other's cache: three matrices of 784/196 were packed
    in 1.4 ms; in turns, when the other core has moved on to other memory, in 0.3 (Zen 4, two row workers).
    """

    def __init__(self) -> None:
        self._arrays: dict[str, deque[tuple[Array, weakref.ref[Array]]]] = {}

    def take(self, name: str, size: int, dtype: np.dtype[Any]) -> Array:
        """Return an array (size,) without values."""
        turns = self._arrays.setdefault(name, deque(maxlen=2))
        whole = None
        if len(turns) == 2 and turns[0][1]() is None and turns[0][0].size == size:
            whole = turns[0][0]
        if whole is None:
            whole = aligned((size,), dtype)
        array = whole[:]
        turns.append((whole, weakref.ref(array)))
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
