"""From parameters to `Sums`: passes over blocks, on row workers.

Two passes (data in memory): encode every block and keep its activations; their mean gives the sparsity vector;
then accumulate.  One pass (files, clusters): accumulate with the q-sums, and apply the sparsity vector afterwards,
since delta2 is affine in it.  The same fold serves all data, a file larger than memory, and a mini-batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural
from sparsae._types import Array
from sparsae.engine.batch_threshold import BatchThreshold, Largest
from sparsae.engine.blocks import BatchBlocks, KeptBlocks, StreamedBlocks
from sparsae.engine.fold import Blocks, for_each_block, sum_blocks
from sparsae.engine.kernel_calls import call_kernel, make_kernel
from sparsae.engine.partition import Partition, TreeSum, tree_sum
from sparsae.engine.sources import DataSource
from sparsae.engine.storage import Storage
from sparsae.engine.workers import WorkerPool
from sparsae.errors import ParameterError
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel, Backend, Problem
from sparsae.plugins.sums import Sums

Sparsity = NDArray[np.float64] | Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""The sparsity vector s (p,) where it is known before the data is read, else a function that gives it."""


@final
class Engine:
    """Evaluates the sums of one backend over all rows, or over some of them.

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
    ) -> None:
        self.partition, self.storage, self.problem = partition, storage, problem
        self.sources = x, target
        self._x, self._target = x, target
        self._name = backend.name
        self.kernels: list[AnyKernel] = [
            make_kernel(backend, problem) for _ in range(min(workers, partition.n_segments))
        ]
        self._pool = WorkerPool(self.kernels)
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

    def evaluate_rows(self, parameters: Parameters, sparsity: Sparsity, rows: NDArray[np.intp]) -> Sums:
        """Return the sums over a mini-batch, as `evaluate` does; the kernels are used again.

        In one pass where the sparsity vector is known, else in two.

        Parameters
        ----------
        parameters : Parameters
            In the problem's dtype.
        sparsity : ndarray (p,) or callable
            The sparsity vector, or what gives it for the activations summed over these rows (p,).
        rows : ndarray (k,) of int
            Row numbers in ascending order.
        """
        dtype = self.problem.dtype
        x = self._x.take(rows, dtype)
        target = x if self._target is self._x else self._target.take(rows, dtype)
        passes = 2 if callable(sparsity) else 1
        return self._evaluate(BatchBlocks(x, target, self.problem.block_rows), parameters, sparsity, passes)

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

    def _evaluate(self, blocks: Blocks, parameters: Parameters, sparsity: Sparsity, passes: int) -> Sums:
        partition, name, pool = blocks.partition, self._name, self._pool
        weights = call_kernel(name, self.kernels[0], "begin", parameters)
        hidden = blocks.hidden
        s: Array | None = None if callable(sparsity) else self._cast(sparsity)
        if passes == 2:
            totals = np.zeros((partition.n_segments, self.problem.n_hidden))

            def encode(kernel: AnyKernel, segment: int, index: int) -> None:
                hidden[index], total = kernel.encode(weights, blocks.block(kernel, index))
                totals[segment] += total

            for_each_block(pool, partition, name, encode)
            if callable(sparsity):
                s = self._cast(sparsity(tree_sum(totals)))

        def accumulate(kernel: AnyKernel, index: int, sums: Sums) -> None:
            kernel.accumulate(weights, blocks.block(kernel, index), hidden[index], s, sums)

        sums = sum_blocks(pool, partition, name, self._tree(partition.n_segments, s is None), accumulate)
        call_kernel(name, self.kernels[0], "finish", weights, sums)
        if self.problem.activation == "sigmoid":
            sums.fired[:] = sums.rows  # a sigmoid unit is never 0
        if s is None and callable(sparsity):
            found = sparsity(sums.hidden)
            sums.W1 += found[:, None] * sums.W1_sparsity
            sums.b1 += found * sums.b1_sparsity
        return sums

    def _tree(self, n_segments: int, with_sparsity: bool) -> TreeSum:
        key = n_segments, with_sparsity
        if key not in self._trees:
            n, p = self.problem.n_visible, self.problem.n_hidden
            self._trees[key] = TreeSum(n, p, n_segments, with_sparsity=with_sparsity)
        return self._trees[key]

    def _cast(self, sparsity: NDArray[np.float64]) -> Array:
        """Return the sparsity vector in the problem's dtype; one that is infinite in it is the setting's fault."""
        with np.errstate(over="ignore"):
            cast: Array = sparsity.astype(self.problem.dtype)
        if np.isfinite(cast).all():
            return cast
        bad = int(np.count_nonzero(np.isfinite(sparsity) & ~np.isfinite(cast)))
        if bad:
            raise ParameterError(
                f"The sparsity vector is too large for {self.problem.dtype} in {plural(bad, 'hidden unit')}: "
                f"up to {np.abs(sparsity).max():.3g}. Use a smaller beta or l1, or dtype=numpy.float64."
            )
        return cast

    def _check_data_again(self) -> None:
        """Raise `DataError` if values that are not finite came from the data, which was finite before."""
        if self._kept is None:
            unit = self.problem.output == "sigmoid"
            for source in {self._x, self._target}:
                source.check(dtype=self.problem.dtype, unit_range=unit and source is self._target)
