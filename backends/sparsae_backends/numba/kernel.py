"""`numba`: the whole evaluation compiled, products included.

Rows stand in the lanes of vector registers, so that no number of hidden units leaves a register part filled, and
biases, activations and slopes are worked out while a product's result is in the first-level cache.
Each call handles a block without the GIL; row workers run beside each other.
`_compiled.py`, `_tiles.py` and `_lanes.py` hold the arithmetic, docs/performance.md what it gained.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Backend, Kernel, Parameters, Problem, Sums, hookimpl
from sparsae_backends._blocks import aligned

LOG2E = 1.4426950408889634
CACHE_BYTES = 256 * 1024  # of one scratch array (m, n)


class Hidden(NamedTuple):
    """What `encode` leaves for `accumulate`."""

    a2: Array  # panels of (m, p)
    total: NDArray[np.float64]  # (p,) summed over the rows


@final
class Rows:
    """A block in panels; a kept one has room for its hidden activations."""

    __slots__ = ("hidden", "keep", "m", "target", "x")

    def __init__(self, x: Array, target: Array, m: int, keep: bool) -> None:
        self.x, self.target, self.m, self.keep = x, target, m, keep
        self.hidden: Hidden | None = None


@final
class NumbaKernel(Kernel[Rows, Array, Hidden]):
    """Forward and backward pass on panels of rows.

    Attributes
    ----------
    compile_seconds : float
        What the constructor spent on compiling, or on loading what an earlier process compiled.
    """

    splits_rows = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        from sparsae_backends import _compiled, _emit

        self.compiled = _compiled
        self.compile_seconds = _compiled.compile_for(problem.dtype)
        self.notes = (f"numba compiled its passes, or loaded them, in {self.compile_seconds:.2f} s before the fit",)
        n, p, dtype = problem.n_visible, problem.n_hidden, problem.dtype
        self.width = _emit.width(dtype)
        self.sizes = n, p, self.width
        self.sigmoid = problem.output == "sigmoid"
        self.packing = tuple(packing(i, k, _emit.TALL) for i, k in ((p, n), (n, p), (p, n)))
        self.zeros = np.zeros(p, dtype)
        self.s = np.empty(p, dtype)
        rows = -(-problem.block_rows // self.width) * self.width
        self.rows = rows
        self.scratch = aligned(((n + 2 * p) * rows,), dtype)
        self.a2 = Hidden(aligned((p * rows,), dtype), np.empty(p))
        self.x, self.y = aligned((n * rows,), dtype), aligned((n * rows,), dtype)
        self.given: Array | None = None  # scratch of `backprop`

    def prepare(self, x: Array, target: Array, keep: bool) -> Rows:
        """Put rows in panels: in arrays of their own when they are kept, else in scratch."""
        m, n = x.shape
        size = -(-m // self.width) * self.width * n
        parts = []
        for rows, scratch in ((x, self.x), (target, self.y))[: 1 if target is x else 2]:
            parts.append(aligned((size,), x.dtype) if keep else scratch[:size])
            self.compiled.to_panels(rows, parts[-1], self.width)
        return Rows(parts[0], parts[-1], m, keep)

    def begin(self, parameters: Parameters) -> Array:
        """Pack W1, b1, W2, b2 and W2' in one vector, scales of the exponents folded in."""
        W1, b1, W2, b2 = parameters
        first, second, back = self.packing
        out = -LOG2E if self.sigmoid else 1.0
        flat2 = W2.ravel()
        parts = (W1.ravel()[first] * -LOG2E, b1 * -LOG2E, flat2[second] * out, b2 * out, W2.T.ravel()[back])
        return np.concatenate(parts, dtype=self.problem.dtype)

    def encode(self, weights: Array, block: Rows) -> tuple[Hidden, NDArray[np.float64]]:
        """Hidden activations, in the block's own room where it is kept."""
        hidden = block.hidden
        if hidden is None:
            n, p = self.problem.n_visible, self.problem.n_hidden
            hidden = Hidden(aligned((block.x.size // n * p,), self.problem.dtype), np.empty(p))
            block.hidden = hidden if block.keep else None
        self._encode(weights, block, hidden)
        return hidden, hidden.total

    def accumulate(
        self, weights: Array, block: Rows, hidden: Hidden | None, sparsity: Array | None, into: Sums
    ) -> None:
        """Add this block's sums."""
        hidden = hidden or self._encode(weights, block, self.a2)
        s = self.zeros
        if sparsity is not None:
            s = self.s
            s[:] = sparsity
        self.compiled.accumulate(
            block.x, block.target, block.m, weights, hidden.a2, hidden.total, s, self.scratch, into.vector,
            *self.sizes, self.sigmoid, sparsity is None,
        )  # fmt: skip

    def finish(self, weights: Array, sums: Sums) -> None:
        """The compiled code leaves no scale in the sums."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given."""
        n, p = self.problem.n_visible, self.problem.n_hidden
        rows = min(self.rows, block_rows(self.problem))
        if self.given is None:
            self.given = aligned(((2 * n + 2 * p) * rows,), self.problem.dtype)
        w = n * p
        sums = np.zeros(2 + p + 2 * w + p + n)  # laid out like `Sums`
        self.s[:] = sparsity
        self.compiled.backprop(
            a1, a2, a3, target, W2.T.ravel()[self.packing[2]], self.s, self.given, sums,
            *self.sizes, rows, self.sigmoid,
        )  # fmt: skip
        W1, b1 = sums[2 + p : 2 + p + w], sums[2 + p + w : 2 + 2 * p + w]
        back, b2 = sums[2 + 2 * p + w : 2 + 2 * p + 2 * w], sums[2 + 2 * p + 2 * w :]
        return Parameters(W1.reshape(p, n), b1, back.reshape(n, p), b2)

    def _encode(self, weights: Array, block: Rows, hidden: Hidden) -> Hidden:
        """Fill in the hidden activations and their sums."""
        self.compiled.encode(block.x, block.m, weights, hidden.a2, hidden.total, *self.sizes)
        return hidden


def packing(rows: int, columns: int, tall: int) -> NDArray[np.intp]:
    """Order in which a product reads the elements of its (rows, columns) matrix: tile by tile, column by column."""
    tiles = -(-rows // tall)
    order = np.arange(rows * columns).reshape(rows, columns)
    edges = [tile * rows // tiles for tile in range(tiles + 1)]
    return np.concatenate([order[i:j].T.ravel() for i, j in pairwise(edges)])


def block_rows(problem: Problem) -> int:
    """Return whole panels (24 rows, or 48 in float32, with AVX-512) that fit the cache with their scratch."""
    bytes_of_row = problem.n_visible * problem.dtype.itemsize
    return max(240, min(CACHE_BYTES // bytes_of_row, 4800)) // 48 * 48


@hookimpl
def sparsae_backend() -> Backend:
    """Register the backend."""
    return Backend(
        "numba",
        NumbaKernel,
        summary="compiled: products with rows in the lanes, everything else fused into them; row workers",
        threading="workers",
        outputs=("sigmoid", "linear"),
        block_rows=block_rows,
        requires=("numba",),
        install="pip install 'sparsae[numba]'",
    )
