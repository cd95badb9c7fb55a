"""The kernel of `fused` for relu and JumpReLU units, and for top-k where many are kept: dense products.

Products of wide layers take nearly all of the time.  So they are made of whole blocks; the passes between them go
through a block in strips of rows that stay in cache.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Kernel, Parameters, Problem, Sums
from sparsae_backends._memory import aligned
from sparsae_backends.fused.output import OutputLayer
from sparsae_backends.fused.scratch import RepeatedVector

STRIP_BYTES = 256 * 1024  # of an array (rows, p)


class Rows(NamedTuple):
    """A block: rows and what the output should equal, in C order."""

    x: Array  # (m, n)
    target: Array  # (m, n)


class Rectified(NamedTuple):
    """Hidden activations, and which pre-activations lie near their threshold where that is needed."""

    a2: Array  # (m, p)
    near: NDArray[np.bool_] | None  # (m, p)


@final
class RectifiedKernel(Kernel[Rows, Parameters, Rectified]):
    """Forward and backward pass on blocks, for units whose slope is 0 or 1."""

    splits_rows = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        m, n, p, dtype = problem.block_rows, problem.n_visible, problem.n_hidden, problem.dtype
        self.strip = max(8, min(m, STRIP_BYTES // (p * dtype.itemsize)))
        self.output = OutputLayer(problem, m)
        self.notes = self.output.notes
        self.zero = np.full((), 0, dtype)
        self.d, self.a2, self.delta2 = (aligned((m, columns), dtype) for columns in (n, p, p))
        self.near = None if problem.bandwidth is None else np.empty((m, p), np.bool_)
        self.mask = aligned((self.strip, p), dtype)
        self.W1, self.W2 = aligned((p, n), dtype), aligned((n, p), dtype)
        self.ones = np.ones(m, dtype)
        self.bias, self.s, self.threshold = (RepeatedVector(self.strip, p, dtype) for _ in range(3))

    def prepare(self, x: Array, target: Array, keep: bool) -> Rows:
        """The rows in C order; copied where they are not."""
        rows = np.ascontiguousarray(x)
        return Rows(rows, rows if target is x else np.ascontiguousarray(target))

    def begin(self, parameters: Parameters) -> Parameters:
        """The weights in C order; BLAS transposes them."""
        return Parameters(*(np.ascontiguousarray(part) for part in parameters))

    def encode(self, weights: Parameters, block: Rows) -> tuple[Rectified, NDArray[np.float64]]:
        """Hidden activations, in arrays of their own."""
        shape = len(block.x), self.problem.n_hidden
        near = None if self.near is None else np.empty(shape, np.bool_)
        hidden = self._activate(weights, block.x, Rectified(aligned(shape, self.problem.dtype), near))
        return hidden, np.dot(self.ones[: shape[0]], hidden.a2).astype(np.float64, copy=False)

    def accumulate(
        self, weights: Parameters, block: Rows, hidden: Rectified | None, sparsity: Array | None, into: Sums
    ) -> None:
        """Add this block's sums."""
        m = len(block.x)
        if hidden is None:
            near = None if self.near is None else self.near[:m]
            hidden = self._activate(weights, block.x, Rectified(self.a2[:m], near))
        a2, d, delta2, ones = hidden.a2, self.d[:m], self.delta2[:m], self.ones[:m]
        into.rows += m
        into.hidden += np.dot(ones, a2)
        np.matmul(a2, weights.W2.T, d)  # (m, n)
        np.add(d, weights.b2, d)
        into.squared_error += self.output.delta(d, block.target)  # d: (m, n) delta3
        into.W2 += np.matmul(d.T, a2, self.W2)  # (n, p)
        into.b2 += np.dot(ones, d)  # (n,)
        np.matmul(d, weights.W2, delta2)  # (m, p) without slope
        s = np.zeros_like(weights.b1) if sparsity is None else sparsity
        for rows in self._strips(m):
            self._slope(hidden, s, rows, into)
        into.W1 += np.matmul(delta2.T, block.x, self.W1)  # (p, n)
        into.b1 += np.dot(ones, delta2)  # (p,)

    def finish(self, weights: Parameters, sums: Sums) -> None:
        """Nothing was scaled."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given."""
        return masked_gradient_sums(self.problem, a1, a2, a3, W2, sparsity, target)

    def _strips(self, m: int) -> Iterator[slice]:
        return (slice(start, min(start + self.strip, m)) for start in range(0, m, self.strip))

    def _activate(self, weights: Parameters, x: Array, into: Rectified) -> Rectified:
        """Hidden activations (m, p), and which are near."""
        z = np.matmul(x, weights.W1.T, into.a2)  # (m, p)
        for rows in self._strips(len(x)):
            strip = z[rows]
            mask = self.mask[: len(strip)]
            np.add(strip, self.bias.of(weights.b1, len(strip)), strip)
            if self.problem.activation == "topk":
                strip[...] = self.problem.activate(strip)
                continue
            least = self.zero
            if weights.threshold is not None:
                least = self.threshold.of(weights.threshold, len(strip))
                if into.near is not None and self.problem.bandwidth is not None:
                    np.subtract(strip, least, mask)
                    np.abs(mask, mask)
                    np.less(mask, self.problem.bandwidth / 2, into.near[rows])
            np.greater(strip, least, out=mask, casting="unsafe")
            np.multiply(strip, mask, strip)
        return into

    def _slope(self, hidden: Rectified, s: Array, rows: slice, into: Sums) -> None:
        """Turn delta3 W2 into delta2 in a strip, and count."""
        delta2, a2 = self.delta2[rows], hidden.a2[rows]
        mask, ones = self.mask[: len(a2)], self.ones[: len(a2)]
        if hidden.near is not None:
            np.copyto(mask, hidden.near[rows])
            into.near += np.dot(ones, mask)
            np.multiply(mask, delta2, mask)
            into.threshold += np.dot(ones, mask)
        np.not_equal(a2, self.zero, out=mask, casting="unsafe")
        into.fired += np.dot(ones, mask)
        np.add(delta2, self.s.of(s, len(a2)), delta2)
        np.multiply(delta2, mask, delta2)


def masked_gradient_sums(
    problem: Problem, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array
) -> Parameters:
    """Gradient sums from given activations, of units whose slope is 0 or 1, in pieces of `block_rows` rows."""
    (n, p), m = W2.shape, len(a1)
    sums = Parameters(*(np.zeros(shape, problem.dtype) for shape in ((p, n), (p,), (n, p), (n,))))
    sums = sums.astype(np.float64)
    for start in range(0, m, problem.block_rows):
        rows = slice(start, start + problem.block_rows)
        x, h, delta3 = a1[rows], a2[rows], a3[rows] - target[rows]  # (m, n), (m, p), (m, n)
        if problem.output == "sigmoid":
            delta3 *= problem.output_slope(a3[rows])
        delta2 = delta3 @ W2  # (m, p)
        delta2 += sparsity
        delta2 *= problem.slope(h)
        parts = delta2.T @ x, delta2.sum(axis=0), delta3.T @ h, delta3.sum(axis=0)
        for total, part in zip(sums, parts, strict=True):
            total += part
    return sums
