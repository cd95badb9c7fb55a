"""The k largest positive values of each row, ties to the lower index, without sorting or partitioning whole rows.

- The largest of each group of units: one pass that vectorises, since units of a group lie a stride apart.
- The k-th largest of these is at most the k-th largest of all, for each stands for a unit of its own.
- Units that reach it are candidates: 37 for k = 32 of 4,096 normal values.  They are in the order of rows and units.
- Their k-th largest, row by row, in a matrix that holds candidates alone.

Microseconds a row, float32, 4,096 units, k = 32, AMD Zen 4: 4, where `numpy.partition` takes 29 and `argpartition` 38.
Where candidates are many, because values are equal, the rows are left to the definition, `Problem.activate`.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Problem

GROUPS_PER_K = (
    4  # groups of units for each value that is kept: with fewer, more candidates; with more, longer partitions
)
LEAST_GROUPS = 128  # so that the loop over a group's stride is long
CROWD = 4  # candidates for each value that is kept, and 32 more, are too many


@final
class TopSelection:
    """Selects for a problem with k < n_hidden; without scratch."""

    def __init__(self, problem: Problem) -> None:
        assert problem.k is not None
        self.problem, self.p, self.k = problem, problem.n_hidden, problem.k
        self.group_size = max(1, self.p // max(GROUPS_PER_K * self.k, LEAST_GROUPS))
        self.groups = self.p // self.group_size  # what is left over is in no group: the bound holds without it
        self.least = np.nextafter(problem.dtype.type(0), problem.dtype.type(1))  # the least value that is positive

    def select(self, z: Array, index: NDArray[np.intp], values: Array) -> NDArray[np.intp]:
        """Write unit and value of what is kept in each row of z (m, p) to `index` and `values` (m, k), by unit.

        Where fewer than k values are positive, the rest of a row is unit 0 with the value 0.
        Where a value of a row is NaN, all that is kept of it is NaN, so that it reaches the cost.

        Returns
        -------
        ndarray (m,)
            How many are kept in each row.
        """
        place, found, starts, spoilt = self._candidates(z)
        counts = np.diff(starts)
        if place.size > len(z) * self.k or counts.max() > self.k:
            kept = self._kept(found, starts, counts)
            place, found = place[kept], found[kept]
            counts = np.minimum(counts, self.k)
        if place.size == values.size:
            np.remainder(place.reshape(index.shape), self.p, out=index)
            values[...] = found.reshape(values.shape)
        else:
            index[...], values[...] = 0, 0
            row = np.repeat(np.arange(len(z)), counts)
            slot = row * self.k + np.arange(place.size) - np.repeat(np.cumsum(counts) - counts, counts)
            index.reshape(-1)[slot] = place - row * self.p
            values.reshape(-1)[slot] = found
        if spoilt is not None:
            values[spoilt] = np.nan
        return counts

    def _candidates(self, z: Array) -> tuple[NDArray[np.intp], Array, NDArray[np.intp], NDArray[np.bool_] | None]:
        """Return places in z, as one vector, of what may be among the k largest; their values; first ones of rows.

        And which rows have a NaN (m,); None where none has.
        """
        largest, spoilt = self._largest_of_groups(z), None
        rest = z[:, self.groups * self.group_size :]
        if np.isnan(largest.max()) or np.isnan(rest.max(initial=0)):
            spoilt = np.asarray(np.isnan(z).any(axis=1))  # (m,)
            z = np.nan_to_num(z, nan=0.0, posinf=np.inf, neginf=-np.inf)
            largest = self._largest_of_groups(z)
        largest.partition(self.groups - self.k, axis=1)
        bound = np.maximum(largest[:, self.groups - self.k, None], self.least)  # (m, 1)
        place = np.flatnonzero(z >= bound)
        if place.size > (CROWD * self.k + 32) * len(z):
            place = np.flatnonzero(self.problem.activate(z))
        starts = np.searchsorted(place, np.arange(len(z) + 1) * self.p)
        return place, z.reshape(-1)[place], starts, spoilt

    def _largest_of_groups(self, z: Array) -> Array:
        """Return the largest value of each group of units (m, groups), NaN where one is."""
        grouped = z[:, : self.groups * self.group_size].reshape(len(z), self.group_size, self.groups)
        largest: Array = np.maximum.reduce(grouped, axis=1)
        return largest

    def _kept(self, found: Array, starts: NDArray[np.intp], counts: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which candidates are among the k largest of their row; of equal ones the first."""
        m, most = len(counts), int(counts.max())
        row = np.repeat(np.arange(m), counts)
        table = np.zeros((m, most), found.dtype)  # 0 is below every candidate
        table.reshape(-1)[np.arange(found.size) + row * most - starts[row]] = found
        table.partition(most - self.k, axis=1)
        least = table[:, most - self.k][row]  # the k-th largest of the row, or 0
        kept: NDArray[np.bool_] = found >= least
        excess = np.bincount(row[kept], minlength=m) - self.k
        if (excess > 0).any():  # of those that equal the k-th largest, the last ones are too many
            equal = found == least
            last = np.cumsum(equal)  # of equal ones, over all rows
            rank_from_end = last[starts[1:] - 1][row] - last  # 0 for the last equal one of its row
            kept &= ~(equal & (rank_from_end < excess[row]))
        return kept
