"""The part of a worker process in mini-batches: sums of some of their blocks, in the order of `BatchEngine`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.distributed.kernel_pool import KernelPool
from sparsae.distributed.tasks import FitDescription, Rows, Work, split_rows
from sparsae.engine.batch_sums import clear_batch_sums, make_batch_sums
from sparsae.engine.batch_threshold import Largest
from sparsae.engine.partition import Partition
from sparsae.engine.value_check import check_chosen
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel
from sparsae.plugins.sums import Sums

SegmentRows = dict[int, list[Array]]


@final
class BatchShard:
    """Kernels of one fit in this process, for mini-batches.

    Parameters
    ----------
    description : FitDescription
        Its problem has the block size of a whole mini-batch.
    threads : int
        Number of Dask threads of this worker.
    """

    def __init__(self, description: FitDescription, threads: int) -> None:
        self._pool, self._problem = KernelPool(description, threads), description.problem
        self._direct = description.direct and self._pool.kernels[0].direct_sums
        self._kept: tuple[int, dict[int, tuple[Any, Any]]] = (-1, {})  # block and activations between two rounds

    def run(self, work: Work, parameters: Parameters, travelled: Rows | None) -> list[Any]:
        """Do a task: one result a segment."""
        rows = split_rows(work, travelled, self._problem.dtype)
        with self._pool.in_use():
            if work.round == "figures":
                return self._figures(work, parameters, rows)
            weights = self._pool.begin(work.evaluation, parameters)
            return self._encode(work, weights, rows) if work.round == "encode" else self._sums(work, weights, rows)

    def close(self) -> None:
        """End the worker threads and drop all rows."""
        self._pool.pool.close()
        self._kept = (-1, {})

    def _encode(self, work: Work, weights: Any, rows: SegmentRows) -> list[NDArray[np.float64]]:
        """Return for each segment the activations summed over each of its blocks (blocks, n_hidden)."""
        totals = [np.empty((len(work.partition.blocks(s)), self._problem.n_hidden)) for s in work.segments]
        kept: dict[int, tuple[Any, Any]] = {}

        def encode(kernel: AnyKernel, position: int, segment: int) -> None:
            for place, index, x, target in self._blocks(work, segment, rows):
                block = kernel.prepare(x, target, True)
                hidden, totals[position][place] = kernel.encode(weights, block)
                kept[index] = block, hidden

        self._for_segments(work, encode)
        self._kept = work.evaluation, kept
        return totals

    def _sums(self, work: Work, weights: Any, rows: SegmentRows) -> list[list[Array]]:
        """Return for each segment the sums of each of its blocks."""
        found: list[list[Array]] = [[] for _ in work.segments]
        evaluation, kept = self._kept
        self._kept = (-1, {})
        two_rounds = work.two_rounds

        def accumulate(kernel: AnyKernel, position: int, segment: int) -> None:
            for _, index, x, target in self._blocks(work, segment, rows, kept if evaluation == work.evaluation else {}):
                block, hidden = kept[index] if x is None else (kernel.prepare(x, target, two_rounds), None)
                if two_rounds and hidden is None:  # the first round was done elsewhere
                    hidden, _ = kernel.encode(weights, block)
                found[position].append(self._accumulate(kernel, weights, block, hidden, work.sparsity).head)

        self._for_segments(work, accumulate)
        return found

    def _accumulate(self, kernel: AnyKernel, weights: Any, block: Any, hidden: Any, s: Array | None) -> Sums:
        """Return the sums of a block, finished where they are direct."""
        sums = make_batch_sums(self._problem, direct=self._direct)
        clear_batch_sums(sums, direct=self._direct)
        kernel.accumulate(weights, block, hidden, s, sums)
        if self._direct:
            kernel.finish(weights, sums)
        return sums

    def _figures(self, work: Work, parameters: Parameters, rows: SegmentRows) -> list[NDArray[np.float64]]:
        """Return for each segment what `Sums` holds before the gradient, of each of its mini-batches."""
        found: list[list[NDArray[np.float64]]] = [[] for _ in work.segments]

        def evaluate(kernel: AnyKernel, position: int, segment: int) -> None:
            for _, _, x, target in self._blocks(work, segment, rows):
                given = parameters
                if work.count:
                    threshold = _threshold(x, parameters, work.count * len(x), work.block_rows)
                    given = parameters._replace(threshold=np.full(len(parameters.b1), threshold, x.dtype))
                found[position].append(self._one_batch(kernel, given, x, target))

        self._for_segments(work, evaluate)
        return [np.array(figures) for figures in found]

    def _one_batch(self, kernel: AnyKernel, parameters: Parameters, x: Array, target: Array) -> NDArray[np.float64]:
        """Return what `Sums` holds before the gradient, of one mini-batch; blocks are added in their order."""
        weights = kernel.begin(parameters)
        partition = Partition(len(x), min(self._problem.block_rows, len(x)))
        zeros = np.zeros(self._problem.n_hidden, self._problem.dtype)
        total: Sums | None = None
        for index in range(partition.n_blocks):
            where = partition.rows(index)
            block = kernel.prepare(x[where], x[where] if target is x else target[where], False)
            sums = self._accumulate(kernel, weights, block, None, zeros)
            if total is None:
                total = sums
            else:
                total.vector[: sums.layout.W1] += sums.vector[: sums.layout.W1]
        assert total is not None
        if not self._direct:
            kernel.finish(weights, total)
        if self._problem.activation == "sigmoid":
            total.fired[:] = total.rows
        return total.vector[: total.layout.W1].astype(np.float64)

    def _blocks(
        self, work: Work, segment: int, rows: SegmentRows, kept: Sequence[int] | dict[int, Any] = ()
    ) -> list[tuple[int, int, Any, Any]]:
        """Return place, number, rows of x and of the target of each block of a segment; no rows where it is kept."""
        indices = work.partition.blocks(segment)
        if all(index in kept for index in indices):
            return [(place, index, None, None) for place, index in enumerate(indices)]
        parts = self._read(work, segment, rows)
        x, target = parts[0], parts[-1]
        first, found = work.partition.segment_rows(segment)[0], []
        for place, index in enumerate(indices):
            where = work.partition.rows(index)
            inside = slice(where.start - first, where.stop - first)
            block_x = x[inside]
            found.append((place, index, block_x, block_x if target is x else target[inside]))
        return found

    def _read(self, work: Work, segment: int, rows: SegmentRows) -> list[Array]:
        """Return the rows of a segment, of x and where it is separate of the target, checked."""
        assert work.batch is not None
        numbers, dtype = work.batch[segment], self._problem.dtype
        parts = rows[segment] if segment in rows else [s.take(numbers, dtype) for s in self._pool.sources]
        unit = self._problem.output == "sigmoid"
        for name, part in zip(("X", "target"), parts, strict=False):
            check_chosen(part, numbers, name, unit_range=unit and part is parts[-1])
        return parts

    def _for_segments(self, work: Work, action: Callable[[AnyKernel, int, int], None]) -> None:
        """Call ``action(kernel, position, segment)`` for the segments of the task, on all threads."""
        segments, name = work.segments, self._pool.backend.name

        def describe(position: int) -> str:
            start, stop = work.partition.segment_rows(segments[position])
            return f"Backend {name!r} failed in rows {start} to {stop - 1} of a mini-batch"

        self._pool.pool.run(lambda kernel, i, run: action(kernel, i, segments[i]), len(segments), describe)


def _threshold(x: Array, parameters: Parameters, count: int, block_rows: int) -> float:
    """Return the threshold of batch top-k for a mini-batch that is here as a whole; as `Engine.batch_threshold`."""
    found, partition = Largest(count, x.dtype), Partition(len(x), min(block_rows, len(x)))
    for index in range(partition.n_blocks):
        found.add(x[partition.rows(index)] @ parameters.W1.T + parameters.b1)
    return found.threshold().threshold
