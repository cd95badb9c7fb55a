"""From parameters to `Sums`: passes over blocks, on row workers.

Two passes (data in memory): encode every block and keep its activations; their mean gives the sparsity vector;
then accumulate.  One pass (files, clusters): accumulate with the q-sums, and apply the sparsity vector afterwards,
since delta2 is affine in it.  The same fold serves all data and a file larger than memory; mini-batches have an
engine of their own, `batch_engine.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array, run_in_turn
from sparsae.engine.batch_engine import BatchEngine
from sparsae.engine.batch_threshold import BatchThreshold, Largest
from sparsae.engine.blocks import KeptBlocks, StreamedBlocks
from sparsae.engine.engine_types import RowsEngine
from sparsae.engine.fold import Blocks, Sparsity, evaluate_sums, for_each_block, sum_blocks
from sparsae.engine.kernel_calls import make_kernel
from sparsae.engine.partition import Partition, TreeSum
from sparsae.engine.sources import DataSource
from sparsae.engine.storage import Storage
from sparsae.engine.summary import DataSummary
from sparsae.engine.workers import WorkerPool
from sparsae.machine.threads import ThreadGrant
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel, Backend, Problem
from sparsae.plugins.sums import Sums

LEAST_SPREAD = 8  # parts, of about 50 us each: handing them to workers takes as long as two


@final
class Engine:
    """Evaluates the sums of one backend over all rows.

    Parameters
    ----------
    x, target : DataSource
        The same object when there is no separate target.
    backend : Backend
    problem : Problem
    partition : Partition
        Of all rows.
    storage : Storage
    workers : int
        Row workers; each gets a kernel of its own.
    kernels : list of Kernel, optional
        Those of an earlier engine for this problem, to be used again.

    Attributes
    ----------
    kernels : list of Kernel
    sources : tuple of DataSource
        x and target.
    """

    def __init__(
        self,
        x: DataSource,
        target: DataSource,
        *,
        backend: Backend,
        problem: Problem,
        partition: Partition,
        storage: Storage,
        workers: int,
        kernels: list[AnyKernel] | None = None,
    ) -> None:
        self.partition, self.storage, self.problem = partition, storage, problem
        self.sources = x, target
        self._x, self._target = x, target
        self._name = backend.name
        self.kernels: list[AnyKernel] = kernels or [
            make_kernel(backend, problem) for _ in range(min(workers, partition.n_segments))
        ]
        self._pool = WorkerPool(self.kernels)
        self.cluster: tuple[dict[str, Any], ...] = ()
        self.notes: Sequence[str] = ()
        self._trees: dict[tuple[int, bool], TreeSum] = {}
        self._streamed = StreamedBlocks(x, target, partition, problem)
        self._kept: KeptBlocks | None = None

    def close(self) -> None:
        """End the worker threads; the engine can be used again."""
        self._pool.close()

    def renew_after_fork(self) -> None:
        """In the child after a fork: what another thread of the parent may have held is made anew."""
        self._trees.clear()

    def evaluate(self, parameters: Parameters, sparsity: Sparsity) -> Sums:
        """Return the sums over all rows at `parameters`, sparsity included; valid until the next call.

        Parameters
        ----------
        parameters : Parameters
            In the problem's dtype.
        sparsity : ndarray (p,) or callable
            The sparsity vector, or what gives it for the mean activations (p,).

        Raises
        ------
        DataError
            When the data is found to be unusable, has changed or has vanished.
        BackendError
            When the kernel raised; names the segment.
        """
        self._x.check_file()
        self._target.check_file()
        self._prepare_passes()
        if self.storage.kept and self._kept is None:
            self._kept = KeptBlocks(self._streamed, self._pool, self._name)
        blocks: Blocks = self._streamed if self._kept is None else self._kept
        m = self.partition.n_samples
        of_total = (lambda total: sparsity(total / m)) if callable(sparsity) else sparsity
        sums = self._evaluate(blocks, parameters, of_total, self.storage.passes)
        self._streamed.checked = True
        if not np.isfinite(sums.squared_error):
            self._check_data_again()
        return sums

    def batch_threshold(self, parameters: Parameters, k: int, rows: NDArray[np.intp] | None = None) -> BatchThreshold:
        """Return what batch top-k keeps of some rows, or of all: the k largest pre-activations a row on average.

        Parameters
        ----------
        parameters : Parameters
            In the problem's dtype, as kernels are given them.
        k : int
        rows : ndarray of int, optional
            Row numbers in ascending order.

        Raises
        ------
        DataError
            When the data is found to be unusable.
        """
        dtype, name = self.problem.dtype, self._name
        chosen = None if rows is None else self._x.take(rows, dtype)
        m = self.partition.n_samples if rows is None else len(rows)
        partition = self.partition if rows is None else Partition(m, min(self.problem.block_rows, m))
        found = [Largest(k * m, dtype) for _ in range(partition.n_segments)]

        def look(kernel: AnyKernel, segment: int, index: int) -> None:
            where = partition.rows(index)
            x = self._streamed.read(index, scratch=True)[0] if chosen is None else chosen[where]
            found[segment].add(x @ parameters.W1.T + parameters.b1)

        for_each_block(self._pool, partition, name, look)
        for other in found[1:]:
            found[0].merge(other)
        return found[0].threshold()

    def run_tasks(self, task: Callable[[int], None], count: int) -> None:
        """Call ``task(i)`` for i below `count`, in any order, on the row workers; few of them in this thread."""
        if count < LEAST_SPREAD:
            run_in_turn(task, count)
            return
        floating_point = np.geterr()  # of this thread

        def work(index: int) -> None:
            with np.errstate(**floating_point):
                task(index)

        self._pool.run_tasks(work, count, "what is done once in an evaluation")

    def summaries(self) -> tuple[DataSummary, DataSummary]:
        """Return the summaries of x and target; reads the data through, the first time."""
        self._prepare_passes()  # what is decoded for the copy is not decoded again
        return self._x.summary(), self._target.summary()

    def batch_engine(self, *, backend: Backend, granted: ThreadGrant, batch_rows: int, direct: bool) -> RowsEngine:
        """Return an engine for mini-batches of the same rows."""
        return BatchEngine(
            *self.sources,
            backend=backend,
            problem=self.problem,
            granted=granted,
            batch_rows=batch_rows,
            direct=direct,
        )

    def _prepare_passes(self) -> None:
        """Decode rows that are read in every pass into their temporary copy, the first time."""
        if not self.storage.kept:
            self._x.prepare_passes()
            self._target.prepare_passes()

    def _evaluate(self, blocks: Blocks, parameters: Parameters, sparsity: Sparsity, passes: int) -> Sums:
        partition, name, pool, hidden = blocks.partition, self._name, self._pool, blocks.hidden

        def totals(weights: Any) -> NDArray[np.float64]:
            found = np.zeros((partition.n_segments, self.problem.n_hidden))

            def encode(kernel: AnyKernel, segment: int, index: int) -> None:
                hidden[index], total = kernel.encode(weights, blocks.block(kernel, index))
                found[segment] += total

            for_each_block(pool, partition, name, encode)
            return found

        def sums(weights: Any, s: Array | None) -> Sums:
            def accumulate(kernel: AnyKernel, index: int, into: Sums) -> None:
                kernel.accumulate(weights, blocks.block(kernel, index), hidden[index], s, into)

            tree = self._tree(partition.n_segments, s is None)
            return sum_blocks(pool, partition, name, tree, accumulate, self.run_tasks)

        both = totals if passes == 2 else None
        return evaluate_sums(name, self.kernels[0], parameters, sparsity, totals=both, sums=sums)

    def _tree(self, n_segments: int, with_sparsity: bool) -> TreeSum:
        key = n_segments, with_sparsity
        if key not in self._trees:
            n, p = self.problem.n_visible, self.problem.n_hidden
            written = self.kernels[0].direct_sums
            self._trees[key] = TreeSum(n, p, n_segments, with_sparsity=with_sparsity, written=written)
        return self._trees[key]

    def _check_data_again(self) -> None:
        """Raise `DataError` if values that are not finite came from the data, which was finite before."""
        if self._kept is None:
            unit = self.problem.output == "sigmoid"
            for source in {self._x, self._target}:
                source.check(dtype=self.problem.dtype, unit_range=unit and source is self._target)
