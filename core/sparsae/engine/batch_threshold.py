"""The threshold of batch top-k: found from the pre-activations of all rows of a batch, then constant for kernels.

Source: Bussmann et al. 2024, arXiv 2412.06410.
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np

from sparsae._types import Array


@final
class BatchThreshold(NamedTuple):
    """What separates the activations that a batch keeps from the others.

    Attributes
    ----------
    threshold : float
        Pre-activations above it are kept.  Halfway to the largest that is not kept, so that rounding in a kernel does
        not decide; just below the smallest that is kept where these are equal: then all that are equal are kept.
    smallest_kept : float
        The smallest pre-activation that is kept; 0 where none is positive.
    """

    threshold: float
    smallest_kept: float


@final
class Largest:
    """The `count` largest positive numbers of those that were added, in any order, and the next.

    Parameters
    ----------
    count : int
    dtype : numpy.dtype
    """

    def __init__(self, count: int, dtype: np.dtype[Any]) -> None:
        self._room = count + 1
        self._pool: Array = np.empty(0, dtype)
        self._floor = 0.0  # numbers up to it are not among them

    def add(self, values: Array) -> None:
        """Look at more numbers, of any shape."""
        some = values[values > self._floor]
        if some.size > 2 * self._room:
            some = _largest(some, self._room)
        self._pool = np.concatenate([self._pool, some])
        if self._pool.size > 2 * self._room:
            self._pool = _largest(self._pool, self._room)
            self._floor = float(self._pool.min())

    def merge(self, other: Largest) -> None:
        """Add what another one has kept."""
        self.add(other._pool)

    def threshold(self) -> BatchThreshold:
        """Return what separates them from the others."""
        found = _largest(self._pool, self._room)
        if found.size < self._room:
            return BatchThreshold(0.0, float(found.min(initial=np.inf)) if found.size else 0.0)
        found.sort()
        after, least = found[0], found[1]
        halfway = after + (least - after) / 2
        threshold = halfway if after <= halfway < least else np.nextafter(least, found.dtype.type(0))
        return BatchThreshold(float(threshold), float(least))


def _largest(values: Array, count: int) -> Array:
    """Return the `count` largest, in any order; ties are cut anywhere, since only values matter."""
    return values if values.size <= count else np.partition(values, values.size - count)[-count:]
