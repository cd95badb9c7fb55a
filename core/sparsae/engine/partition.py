"""How rows are cut into blocks and segments, and in which order sums are added.

Rows are cut by their number and the block size alone, never by the number of workers, and sums are added in one fixed
binary tree over the segments.  So the number of workers never changes a bit of the result.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import RunTasks, run_in_turn
from sparsae.cost import PIECE
from sparsae.machine.resources import l2_bytes
from sparsae.plugins.contract import Problem
from sparsae.plugins.sums import Sums

SEGMENTS = 12  # divides well among 1, 2, 3, 4, 6 and 12 workers; 8 to 24 made no difference in speed
ROWS_PER_EXTRA = 1 << 20  # longer data has more segments, for clusters and so that none takes long
ALIGN = 16


@final
@dataclass(frozen=True)
class Partition:
    """Cuts `n_samples` rows into blocks of `block_rows`, and blocks into segments."""

    n_samples: int
    block_rows: int

    @cached_property
    def n_blocks(self) -> int:
        """Number of blocks; the last one may be short."""
        return -(-self.n_samples // self.block_rows)

    @cached_property
    def n_segments(self) -> int:
        """Number of segments, at most one a block."""
        return min(self.n_blocks, SEGMENTS * max(1, self.n_samples // ROWS_PER_EXTRA))

    def blocks(self, segment: int) -> range:
        """Block numbers of a segment."""
        return range(
            segment * self.n_blocks // self.n_segments,
            (segment + 1) * self.n_blocks // self.n_segments,
        )

    def rows(self, block: int) -> slice:
        """Rows of a block."""
        start = block * self.block_rows
        return slice(start, min(start + self.block_rows, self.n_samples))

    def segment_rows(self, segment: int) -> tuple[int, int]:
        """First row of a segment and the row after its last."""
        blocks = self.blocks(segment)
        return self.rows(blocks.start).start, self.rows(blocks.stop - 1).stop


def cache_rows(problem: Problem) -> int:
    """Rows whose working set (two arrays of n, three of p columns) fills half of the second-level cache.

    A multiple of 16 between 64 and 4096.
    """
    row_bytes = (2 * problem.n_visible + 3 * problem.n_hidden) * problem.dtype.itemsize
    rows = l2_bytes() // 2 // row_bytes // ALIGN * ALIGN
    return int(min(max(rows, 64), 4096))


@final
class TreeSum:
    """Adds the `Sums` of segments pairwise, level by level, as soon as both neighbours are complete.

    Which sums are added, and in which order, depends on the number of segments alone.
    Buffers are allocated when they are first needed and used again.  Threads may call `cleared_sums` and `add` at the
    same time.

    Parameters
    ----------
    n_visible, n_hidden : int
    n_segments : int
    with_sparsity : bool
        Whether the q-sums are added too (one pass).
    written : bool
        Whether whoever adds to cleared sums writes W1 and W2 first, so that they need not be cleared.
    """

    def __init__(
        self, n_visible: int, n_hidden: int, n_segments: int, *, with_sparsity: bool, written: bool = False
    ) -> None:
        self._shape = (n_visible, n_hidden)
        self._whole, self._written = with_sparsity, written
        self._widths = [n_segments]
        while self._widths[-1] > 1:
            self._widths.append(-(-self._widths[-1] // 2))
        self._free: list[Sums] = []
        self._waiting: dict[tuple[int, int], Sums] = {}
        self._lock = threading.Lock()

    def cleared_sums(self) -> Sums:
        """Return sums of zero, to add the blocks of a segment to; anything in W1 and W2 where they are `written`."""
        try:
            sums = self._free.pop()
        except IndexError:
            return Sums(*self._shape)
        used = self._used(sums)
        if self._written:
            used[: sums.layout.W1] = 0
            used[sums.layout.b1 :] = 0
        else:
            used.fill(0)
        return sums

    def _used(self, sums: Sums) -> NDArray[np.float64]:
        """Return the part of the vector that is added."""
        return sums.vector if self._whole else sums.head

    def add(self, index: int, sums: Sums, *, level: int = 0) -> None:
        """Add the sums of a whole segment: with its neighbour's if those are complete, and so on upwards.

        Those of a complete subtree are added at its level, with its index there.  The last two are left to `total`.
        """
        while level + 2 < len(self._widths):
            sibling = index ^ 1
            if sibling < self._widths[level]:
                with self._lock:
                    other = self._waiting.pop((level, sibling), None)
                    if other is None:
                        self._waiting[level, index] = sums
                        return
                left, right = (sums, other) if index < sibling else (other, sums)
                into = self._used(left)
                into += self._used(right)
                self._free.append(right)
                sums = left
            level, index = level + 1, index // 2
        with self._lock:
            self._waiting[level, index] = sums

    def total(self, run_tasks: RunTasks = run_in_turn) -> Sums:
        """Return the sums of all segments; they are valid until the next `restart`.

        The last addition, when no worker has anything else to do, is made by `run_tasks`.
        """
        top = len(self._widths) - 1
        if (top, 0) not in self._waiting:
            left, right = (self._waiting.pop((top - 1, index)) for index in (0, 1))
            into, added = self._used(left), self._used(right)

            def add(index: int) -> None:
                piece = slice(index * PIECE, (index + 1) * PIECE)
                into[piece] += added[piece]

            run_tasks(add, -(-into.size // PIECE))
            self._free.append(right)
            self._waiting[top, 0] = left
        return self._waiting[top, 0]

    def restart(self) -> None:
        """Reuse every buffer; whatever the last evaluation left is dropped."""
        self._free.extend(self._waiting.values())
        self._waiting.clear()


def tree_sum(leaves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add the rows of a matrix in the order of `TreeSum`; the matrix is used as scratch.

    Parameters
    ----------
    leaves : ndarray (n_segments, k) float64
    """
    step = 1
    while step < len(leaves):
        for left in range(0, len(leaves) - step, 2 * step):
            leaves[left] += leaves[left + step]
        step *= 2
    total: NDArray[np.float64] = leaves[0]
    return total
