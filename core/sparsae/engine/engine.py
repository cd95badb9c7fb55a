"""How segments become Sums: passes, workers, storage.  The same fold serves one block and a file larger than memory.

Two passes (data in memory): encode every block and keep a2; the mean activations give the sparsity vector;
then accumulate.  One pass (files, clusters): accumulate with the q-sums, and apply the sparsity vector afterwards,
since delta2 is affine in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.engine.kernel_calls import call_kernel, make_kernel
from sparsae.engine.partition import Partition, TreeSum, tree_sum
from sparsae.engine.sources import DataSource
from sparsae.engine.workers import Run, Stopped, WorkerPool
from sparsae.errors import ParameterError
from sparsae.machine.resources import memory_limit
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel, Backend, Problem
from sparsae.plugins.sums import Sums

Passes = Literal["auto", 1, 2]
SHARE = 4  # prepared copies and kept activations may take one part in this many of the memory limit


@final
@dataclass(frozen=True)
class Storage:
    """Whether blocks are kept for the whole fit, and how often an evaluation reads them."""

    kept: bool
    passes: int


def choose_storage(
    sources: Sequence[DataSource], n_hidden: int, dtype: np.dtype[Any], passes: object, *, share: int | None = None
) -> Storage:
    """Keep blocks while they and their activations fit the memory share; then two passes, else one, unless asked.

    Raises
    ------
    ParameterError
        When `passes` is not "auto", 1 or 2.
    """
    if passes not in ("auto", 1, 2) or isinstance(passes, bool):
        raise ParameterError(f'passes must be "auto", 1 or 2; given {passes!r}.')
    m = sources[0].shape[0]
    columns = sum(source.shape[1] for source in sources) + n_hidden
    fits = m * columns * dtype.itemsize <= (memory_limit() // SHARE if share is None else share)
    kept = fits and not any(source.streamed for source in sources)
    if passes == "auto":
        return Storage(kept, 2 if kept else 1)
    return Storage(kept, 2 if passes == 2 else 1)


@final
class Engine:
    """Evaluates the sums of one kernel over all rows.

    Parameters
    ----------
    x, target : DataSource
        The same object when there is no separate target.
    backend : Backend
    problem : Problem
    plan : Partition
    storage : Storage
    workers : int
        Row workers; each gets a kernel of its own.

    Attributes
    ----------
    kernels : list of Kernel
    """

    def __init__(
        self,
        x: DataSource,
        target: DataSource,
        *,
        backend: Backend,
        problem: Problem,
        plan: Partition,
        storage: Storage,
        workers: int,
    ) -> None:
        self.plan, self.storage, self.problem = plan, storage, problem
        self._x, self._target = x, target
        self._name = backend.name
        self.kernels: list[AnyKernel] = [make_kernel(backend, problem) for _ in range(min(workers, plan.n_segments))]
        self._pool = WorkerPool(self.kernels)
        n, p = problem.n_visible, problem.n_hidden
        self._tree = TreeSum(n, p, plan.n_segments, with_sparsity=storage.passes == 1)
        self._hidden = np.zeros((plan.n_segments, p))
        self._a2: list[Any] = [None] * plan.n_blocks
        self._blocks: list[Any] | None = None
        self._checked = x.checked and target.checked
        self._weights: Any = None

    def close(self) -> None:
        """End the worker threads; the engine can be used again."""
        self._pool.close()

    def evaluate(
        self, parameters: Parameters, sparsity_of: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    ) -> Sums:
        """Return the sums over all rows at `parameters`, sparsity included; valid until the next call.

        Parameters
        ----------
        parameters : Parameters
            In the problem's dtype.
        sparsity_of : callable
            Gives the sparsity vector (p,) for the mean activations (p,).

        Raises
        ------
        DataError
            When the data is found to be unusable, has changed or has vanished.
        BackendError
            When the kernel raised; names the segment.
        """
        if self._blocks is None:
            self._x.check_file()
            self._target.check_file()
        if self.storage.kept and self._blocks is None:
            self._prepare_all()
        self._tree.restart()
        self._weights = call_kernel(self._name, self.kernels[0], "begin", parameters)
        m = self.plan.n_samples
        if self.storage.passes == 2:
            self._run(self._encode_segment)
            rho_hat = tree_sum(self._hidden) / m
            self._sparsity: Array | None = sparsity_of(rho_hat).astype(self.problem.dtype)
        else:
            self._sparsity = None
        self._run(self._accumulate_segment)
        self._checked = True
        sums = self._tree.total()
        call_kernel(self._name, self.kernels[0], "finish", self._weights, sums)
        if self.storage.passes == 1:
            s = sparsity_of(sums.hidden / m)
            sums.W1 += s[:, None] * sums.W1_sparsity
            sums.b1 += s * sums.b1_sparsity
        if not np.isfinite(sums.squared_error):
            self._blame_data()
        return sums

    def _run(self, task: Callable[[AnyKernel, int, Run], None]) -> None:
        """Run a task over the segments."""
        pool = self._pool

        def one(kernel: AnyKernel, segment: int) -> None:
            assert pool.current is not None
            task(kernel, segment, pool.current)

        pool.run(one, self.plan.n_segments, self._describe)

    def _describe(self, segment: int) -> str:
        start, stop = self.plan.segment_rows(segment)
        return f"Backend {self._name!r} failed in segment {segment} (rows {start} to {stop - 1})"

    def _encode_segment(self, kernel: AnyKernel, segment: int, run: Run) -> None:
        """First of two passes over a segment."""
        total = self._hidden[segment]
        total.fill(0)
        for index in self.plan.blocks(segment):
            if run.stop:
                raise Stopped
            self._a2[index], hidden = kernel.encode(self._weights, self._block(kernel, index))
            total += hidden

    def _accumulate_segment(self, kernel: AnyKernel, segment: int, run: Run) -> None:
        """Second of two passes over a segment, or the only one."""
        sums = self._tree.take()
        for index in self.plan.blocks(segment):
            if run.stop:
                raise Stopped
            block = self._block(kernel, index)
            kernel.accumulate(self._weights, block, self._a2[index], self._sparsity, sums)
        self._tree.give(segment, sums)

    def _block(self, kernel: AnyKernel, index: int) -> Any:
        """Return the kept block, or read and prepare it."""
        if self._blocks is not None:
            return self._blocks[index]
        return kernel.prepare(*self._read(index), False)

    def _read(self, index: int) -> tuple[Array, Array]:
        """Return x and target of a block; streamed rows are checked when they are read first."""
        where, dtype = self.plan.rows(index), self.problem.dtype
        x = self._x.rows(where, dtype)
        target = x if self._target is self._x else self._target.rows(where, dtype)
        if not self._checked:
            unit = self.problem.output == "sigmoid"
            self._x.check_block(x, where.start, unit_range=unit and target is x)
            if target is not x:
                self._target.check_block(target, where.start, unit_range=unit)
        return x, target

    def _prepare_all(self) -> None:
        """Prepare every block once, in the workers."""
        blocks: list[Any] = [None] * self.plan.n_blocks

        def prepare_segment(kernel: AnyKernel, segment: int, run: Run) -> None:
            for index in self.plan.blocks(segment):
                if run.stop:
                    raise Stopped
                blocks[index] = kernel.prepare(*self._read(index), True)

        self._run(prepare_segment)
        self._blocks = blocks

    def _blame_data(self) -> None:
        """Raise `DataError` if values that are not finite came from the data, which was finite before."""
        if self._blocks is None:
            unit = self.problem.output == "sigmoid"
            for source in {self._x, self._target}:
                source.check(unit_range=unit and source is self._target)
