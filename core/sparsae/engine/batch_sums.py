"""Sums over the rows of a mini-batch: those of its blocks, and how they are put together."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np

from sparsae._types import Array
from sparsae.engine.kernel_calls import call_kernel
from sparsae.engine.ordered_sum import OrderedSum
from sparsae.plugins.contract import AnyKernel, Problem
from sparsae.plugins.sums import Sums, SumsLayout

CACHE_LINE = 64  # bytes


@final
class BatchSums(NamedTuple):
    """Sums over the rows of a mini-batch, valid until the next evaluation.

    Attributes
    ----------
    total : Sums
        Of all rows, but its gradient sums are those of the first part.
    gradient : tuple of ndarray
        One or two vectors in the order of `Parameters.flatten`, to be added up by whoever reads them.
    """

    total: Sums
    gradient: tuple[Array, ...]


def make_batch_sums(problem: Problem, *, direct: bool) -> Sums:
    """Return sums of zero for a block of a mini-batch: in the problem's dtype where they are `direct`."""
    n, p = problem.n_visible, problem.n_hidden
    if not direct:
        return Sums(n, p)
    at, dtype = SumsLayout.of(n, p), problem.dtype
    line = CACHE_LINE // dtype.itemsize
    room = np.zeros(at.size + line, dtype)
    first = -(room.ctypes.data // dtype.itemsize + at.W1) % line  # so that W1 begins with a cache line
    return Sums(n, p, room[first : first + at.size])


def clear_batch_sums(sums: Sums, *, direct: bool) -> None:
    """Set to zero what a kernel adds to."""
    if direct:  # W1 and W2 are written
        at = sums.layout
        sums.vector[: at.W1] = 0
        sums.vector[at.b1 : at.head_size] = 0
    else:
        sums.head.fill(0)


def batch_sum(problem: Problem, *, direct: bool) -> OrderedSum:
    """Return what adds the sums of the blocks of a mini-batch, in their order."""
    return OrderedSum(
        lambda: make_batch_sums(problem, direct=direct), lambda sums: clear_batch_sums(sums, direct=direct)
    )


def put_together(parts: list[Sums], backend: str, kernel: AnyKernel, weights: Any, *, direct: bool) -> BatchSums:
    """Return the sums of a mini-batch from those of all blocks but the last and those of the last, or of the only one.

    `kernel` does what is done once in an evaluation, unless sums are `direct`.
    """
    total, *others = parts
    at = total.layout
    stop = at.W1 if direct else at.head_size  # gradient sums are added up where they are read
    for other in others:  # one, or none
        total.vector[:stop] += other.vector[:stop]
    if not direct:
        others = []
        call_kernel(backend, kernel, "finish", weights, total)
    if kernel.problem.activation == "sigmoid":
        total.fired[:] = total.rows  # a sigmoid unit is never 0
    return BatchSums(total, tuple([sums.gradient for sums in (total, *others)]))
