"""Prepared blocks of all rows: kept for a fit, or read and prepared in each evaluation."""

from __future__ import annotations

from typing import Any, final

from sparsae._types import Array
from sparsae.engine.fold import for_each_block
from sparsae.engine.partition import Partition
from sparsae.engine.sources import DataSource
from sparsae.engine.workers import WorkerPool
from sparsae.plugins.contract import AnyKernel, Problem


@final
class StreamedBlocks:
    """Blocks that are read and prepared each time; values are checked on the first pass."""

    def __init__(self, x: DataSource, target: DataSource, partition: Partition, problem: Problem) -> None:
        self.partition = partition
        self._x, self._target, self._problem = x, target, problem
        self.hidden: list[Any] = [None] * partition.n_blocks
        self.checked = x.checked and target.checked

    def block(self, kernel: AnyKernel, index: int) -> Any:
        """Read and prepare a block in scratch."""
        return kernel.prepare(*self.read(index, scratch=True), False)

    def read(self, index: int, *, scratch: bool) -> tuple[Array, Array]:
        """Return x and target of a block; checked when they are read first."""
        where, dtype = self.partition.rows(index), self._problem.dtype
        x = self._x.rows(where, dtype, scratch=scratch)
        same = self._target is self._x
        target = x if same else self._target.rows(where, dtype, scratch=scratch)
        if not self.checked:
            unit = self._problem.output == "sigmoid"
            self._x.check_block(x, where, unit_range=unit and same)
            if not same:
                self._target.check_block(target, where, unit_range=unit)
        return x, target


@final
class KeptBlocks:
    """Blocks that were prepared once, for the whole fit."""

    def __init__(self, source: StreamedBlocks, pool: WorkerPool, backend: str) -> None:
        self.partition = source.partition
        self.hidden: list[Any] = source.hidden
        self._blocks: list[Any] = [None] * self.partition.n_blocks

        def prepare(kernel: AnyKernel, segment: int, index: int) -> None:
            self._blocks[index] = kernel.prepare(*source.read(index, scratch=False), True)

        for_each_block(pool, self.partition, backend, prepare)

    def block(self, kernel: AnyKernel, index: int) -> Any:
        """Return a block."""
        return self._blocks[index]
