"""The kernel of `fused` for top-k units: only the encoder's product is dense.

- Blocks of rows are encoded and selected in strips, whose pre-activations stay in cache.
- The decoder rows of the units that are kept are gathered once, a few rows at a time, and serve the output and delta2.
- The gradients of both layers are products of a sparse matrix (units, rows) with some columns of a block's rows: a
  strip of the gradient, which is turned round while it is in cache.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Kernel, Parameters, Problem, Sums
from sparsae_backends._memory import aligned
from sparsae_backends.fused.dense import Rows, dense_gradient_sums
from sparsae_backends.fused.output import OutputLayer
from sparsae_backends.fused.selection import TopSelection

STRIP_BYTES = 8 << 20  # of pre-activations: with fewer rows BLAS packs W1 too often
GATHERED_BYTES = 768 * 1024  # decoder rows that are gathered at a time
COLUMNS_BYTES = 3 << 20  # of a strip of a gradient: W2 in 7.7 us a row where the whole took 11 (Zen 4, 784/4,096)
DENSE = 8  # from one unit in so many on, dense products are faster


def worth_it(problem: Problem) -> bool:
    """Whether so few units are kept that sparse products are faster."""
    return problem.k is not None and DENSE * problem.k <= problem.n_hidden


def transpose(matrix: Array, out: Array, rows: int) -> None:
    """Write the transpose, a few rows at a time: two to three times as fast where rows are pages apart."""
    for start in range(0, len(matrix), rows):
        out[:, start : start + rows] = matrix[start : start + rows].T


class Decoded(NamedTuple):
    """The parameters, with decoder rows by unit."""

    W1: Array  # (p, n)
    b1: Array  # (p,)
    W2: Array  # (p, n) transposed
    b2: Array  # (n,)


class Kept(NamedTuple):
    """Units that are kept and their activations, row by row; 0 where fewer than k are positive."""

    units: NDArray[np.intp]  # (m, k)
    values: Array  # (m, k)

    def rows(self, rows: slice) -> Kept:
        """Views of some rows."""
        return Kept(self.units[rows], self.values[rows])


@final
class SparseKernel(Kernel[Rows, Decoded, Kept]):
    """Forward and backward pass of top-k units."""

    splits_rows = True
    direct_sums = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        m, n, p, dtype = problem.block_rows, problem.n_visible, problem.n_hidden, problem.dtype
        assert problem.k is not None
        with warnings.catch_warnings():  # that module changes the filters when it is imported
            from scipy.sparse import csr_array
        self.csr_array = csr_array
        self.k = k = problem.k
        self.parts = min(n, -(-n * p * dtype.itemsize // COLUMNS_BYTES))
        self.strip = max(8, min(m, STRIP_BYTES // (p * dtype.itemsize)))
        self.few = max(1, min(m, GATHERED_BYTES // (k * n * dtype.itemsize)))
        self.z = aligned((self.strip, p), dtype)
        self.gathered = aligned((self.few, k, n), dtype)
        self.d, self.delta2 = aligned((m, n), dtype), aligned((m, k), dtype)
        self.kept = Kept(np.empty((m, k), np.intp), aligned((m, k), dtype))
        self.ones = np.ones(m, dtype)
        self.selection = TopSelection(problem)
        self.output = OutputLayer(problem)
        self.notes, self.choices = self.output.notes, self.output.choices

    def prepare(self, x: Array, target: Array, keep: bool) -> Rows:
        """The rows in C order; copied where they are not."""
        rows = np.ascontiguousarray(x)
        return Rows(rows, rows if target is x else np.ascontiguousarray(target))

    def begin(self, parameters: Parameters) -> Decoded:
        """Transpose W2."""
        W1, b1, W2, b2 = parameters
        by_unit = aligned((self.problem.n_hidden, self.problem.n_visible), self.problem.dtype)
        transpose(W2, by_unit, 16)
        return Decoded(np.ascontiguousarray(W1), b1, by_unit, b2)

    def encode(self, weights: Decoded, block: Rows) -> tuple[Kept, NDArray[np.float64]]:
        """What is kept, in arrays of its own."""
        shape = len(block.x), self.k
        kept = self._select(weights, block.x, Kept(np.empty(shape, np.intp), aligned(shape, self.problem.dtype)))
        return kept, self._by_unit(kept, kept.values)

    def accumulate(
        self, weights: Decoded, block: Rows, hidden: Kept | None, sparsity: Array | None, into: Sums
    ) -> None:
        """Add this block's sums."""
        m, p = len(block.x), self.problem.n_hidden
        kept = hidden or self._select(weights, block.x, self.kept.rows(slice(m)))
        d, delta2 = self.d[:m], self.delta2[:m]
        for start in range(0, m, self.few):
            rows = slice(start, min(start + self.few, m))
            into.squared_error += self._decode(weights, kept.rows(rows), block.target[rows], rows)
        active = kept.values != 0  # (m, k)
        if sparsity is not None:
            delta2 += sparsity[kept.units]
        delta2 *= active
        starts = np.arange(0, m * self.k + 1, self.k)
        units = kept.units.reshape(-1)
        a2_by_row, delta2_by_row = (
            self.csr_array((part.reshape(-1), units, starts), shape=(m, p)) for part in (kept.values, delta2)
        )
        first = into.rows == 0  # then anything may stand in the sums of the weights
        into.rows += m
        into.hidden += self._by_unit(kept, kept.values)
        into.fired += self._by_unit(kept, active)
        self._add_products(delta2_by_row, block.x, into.W1, first)
        into.b1 += self._by_unit(kept, delta2)
        self._add_products(a2_by_row, d, into.W2.T, first)
        into.b2 += np.dot(self.ones[:m], d)

    def finish(self, weights: Decoded, sums: Sums) -> None:
        """The sums have no scale."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given, whose activations are dense."""
        return dense_gradient_sums(self.problem, a1, a2, a3, W2, sparsity, target)

    def _by_unit(self, kept: Kept, weights: NDArray[Any]) -> NDArray[np.float64]:
        """Sum (m, k) over the rows, for each unit (p,)."""
        sums = np.bincount(kept.units.reshape(-1), weights.reshape(-1), self.problem.n_hidden)
        return sums.astype(np.float64, copy=False)

    def _add_products(self, by_row: Any, rows: Array, into: NDArray[Any], first: bool) -> None:
        """Add by_row' rows to `into` (p, n), or write it; some columns at a time, so that little memory is needed."""
        by_unit, n = by_row.T, rows.shape[1]
        for part in range(self.parts):
            columns = slice(part * n // self.parts, (part + 1) * n // self.parts)
            product, out = by_unit @ np.ascontiguousarray(rows[:, columns]), into[:, columns]
            if first:
                out[...] = product
            else:
                out += product

    def _select(self, weights: Decoded, x: Array, into: Kept) -> Kept:
        """Encode strip by strip and keep k units of each row."""
        for start in range(0, len(x), self.strip):
            rows = slice(start, min(start + self.strip, len(x)))
            z = self.z[: rows.stop - start]
            np.matmul(x[rows], weights.W1.T, z)  # (rows, p)
            np.add(z, weights.b1, z)
            self.selection.select(z, into.units[rows], into.values[rows])
        return into

    def _decode(self, weights: Decoded, kept: Kept, target: Array, rows: slice) -> float:
        """Compute delta3, and delta2 without s and slope, of a few rows; return the sum of squared errors."""
        (m, k), n = kept.units.shape, self.problem.n_visible
        gathered, d, delta2 = self.gathered[:m], self.d[rows], self.delta2[rows]
        weights.W2.take(kept.units.reshape(-1), 0, out=gathered.reshape(m * k, n), mode="clip")
        np.matmul(kept.values[:, None, :], gathered, d[:, None, :])  # (m, n)
        error = self.output.delta(d, weights.b2, target)
        np.matmul(gathered, d[:, :, None], delta2[:, :, None])  # (m, k)
        return error
