"""The kernel of the `numba` backend: puts rows in panels, packs weights, and calls the compiled passes."""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Kernel, Parameters, Problem, Sums
from sparsae_backends._memory import ALIGNMENT, LOG2E, aligned

CACHE_BYTES = 256 * 1024  # of one scratch array (m, n)

PackedWeights = tuple[Array, Array, Array, Array, Array]  # W1, b1, W2, b2, W2', flat, in the order of the products


class PanelHidden(NamedTuple):
    """What `encode` leaves for `accumulate`."""

    a2: Array  # panels of (m, p)
    total: NDArray[np.float64]  # (p,) summed over the rows


@final
class PanelBlock:
    """A block in panels; a kept one has room for its hidden activations."""

    __slots__ = ("hidden", "keep", "m", "target", "x")

    def __init__(self, x: Array, target: Array, m: int, keep: bool) -> None:
        self.x, self.target, self.m, self.keep = x, target, m, keep
        self.hidden: PanelHidden | None = None


@final
class NumbaKernel(Kernel[PanelBlock, PackedWeights, PanelHidden]):
    """Forward and backward pass on panels of rows.

    The constructor compiles what a fit calls, or loads what an earlier process compiled; `backprop` compiles its own
    pass when it is first called.

    Attributes
    ----------
    compile_seconds : float
        What the constructor spent on that.

    Raises
    ------
    BackendError
        When numba is told not to compile, or to compile for a processor that this is not.
    """

    splits_rows = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        from sparsae_backends.numba import emit, passes  # imports numba
        from sparsae_backends.numba.compilation import compile_for, describe

        n, p, dtype = problem.n_visible, problem.n_hidden, problem.dtype
        self.passes, self.compile_for = passes, compile_for
        self.compile_seconds = compile_for((passes.to_panels, passes.pack, passes.encode, passes.accumulate), dtype)
        self.notes = (describe(self.compile_seconds),)
        self.width = emit.width(dtype)
        self.sizes = n, p, problem.output == "sigmoid"
        self.layout = tuple(Sums(n, p).layout)
        self.zeros = np.zeros(p, dtype)
        self.s = np.empty(p, dtype)
        rows = -(-problem.block_rows // self.width) * self.width
        self.rows = rows
        self.scratch = aligned(((n + 2 * p) * rows,), dtype)
        self.a2 = PanelHidden(aligned((p * rows,), dtype), np.empty(p))
        self.x, self.y = aligned((n * rows,), dtype), aligned((n * rows,), dtype)
        self.backprop_scratch: Array | None = None

    def prepare(self, x: Array, target: Array, keep: bool) -> PanelBlock:
        """Put rows in panels: in arrays of their own when they are kept, else in scratch."""
        m, n = x.shape
        size = -(-m // self.width) * self.width * n
        panels = []
        for rows, scratch in ((x, self.x), (target, self.y))[: 1 if target is x else 2]:
            panels.append(aligned((size,), x.dtype) if keep else scratch[:size])
            self.passes.to_panels(rows, panels[-1])
        return PanelBlock(panels[0], panels[-1], m, keep)

    def begin(self, parameters: Parameters) -> PackedWeights:
        """Pack W1, b1, W2, b2 and W2' in the order of the products, scales of the exponents folded in."""
        W1, b1, W2, b2 = parameters
        sigmoid = self.sizes[2]
        out = -LOG2E if sigmoid else 1.0
        return self._pack(W1, -LOG2E), b1 * -LOG2E, self._pack(W2, out), b2 * out, self._pack(W2.T)

    def _pack(self, matrix: Array, scale: float = 1.0) -> Array:
        """Copy a matrix to the order of the products."""
        packed = aligned((matrix.size + ALIGNMENT,), self.problem.dtype)
        self.passes.pack(matrix, self.problem.dtype.type(scale), packed)
        return packed

    def encode(self, weights: PackedWeights, block: PanelBlock) -> tuple[PanelHidden, NDArray[np.float64]]:
        """Hidden activations, in the block's own room where it is kept."""
        hidden = block.hidden
        if hidden is None:
            n, p, _ = self.sizes
            hidden = PanelHidden(aligned((block.x.size // n * p,), self.problem.dtype), np.empty(p))
            block.hidden = hidden if block.keep else None
        self._encode(weights, block, hidden)
        return hidden, hidden.total

    def accumulate(
        self, weights: PackedWeights, block: PanelBlock, hidden: PanelHidden | None, sparsity: Array | None, into: Sums
    ) -> None:
        """Add this block's sums."""
        a2, total = hidden or self._encode(weights, block, self.a2)
        s, one_pass = self.zeros, sparsity is None
        if sparsity is not None:
            s = self.s
            s[:] = sparsity
        given, sums = (block.x, block.target, block.m), (into.vector, self.layout)
        self.passes.accumulate(self.sizes, given, weights, (a2, total), s, one_pass, self.scratch, sums)

    def finish(self, weights: PackedWeights, sums: Sums) -> None:
        """The compiled code leaves no scale in the sums."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given."""
        n, p, _ = self.sizes
        rows = min(self.rows, block_rows(self.problem))
        if self.backprop_scratch is None:
            self.compile_for((self.passes.backprop,), self.problem.dtype)
            self.backprop_scratch = aligned(((2 * n + 2 * p) * rows,), self.problem.dtype)
        sums = Sums(n, p)
        self.s[:] = sparsity
        self.passes.backprop(
            self.sizes, (a1, a2, a3, target), self._pack(W2.T), self.s, rows, self.backprop_scratch,
            (sums.vector, self.layout),
        )  # fmt: skip
        return Parameters(sums.W1, sums.b1, sums.W2, sums.b2)

    def _encode(self, weights: PackedWeights, block: PanelBlock, hidden: PanelHidden) -> PanelHidden:
        """Fill in the hidden activations and their sums."""
        self.passes.encode(self.sizes, block.x, block.m, weights, (hidden.a2, hidden.total))
        return hidden


def block_rows(problem: Problem) -> int:
    """Return whole panels that fit the cache with their scratch: a multiple of 48 rows is whole in every register."""
    bytes_of_row = problem.n_visible * problem.dtype.itemsize
    return max(240, min(CACHE_BYTES // bytes_of_row, 4800)) // 48 * 48
