"""The one way in which sums over rows are made: blocks in segments, segments on workers, a fixed tree over segments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from sparsae.engine.partition import Partition, TreeSum
from sparsae.engine.workers import SegmentRun, WorkerPool
from sparsae.plugins.contract import AnyKernel
from sparsae.plugins.sums import Sums


class Blocks(Protocol):
    """Prepared blocks of some rows: those of all data, of a file, or of a mini-batch."""

    @property
    def partition(self) -> Partition:
        """How the rows are cut."""
        ...

    @property
    def hidden(self) -> list[Any]:
        """Hidden activations of each block between the two passes; replaced one by one in the next evaluation."""
        ...

    def block(self, kernel: AnyKernel, index: int) -> Any:
        """Return a block as `kernel`, or another instance of its backend, prepared it."""
        ...


def describe_rows(backend: str, partition: Partition) -> Callable[[int], str]:
    """Return a function that says what failed: the backend, the segment, its rows."""

    def describe(segment: int) -> str:
        start, stop = partition.segment_rows(segment)
        return f"Backend {backend!r} failed in segment {segment} (rows {start} to {stop - 1})"

    return describe


def for_each_block(
    pool: WorkerPool, partition: Partition, backend: str, action: Callable[[AnyKernel, int, int], None]
) -> None:
    """Call ``action(kernel, segment, block)`` for every block, on the workers; blocks of a segment in order."""

    def work(kernel: AnyKernel, segment: int, run: SegmentRun) -> None:
        for index in partition.blocks(segment):
            run.check()
            action(kernel, segment, index)

    pool.run(work, partition.n_segments, describe_rows(backend, partition))


def sum_blocks(
    pool: WorkerPool, partition: Partition, backend: str, tree: TreeSum, add: Callable[[AnyKernel, int, Sums], None]
) -> Sums:
    """Call ``add(kernel, block, sums)`` for every block and return the sums of all, valid until the tree is used again.

    The sums of a segment are added block by block, those of segments in the tree: the number of workers changes no bit.
    """
    tree.restart()

    def work(kernel: AnyKernel, segment: int, run: SegmentRun) -> None:
        sums = tree.cleared_sums()
        for index in partition.blocks(segment):
            run.check()
            add(kernel, index, sums)
        tree.add(segment, sums)

    pool.run(work, partition.n_segments, describe_rows(backend, partition))
    return tree.total()
