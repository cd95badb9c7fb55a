"""From given activations to gradient sums: what `sparsae.backprop` keeps from one call to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, final

from sparsae._types import Array
from sparsae.engine.fold import sum_blocks
from sparsae.engine.kernel_calls import make_kernel
from sparsae.engine.partition import SEGMENTS, Partition, TreeSum
from sparsae.engine.workers import WorkerPool
from sparsae.machine.threads import ThreadGrant
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel, Backend, Problem
from sparsae.plugins.kernel_checks import check_gradient_sums
from sparsae.plugins.sums import Sums

LEAST_ROWS = 1500  # of a call, whose fixed cost is 20 microseconds
KEPT_BYTES = 1 << 20  # of sums: making larger ones anew takes no time beside their products


@final
class GivenActivations(NamedTuple):
    """Arguments of `Kernel.backprop`, of all rows; `target` is `a1` where there is no separate one."""

    a1: Array
    a2: Array
    a3: Array
    W2: Array
    sparsity: Array
    target: Array


@final
class BackpropEngine:
    """Adds a backend's gradient sums of blocks of rows, for arrays of one length.

    Parameters
    ----------
    backend : Backend
    problem : Problem
    granted : ThreadGrant
    n_samples : int
    kernels : sequence of Kernel
        Made for this backend and problem before; they are used again.

    Attributes
    ----------
    kernels : list of Kernel
        One for each worker, and those that are left over.
    """

    def __init__(
        self,
        backend: Backend,
        problem: Problem,
        granted: ThreadGrant,
        n_samples: int,
        kernels: Sequence[AnyKernel] = (),
    ) -> None:
        self.backend, self.problem, self.kernels = backend, problem, list(kernels)
        rows = problem.block_rows
        workers = min(granted.workers, -(-n_samples // rows))
        while len(self.kernels) < workers:
            self.kernels.append(make_kernel(backend, problem))
        if all(kernel.splits_rows for kernel in self.kernels):
            rows = max(rows, -(-n_samples // calls_for(n_samples)))
        self._partition = Partition(n_samples, rows)
        self._pool = WorkerPool(self.kernels[:workers])
        self._tree = self._make_tree()

    def _make_tree(self) -> TreeSum:
        problem = self.problem
        return TreeSum(problem.n_visible, problem.n_hidden, self._partition.n_segments, with_sparsity=False)

    def sum(self, given: GivenActivations) -> Parameters:
        """Return the sums over all rows, added in the engine's order, so that workers change no bit."""
        a1, a2, a3, W2, sparsity, target = given
        partition = self._partition

        def add(kernel: AnyKernel, index: int, sums: Sums) -> None:
            r = partition.rows(index)
            x = a1[r]
            part = kernel.backprop(x, a2[r], a3[r], W2, sparsity, x if target is a1 else target[r])
            W1, b1, W2_part, b2 = check_gradient_sums(kernel, part)
            sums.W1 += W1
            sums.b1 += b1
            sums.W2 += W2_part
            sums.b2 += b2

        try:
            total = sum_blocks(self._pool, partition, self.backend.name, self._tree, add)
        finally:
            self._pool.close()
        if total.vector.nbytes > KEPT_BYTES:
            self._tree = self._make_tree()
            return Parameters(total.W1, total.b1, total.W2, total.b2)
        at = total.layout
        return Parameters.from_flat(total.vector[at.W1 : at.threshold].copy(), total.n_visible, total.n_hidden)


def calls_for(m: int) -> int:
    """Return in how many calls `m` rows are given to a kernel that splits them itself; depends on `m` alone."""
    return next((calls for calls in (SEGMENTS, 6, 4, 3, 2) if m >= calls * LEAST_ROWS), 1)
