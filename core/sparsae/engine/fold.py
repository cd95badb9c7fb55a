"""The one way in which sums over rows are made: blocks in segments, segments on workers, a fixed tree over segments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural
from sparsae._types import Array, RunTasks, run_in_turn
from sparsae.engine.kernel_calls import call_kernel
from sparsae.engine.partition import Partition, TreeSum, tree_sum
from sparsae.engine.workers import SegmentRun, WorkerPool
from sparsae.errors import ParameterError
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel
from sparsae.plugins.sums import Sums


class Blocks(Protocol):
    """Prepared blocks of all rows, kept or read each time."""

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


SAFE = 1e38  # float32 has numbers up to three times as large
Sparsity = NDArray[np.float64] | Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""The sparsity vector s (p,) where it is known before the data is read, else a function that gives it."""


def cast_sparsity(sparsity: NDArray[np.float64], dtype: np.dtype[Any]) -> Array:
    """Return the sparsity vector in the problem's dtype; one that is infinite in it is the setting's fault.

    Raises
    ------
    ParameterError
        When that is so.
    """
    if sparsity.dtype == dtype or np.maximum.reduce(np.abs(sparsity)) < SAFE:  # usually: half of the time of the rest
        return sparsity.astype(dtype, copy=False)
    with np.errstate(over="ignore"):
        cast: Array = sparsity.astype(dtype)
    if np.isfinite(cast).all():
        return cast
    bad = int(np.count_nonzero(np.isfinite(sparsity) & ~np.isfinite(cast)))
    if bad:
        raise ParameterError(
            f"The sparsity vector is too large for {dtype} in {plural(bad, 'hidden unit')}: "
            f"up to {np.abs(sparsity).max():.3g}. Use a smaller beta or l1, or dtype=numpy.float64."
        )
    return cast


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
    pool: WorkerPool,
    partition: Partition,
    backend: str,
    tree: TreeSum,
    add: Callable[[AnyKernel, int, Sums], None],
    run_tasks: RunTasks = run_in_turn,
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
    return tree.total(run_tasks)


def evaluate_sums(
    backend: str,
    kernel: AnyKernel,
    parameters: Parameters,
    sparsity: Sparsity,
    *,
    totals: Callable[[Any], NDArray[np.float64]] | None,
    sums: Callable[[Any, Array | None], Sums],
) -> Sums:
    """Return the sums over all rows: what is done once in an evaluation, wherever the rows are.

    Parameters
    ----------
    backend : str
    kernel : Kernel
        Does what is done once.
    parameters : Parameters
        In the problem's dtype.
    sparsity : ndarray (p,) or callable
        The sparsity vector, or what gives it for the activations summed over all rows (p,).
    totals : callable, optional
        The first of two passes: gives, for the weights, the activations summed over each segment (n_segments, p).
    sums : callable
        The second pass or the only one: gives, for weights and sparsity vector, the sums over all rows.
    """
    problem = kernel.problem
    weights = call_kernel(backend, kernel, "begin", parameters)
    s = None if callable(sparsity) else cast_sparsity(sparsity, problem.dtype)
    if totals is not None:
        total = tree_sum(totals(weights))
        if callable(sparsity):
            s = cast_sparsity(sparsity(total), problem.dtype)
    found = sums(weights, s)
    call_kernel(backend, kernel, "finish", weights, found)
    if problem.activation == "sigmoid":
        found.fired[:] = found.rows  # a sigmoid unit is never 0
    if s is None and callable(sparsity):
        vector = sparsity(found.hidden)
        found.W1 += vector[:, None] * found.W1_sparsity
        found.b1 += vector * found.b1_sparsity
    return found
