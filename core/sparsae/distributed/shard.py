"""The part of a fit that lives in a worker process: kernels, worker threads, prepared blocks of its segments.

A shard is made by the first task of a fit that reaches the process and holds whatever segments it is asked for: when
another worker dies, its segments arrive here and are read again.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.distributed.kernel_pool import KernelPool
from sparsae.distributed.tasks import FitDescription, Rows, Work, split_rows
from sparsae.engine.batch_threshold import Largest
from sparsae.engine.fold import describe_rows
from sparsae.engine.partition import TreeSum
from sparsae.engine.workers import SegmentRun
from sparsae.machine.resources import memory_limit
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel

SegmentRows = Mapping[int, Sequence[Array]]  # segment: its rows of x, and of the target where it is separate


@final
class Shard:
    """Kernels and prepared blocks of one fit in this process.

    Parameters
    ----------
    description : FitDescription
    threads : int
        Number of Dask threads of this worker.
    memory : int or None
        Memory limit of this worker in bytes.
    """

    def __init__(self, description: FitDescription, *, threads: int, memory: int | None) -> None:
        self._pool = KernelPool(description, threads)
        self._problem, self._backend = description.problem, self._pool.backend
        self._blocks: dict[int, Any] = {}
        self._hidden: tuple[int, dict[int, Any]] = (-1, {})
        self._checked: set[int] = set()
        self._room = min(memory or memory_limit(), memory_limit()) // description.memory_share
        self._room_lock = threading.Lock()

    def run(self, work: Work, parameters: Parameters, travelled: Rows | None) -> list[Any]:
        """Do a task: one result a subtree; for "encode" hidden activations summed over each of its segments."""
        rows = split_rows(work, travelled, self._problem.dtype)
        with self._pool.in_use():
            if work.round == "largest":
                return self._largest(work, parameters, rows)
            weights = self._pool.begin(work.evaluation, parameters)
            if work.round == "encode":
                return self._encode(work, weights, rows)
            return self._accumulate(work, weights, rows)

    def close(self) -> None:
        """End the worker threads and drop all rows."""
        self._pool.pool.close()
        self._blocks.clear()
        self._hidden = (-1, {})

    def _encode(self, work: Work, weights: Any, rows: SegmentRows) -> list[NDArray[np.float64]]:
        segments = work.segments
        totals = np.zeros((len(segments), self._problem.n_hidden))
        hidden: dict[int, Any] = {}

        def action(kernel: AnyKernel, position: int, run: SegmentRun) -> None:
            for index in work.partition.blocks(segments[position]):
                run.check()
                found, total = kernel.encode(weights, self._block(kernel, work, segments[position], index, rows))
                totals[position] += total
                if index in self._blocks:  # without its block an activation is not kept
                    hidden[index] = found

        self._for_segments(action, work)
        self._hidden = (work.evaluation, hidden)
        bounds = np.cumsum([len(subtree.segments(work.partition.n_segments)) for subtree in work.subtrees])
        return np.split(totals, bounds[:-1])

    def _accumulate(self, work: Work, weights: Any, rows: SegmentRows) -> list[NDArray[np.float64]]:
        segments, problem, whole = work.segments, self._problem, work.sparsity is None
        trees: list[TreeSum] = []
        place: list[tuple[TreeSum, int]] = []
        for subtree in work.subtrees:
            inside = subtree.segments(work.partition.n_segments)
            tree = TreeSum(problem.n_visible, problem.n_hidden, len(inside), with_sparsity=whole)
            trees.append(tree)
            place += [(tree, i) for i in range(len(inside))]
        evaluation, hidden = self._hidden
        if evaluation != work.evaluation:
            hidden = {}

        def action(kernel: AnyKernel, position: int, run: SegmentRun) -> None:
            tree, inside = place[position]
            sums = tree.cleared_sums()
            for index in work.partition.blocks(segments[position]):
                run.check()
                block = self._block(kernel, work, segments[position], index, rows)
                kernel.accumulate(weights, block, hidden.get(index), work.sparsity, sums)
            tree.add(inside, sums)

        self._for_segments(action, work)
        totals = [tree.total() for tree in trees]
        return [sums.vector if whole else sums.head for sums in totals]

    def _largest(self, work: Work, parameters: Parameters, rows: SegmentRows) -> list[Largest]:
        segments = work.segments
        found = [Largest(work.count, self._problem.dtype) for _ in segments]

        def action(kernel: AnyKernel, position: int, run: SegmentRun) -> None:
            for index in work.partition.blocks(segments[position]):
                run.check()
                x, _ = self._read(work, segments[position], index, rows)
                found[position].add(x @ parameters.W1.T + parameters.b1)

        self._for_segments(action, work)
        merged, position = [], 0
        for subtree in work.subtrees:
            inside = found[position : position + len(subtree.segments(work.partition.n_segments))]
            for other in inside[1:]:
                inside[0].merge(other)
            merged.append(inside[0])
            position += len(inside)
        return merged

    def _for_segments(self, action: Any, work: Work) -> None:
        describe, segments = describe_rows(self._backend.name, work.partition), work.segments
        self._pool.pool.run(action, len(segments), lambda position: describe(segments[position]))

    def _block(self, kernel: AnyKernel, work: Work, segment: int, index: int, rows: SegmentRows) -> Any:
        """Return a prepared block: the one that is kept, or one that is read and prepared now."""
        block = self._blocks.get(index)
        if block is not None:
            return block
        x, target = self._read(work, segment, index, rows)
        size = (x.nbytes + (0 if target is x else target.nbytes)) * 2
        with self._room_lock:
            keep = size <= self._room
            self._room -= size if keep else 0
        block = kernel.prepare(x, target, keep)
        if keep:
            self._blocks[index] = block
        return block

    def _read(self, work: Work, segment: int, index: int, rows: SegmentRows) -> tuple[Array, Array]:
        """Return the rows of a block, checked when this process reads them first."""
        where, dtype = work.partition.rows(index), self._problem.dtype
        first = work.partition.segment_rows(segment)[0]
        inside = slice(where.start - first, where.stop - first)
        if segment in rows:
            parts = [np.ascontiguousarray(part[inside], dtype=dtype) for part in rows[segment]]
        elif work.batch is not None:
            parts = [source.take(work.batch[segment][inside], dtype) for source in self._pool.sources]
        else:
            parts = [source.rows(where, dtype) for source in self._pool.sources]
        if work.batch is None and index not in self._checked:
            self._pool.check(parts, where.start)
            self._checked.add(index)
        return parts[0], parts[-1]
