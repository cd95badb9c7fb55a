"""What the workers of a mini-batch share: blocks of rows, the sparsity vector, values that one of them computes."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar, final

import numpy as np

from sparsae._types import Array
from sparsae.engine.fold import Sparsity, cast_sparsity
from sparsae.engine.partition import Partition
from sparsae.engine.row_reader import RowNumbers, RowReader
from sparsae.engine.workers import SegmentRun
from sparsae.plugins.contract import AnyKernel, Problem

T = TypeVar("T")


@final
class Promised(Generic[T]):
    """A value that one worker computes, and for which the others wait."""

    def __init__(self) -> None:
        self._values: list[T] = []
        self._ready: SimpleQueue[None] = SimpleQueue()

    def put(self, value: T) -> None:
        """Hand it in, once."""
        self._values.append(value)
        self._ready.put(None)

    @property
    def value(self) -> T:
        """The value, which is there."""
        return self._values[0]

    def wait(self, run: SegmentRun) -> T:
        """Return the value; `RunCancelledError` when the run that computes it is cancelled."""
        while not self._values:
            run.check()
            with suppress(Empty):
                self._ready.get(timeout=0.05)
                self._ready.put(None)  # for the next that waits
        return self._values[0]


@final
class SharedSparsity:
    """The sparsity vector: known, or computed by the worker that encodes the last block."""

    def __init__(self, sparsity: Sparsity, n_blocks: int, problem: Problem) -> None:
        self._dtype = problem.dtype
        self._vector: Promised[Array] = Promised()
        self._encoded, self._last = count(), n_blocks - 1  # next() on a count is atomic
        if callable(sparsity):
            self._function, self._totals = sparsity, np.empty((n_blocks, problem.n_hidden))
        else:
            self._vector.put(cast_sparsity(sparsity, self._dtype))

    def add(self, block: int, total: Array) -> None:
        """Hand in the activations summed over the rows of a block; the last one's caller computes the vector."""
        self._totals[block] = total
        if next(self._encoded) == self._last:
            self._vector.put(cast_sparsity(self._function(self._totals.sum(axis=0)), self._dtype))

    def wait(self, run: SegmentRun) -> Array:
        """Return the vector; `RunCancelledError` when the run that computes it is cancelled."""
        return self._vector.wait(run)


@final
class BatchBlocks:
    """Blocks of a mini-batch: read, from memory, by the worker that needs them, or beforehand.

    Parameters
    ----------
    reader : RowReader
    rows : ndarray (k,) of int
    block_rows : int
    keep : bool
        Whether blocks are used twice.
    ahead : int
        So many, at most, are read before anybody needs them: by `read`, each once.
    """

    def __init__(self, reader: RowReader, rows: RowNumbers, block_rows: int, *, keep: bool, ahead: int) -> None:
        self.partition = Partition(len(rows), min(block_rows, len(rows)))
        self._keep = keep
        self._reader, self._rows = reader, rows
        self._all = reader.take_ahead(rows) if reader.waits else None
        self._kept: list[Any] = [None] * self.partition.n_blocks
        self.ahead = min(ahead, self.partition.n_blocks)
        self._ahead: list[Promised[Any]] = [Promised() for _ in range(self.ahead)]

    def read(self, kernel: AnyKernel, index: int) -> None:
        """Prepare a block that another worker may wait for."""
        self._ahead[index].put(self._prepare(kernel, index))

    def block(self, kernel: AnyKernel, index: int, run: SegmentRun) -> Any:
        """Return a block; prepared once where it is used twice."""
        if index < self.ahead:
            return self._ahead[index].wait(run)
        if self._kept[index] is None:
            self._kept[index] = self._prepare(kernel, index)
        return self._kept[index]

    def _prepare(self, kernel: AnyKernel, index: int) -> Any:
        where = self.partition.rows(index)
        if self._all is None:
            x, target = self._reader.take(self._rows[where])
        else:
            x, target = (rows[where] for rows in self._all)
            target = x if self._all[0] is self._all[1] else target
        return kernel.prepare(x, target, self._keep)
