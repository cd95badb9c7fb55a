"""What the kernels of all hidden units share: `backprop`, `adam`, and the numbers of rows that fit the cache."""

from __future__ import annotations

from abc import ABC
from collections.abc import Callable
from functools import cached_property
from typing import TypeVar, final

import numpy as np

from sparsae import AdamStep, Array, Kernel, Parameters, Problem, Sums
from sparsae_backends._memory import ALIGNMENT, aligned, uncollected

BLOCK_BYTES = 432 * 1024  # of x; 10,000 x 64 are 12 blocks (float64) or 6 (float32), which two workers share evenly
PIECE_BYTES = (
    128 * 1024
)  # of a1 in what `backprop` does at a time: 10,000 x 64 in 2.69 ms, 2.75 with 256 kB, 2.98 with 512
WIDE = 96  # inputs and hidden units, at least, for the gradient products of `wide.py`
FLOAT64_WEIGHTS = 100_000  # mini-batches of smaller models have sums of float64, as full batches do
WIDE_ROWS = 1008  # of a block of such layers
LARGE = 4 << 20  # bytes of a matrix of weights; those of larger layers are packed in strips

Block = TypeVar("Block")
Weights = TypeVar("Weights")
Hidden = TypeVar("Hidden")


class CompiledKernel(Kernel[Block, Weights, Hidden], ABC):
    """A kernel whose `backprop` and `adam` are compiled when they are first called."""

    splits_rows = True
    direct_sums = True

    @cached_property
    def _gradients(self) -> GivenGradients:
        return GivenGradients(self.problem)

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given; where units are no sigmoids, with the slope of relu units."""
        return self._gradients.sum((a1, a2, a3, target), W2, sparsity)

    def adam(self, state: tuple[Array, Array, Array], parts: tuple[Array, ...], decayed: int, step: AdamStep) -> bool:
        """Update in one compiled loop."""
        return self._update(state, parts, decayed, step)

    @cached_property
    def _update(self) -> Callable[..., bool]:
        from sparsae_backends.numba.adam import update  # imports numba

        return update


@final
class GivenGradients:
    """The pass `backprop`, with its scratch."""

    def __init__(self, problem: Problem) -> None:
        with uncollected():
            from sparsae_backends.numba import emit, passes  # imports numba
            from sparsae_backends.numba.compilation import compile_for

        n, p, dtype = problem.n_visible, problem.n_hidden, problem.dtype
        compile_for((passes.backprop, passes.pack), dtype)
        self._passes, self._one, self._shape = passes, dtype.type(1), (n, p)
        at = Sums(n, p).layout
        self._sigmoid, self._layout = problem.activation == "sigmoid", tuple(at)
        self._gradient, self._size = slice(at.W1, at.threshold), at.head_size
        self._sizes = n, p, problem.output == "sigmoid", dtype.type(0)
        rows, width = rows_of_piece(problem), emit.width(dtype)
        self._rows = -(-rows // width) * width
        self._packed, self._s = aligned((n * p + ALIGNMENT,), dtype), np.empty(p, dtype)
        self._scratch = aligned(((2 * n + 2 * p) * self._rows + n + p * width,), dtype)

    def sum(self, given: tuple[Array, Array, Array, Array], W2: Array, sparsity: Array) -> Parameters:
        """Return the sums of given a1, a2, a3 and target."""
        self._passes.pack(W2.T, self._one, self._packed)
        self._s[:] = sparsity
        sums = np.zeros(self._size)
        self._passes.backprop(
            self._sizes, given, self._packed, self._s, self._sigmoid, self._rows, self._scratch, (sums, self._layout)
        )
        return Parameters.from_flat(sums[self._gradient], *self._shape)


def is_wide(problem: Problem) -> bool:
    """Whether gradients are products of wide matrices, for which `wide.py` is faster."""
    return min(problem.n_visible, problem.n_hidden) >= WIDE


def is_large(problem: Problem) -> bool:
    """Whether weights are packed where they are used, as `large.py` does for sigmoid units."""
    size = problem.n_visible * problem.n_hidden * problem.dtype.itemsize
    return problem.activation == "sigmoid" and is_wide(problem) and size > LARGE


def sums_are_float64(problem: Problem) -> bool:
    """Whether no fit asks for sums of another dtype, so that the pass that adds to them can be compiled beforehand."""
    return problem.dtype == np.float64 or 2 * problem.n_visible * problem.n_hidden <= FLOAT64_WEIGHTS


def block_rows(problem: Problem) -> int:
    """Return the rows of a block of dense units; those of narrow layers stay in cache."""
    return WIDE_ROWS if is_wide(problem) else _whole_panels(problem, BLOCK_BYTES)


def rows_of_piece(problem: Problem) -> int:
    """Return the rows that `backprop` does at a time."""
    return WIDE_ROWS if is_wide(problem) else _whole_panels(problem, PIECE_BYTES)


def _whole_panels(problem: Problem, bytes_of_x: int) -> int:
    """Return about so many rows: a multiple of 48 is whole in every register."""
    bytes_of_row = problem.n_visible * problem.dtype.itemsize
    return max(240, min(bytes_of_x // bytes_of_row, 4800)) // 48 * 48
