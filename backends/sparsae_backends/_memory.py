"""What the `fused` and `numba` backends share: aligned arrays, memory in turns, e^x as 2^x, no garbage collection."""

from __future__ import annotations

import gc
import math
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar, final

import numpy as np

from sparsae import Array

LOG2E = 1.4426950408889634
T = TypeVar("T")
ALIGNMENT = 64  # bytes: a vector register of AVX-512, a cache line


def aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    """Return an array without values, its first element on a cache line."""
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT
    array: Array = raw[start : start + size].view(dtype).reshape(shape)
    return array


@final
class Loan(Generic[T]):
    """What `InTurns` lends, until nobody refers to the loan any more."""

    __slots__ = ("__weakref__", "what")

    def __init__(self, what: T) -> None:
        self.what = what


@final
class InTurns(Generic[T]):
    """Memory of one kind that is lent again when nobody refers to the loan any more, a few pieces in turns.

    What one core writes where another has just read waits for the other's cache: three matrices of 784/196 were packed
    in 1.4 ms; in two turns, when the other core has moved on to other memory, in 0.3 (Zen 4, two row workers).

    Parameters
    ----------
    make : callable
        Returns new memory.
    turns : int
        Pieces that are lent again; 0: each is new.
    """

    def __init__(self, make: Callable[[], T], turns: int) -> None:
        self._make = make
        self._lent: deque[tuple[T, weakref.ref[Loan[T]]]] = deque(maxlen=turns)

    def take(self) -> Loan[T]:
        """Return memory with whatever it holds."""
        lent = self._lent
        free = len(lent) == lent.maxlen and lent and lent[0][1]() is None
        loan = Loan(lent[0][0] if free else self._make())
        lent.append((loan.what, weakref.ref(loan)))
        return loan


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
