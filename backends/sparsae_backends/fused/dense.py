"""The kernel of `fused` for wide layers, for relu and JumpReLU units, and for top-k where many are kept.

Products take nearly all of the time here.  So they are made of whole blocks, of rows and weights as they lie, and the
passes between them go through a block in strips of rows that stay in cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Kernel, Parameters, Problem, Sums
from sparsae_backends._memory import aligned
from sparsae_backends.fused.output import OutputLayer
from sparsae_backends.fused.powers import CHOICE, fastest_powers, powers_note
from sparsae_backends.fused.scratch import RepeatedVector

STRIP_BYTES = 256 * 1024  # of an array (rows, p)
SLICE_BYTES = 2 << 20  # of a gradient product that is added
LEAST_SLICE = 16  # rows: whole tiles of the product


class Rows(NamedTuple):
    """A block: rows and what the output should equal, in C order."""

    x: Array  # (m, n)
    target: Array  # (m, n)


class Activations(NamedTuple):
    """Hidden activations, and which pre-activations lie near their threshold where that is needed."""

    a2: Array  # (m, p)
    near: NDArray[np.bool_] | None  # (m, p)


@final
class DenseKernel(Kernel[Rows, Parameters, Activations]):
    """Forward and backward pass on blocks, for every unit."""

    splits_rows = True
    direct_sums = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        m, n, p, dtype = problem.block_rows, problem.n_visible, problem.n_hidden, problem.dtype
        self.strip = max(8, min(m, STRIP_BYTES // (p * dtype.itemsize)))
        self.output = OutputLayer(problem)
        self.powers = fastest_powers(dtype, problem.choices)
        self.notes, self.choices = self.output.notes, self.output.choices
        if problem.activation == "sigmoid":
            self.notes = (powers_note(self.powers, dtype, problem.choices),)
            self.choices = {CHOICE: self.powers.key}
        self.zero, self.one = (np.full((), i, dtype) for i in (0, 1))
        self.d, self.a2, self.delta2 = (aligned((m, columns), dtype) for columns in (n, p, p))
        self.near = None if problem.bandwidth is None else np.empty((m, p), np.bool_)
        self.slope = aligned((self.strip, p), dtype)
        self.q: Array | None = None  # (m, p) slopes of all rows; for one pass over sigmoid units
        self.adds_blocks = problem.bandwidth is None
        self.product = GradientProduct(max(n, p), n * p, dtype)
        self.ones = np.ones(m, dtype)
        self.bias, self.s, self.threshold = (RepeatedVector(self.strip, p, dtype) for _ in range(3))

    def prepare(self, x: Array, target: Array, keep: bool) -> Rows:
        """The rows in C order; copied where they are not."""
        rows = np.ascontiguousarray(x)
        return Rows(rows, rows if target is x else np.ascontiguousarray(target))

    def begin(self, parameters: Parameters) -> Parameters:
        """The weights in C order; BLAS transposes them."""
        return Parameters(*(np.ascontiguousarray(part) for part in parameters))

    def encode(self, weights: Parameters, block: Rows) -> tuple[Activations, NDArray[np.float64]]:
        """Hidden activations, in arrays of their own."""
        shape = len(block.x), self.problem.n_hidden
        near = None if self.near is None else np.empty(shape, np.bool_)
        hidden = self._activate(weights, block.x, Activations(aligned(shape, self.problem.dtype), near))
        return hidden, np.dot(self.ones[: shape[0]], hidden.a2).astype(np.float64, copy=False)

    def accumulate(
        self, weights: Parameters, block: Rows, hidden: Activations | None, sparsity: Array | None, into: Sums
    ) -> None:
        """Add this block's sums."""
        m = len(block.x)
        if hidden is None:
            near = None if self.near is None else self.near[:m]
            hidden = self._activate(weights, block.x, Activations(self.a2[:m], near))
        a2, d, delta2, ones = hidden.a2, self.d[:m], self.delta2[:m], self.ones[:m]
        empty = into.rows == 0  # then anything may stand in W1 and W2
        into.rows += m
        into.hidden += np.dot(ones, a2)
        np.matmul(a2, weights.W2.T, d)  # (m, n)
        squares = self.output.delta(d, weights.b2, block.target)  # d: (m, n) delta3
        into.squared_error += float(into.vector.dtype.type(squares))  # rounded first, as sums of blocks are added
        self.product.put(d.T, a2, into.W2, empty)  # (n, p)
        into.b2 += np.dot(ones, d)  # (n,)
        np.matmul(d, weights.W2, delta2)  # (m, p) without slope
        if sparsity is None and self.q is None:
            self.q = aligned(self.a2.shape, self.problem.dtype)
        for rows in self._strips(m):
            self._multiply_slope(hidden, sparsity, rows, into)
        self.product.put(delta2.T, block.x, into.W1, empty)  # (p, n)
        into.b1 += np.dot(ones, delta2)  # (p,)
        if sparsity is None and self.q is not None:
            self.product.put(self.q[:m].T, block.x, into.W1_sparsity, False)  # (p, n)
            into.b1_sparsity += np.dot(ones, self.q[:m])  # (p,)

    def finish(self, weights: Parameters, sums: Sums) -> None:
        """Nothing was scaled."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given."""
        return dense_gradient_sums(self.problem, a1, a2, a3, W2, sparsity, target)

    def _strips(self, m: int) -> Iterator[slice]:
        return (slice(start, min(start + self.strip, m)) for start in range(0, m, self.strip))

    def _activate(self, weights: Parameters, x: Array, into: Activations) -> Activations:
        """Hidden activations (m, p), and which are near."""
        np.matmul(x, weights.W1.T, into.a2)  # (m, p)
        for rows in self._strips(len(x)):
            z = into.a2[rows]
            np.add(z, self.bias.of(weights.b1, len(z)), z)
            if self.problem.activation == "sigmoid":
                np.multiply(z, -self.powers.factor, z)
                self.powers.replace(z, float(z.max()))
                np.add(z, self.one, z)
                np.divide(self.one, z, z)
            elif self.problem.activation == "topk":
                z[...] = self.problem.activate(z)
            else:
                self._rectify(z, weights.threshold, None if into.near is None else into.near[rows])
        return into

    def _rectify(self, z: Array, threshold: Array | None, near: NDArray[np.bool_] | None) -> None:
        """Replace what is not above its threshold, or above 0, by 0."""
        least, mask = self.zero, self.slope[: len(z)]
        if threshold is not None:
            least = self.threshold.of(threshold, len(z))
        if near is not None and self.problem.bandwidth is not None:
            np.subtract(z, least, mask)
            np.abs(mask, mask)
            np.less(mask, self.problem.bandwidth / 2, near)
        np.greater(z, least, out=mask, casting="unsafe")
        np.multiply(z, mask, z)  # three times as fast as `maximum` or `where`

    def _multiply_slope(self, hidden: Activations, sparsity: Array | None, rows: slice, into: Sums) -> None:
        """Turn delta3 W2 into delta2 in a strip, and count what is active and what is near."""
        delta2, a2 = self.delta2[rows], hidden.a2[rows]
        slope, ones = self.slope[: len(a2)], self.ones[: len(a2)]
        if hidden.near is not None:
            np.copyto(slope, hidden.near[rows])
            into.near += np.dot(ones, slope)
            np.multiply(slope, delta2, slope)
            into.threshold += np.dot(ones, slope)
        if self.problem.activation == "sigmoid":
            if sparsity is None and self.q is not None:
                slope = self.q[rows]
            np.subtract(self.one, a2, slope)
            np.multiply(slope, a2, slope)
        else:
            np.not_equal(a2, self.zero, out=slope, casting="unsafe")
            into.fired += np.dot(ones, slope)
        if sparsity is not None:
            np.add(delta2, self.s.of(sparsity, len(a2)), delta2)
        np.multiply(delta2, slope, delta2)


@final
class GradientProduct:
    """Writes or adds products of many rows and columns, and few in between, by way of little memory.

    A product of float32 is made in slices of rows: that takes 4 % longer, and the slice is in cache when it is added.
    Whether the first or the second is added to the other changes no bit, since both are made of the same slices.
    Products of float64 are made whole: where their sizes are odd, slices have other last bits.
    """

    def __init__(self, longest: int, size: int, dtype: np.dtype[Any]) -> None:
        sliced = dtype == np.float32 and size * dtype.itemsize > SLICE_BYTES
        self._room_size = max(SLICE_BYTES // dtype.itemsize, LEAST_SLICE * longest) if sliced else size
        self._room: Array = np.empty(0, dtype)  # made when it is first needed

    def put(self, left: Array, right: Array, into: Array, empty: bool) -> None:
        """Write left right (rows, columns) into empty sums, or add it."""
        rows, columns = into.shape
        slices = -(-rows * columns // self._room_size)
        step = -(-rows // (slices * LEAST_SLICE)) * LEAST_SLICE
        for start in range(0, rows, step):
            here = slice(start, start + step)
            if empty and into.dtype == left.dtype:
                np.matmul(left[here], right, into[here])
                continue
            part = np.matmul(left[here], right, self._part(into[here].shape))
            if empty:
                np.copyto(into[here], part)
            else:
                np.add(into[here], part, into[here])

    def _part(self, shape: tuple[int, ...]) -> Array:
        """Return room for a slice."""
        size = math.prod(shape)
        if self._room.size < size:
            self._room = aligned((size,), self._room.dtype)
        return self._room[:size].reshape(shape)


def dense_gradient_sums(
    problem: Problem, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array
) -> Parameters:
    """Gradient sums from given activations, in pieces of `block_rows` rows."""
    (n, p), m = W2.shape, len(a1)
    sums = Parameters(*(np.zeros(shape) for shape in ((p, n), (p,), (n, p), (n,))))
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
