"""`fused`: NumPy alone, at the speed of the cache.

What makes it fast is told with figures in docs/performance.md; in short:

- Scales folded into the weights, once per evaluation.  The hidden layer is a = 1 / (1 + 2^z), accurate also where a
  unit is almost off, for its mean stands in a denominator; the output is t = tanh(z) with a3 = (1 + t) / 2 and
  slope (1 - t^2) / 4.  Rows are kept doubled, so that t + 1 - 2x is twice the error; `finish` takes the factors out.
- A unit that is always on.  One more hidden unit, of activation exactly 1 and slope exactly 0, carries the output bias
  through the products: b2 is a row of the folded W2, and its gradient a row of the gradient.
- Blocks that stay in cache; scratch made once, results in place.
- Products on a block cut in a stack of equal layers, each of a size for OpenBLAS's path for small products: one call
  for a stack takes NumPy's overhead, and gives the GIL up and takes it back, once.
- A block's sums are laid out like the total, so that one addition takes them there.
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Backend, Kernel, Parameters, Problem, Sums, hookimpl
from sparsae_backends._blocks import aligned, block_rows, layers_of, padded, small_rows, stacked

LOG2E = 1.4426950408889634
OFF = -64.0  # an exponent at which 1 / (1 + 2^OFF) is exactly 1 in both dtypes
EXPONENT = {np.dtype(np.float32): 126.0, np.dtype(np.float64): 1022.0}  # 2^+-EXPONENT is a normal number
CUTS = 6  # lengths of blocks that scratch is kept cut for: the last block of a segment is often shorter


class Folded(NamedTuple):
    """The parameters as the products want them."""

    W1: Array  # (n, width) -log2(e)/2 W1', then zeros
    b1: Array  # (width,) -log2(e) b1, then OFF
    W2: Array  # (p + 1, n) W2' above b2, halved for a sigmoid and doubled for a linear output
    W2_back: Array  # (n, width) W2 over the scale of delta3, then zeros
    reach: tuple[float, float]  # no exponent of the hidden layer is above reach[0] max|2x| + reach[1]


@final
class Hidden:
    """What `encode` leaves for `accumulate`: activations (m, width), the last columns exactly 1, and their sums."""

    __slots__ = ("a2", "layers", "on", "on_t", "sums", "total")

    def __init__(self, a2: Array, n_hidden: int, layers: int) -> None:
        self.a2 = a2  # (m, width)
        self.layers = stacked(a2, layers)
        self.on = self.layers[:, :, : n_hidden + 1]  # the hidden units and the one that is always on
        self.on_t = self.on.transpose(0, 2, 1)
        self.sums = np.empty(a2.shape[1], a2.dtype)  # (width,)
        self.total = self.sums[:n_hidden]  # (p,)


@final
class Rows:
    """A block: twice its rows, in C order and aligned; a kept one has room for its hidden activations."""

    __slots__ = ("hidden", "keep", "layers", "peak", "target", "x")

    def __init__(self, x: Array, target: Array, peak: float, keep: bool, layers: int) -> None:
        self.x, self.target = x, target  # (m, n), (m, n)
        self.layers = stacked(x, layers)
        self.peak = peak  # max |2x|, or infinity where it was not looked for
        self.keep = keep
        self.hidden: Hidden | None = None


@final
class Scratch:
    """Room for one block of `m` rows, in the memory of `of`, a larger one, if that is given.

    The output layer is done with `t` when the hidden layer needs `delta2` and `q`: they share its memory.
    """

    def __init__(self, m: int, n: int, p: int, width: int, dtype: np.dtype[Any], of: Scratch | None = None) -> None:
        self.m, self._shape = m, (n, p, width, dtype)
        self.layers = layers_of(m, n * width)
        self._first: Array = of._first if of else aligned((m * max(n, 2 * width),), dtype)
        self.t = self._first[: m * n].reshape(m, n)
        self.delta2: Array = self._first[: m * width].reshape(m, width)
        self.q: Array = self._first[m * width : 2 * m * width].reshape(m, width)
        self.d: Array = of.d[:m] if of else aligned((m, n), dtype)
        self.t_layers, self.d_layers = stacked(self.t, self.layers), stacked(self.d, self.layers)
        self.delta2_layers = stacked(self.delta2, self.layers)
        self.delta2_t = self.delta2_layers[:, :, :p].transpose(0, 2, 1)  # (layers, p, m / layers)
        self.q_t = stacked(self.q, self.layers)[:, :, :p].transpose(0, 2, 1)
        self.grams = np.empty((self.layers, p + 1, n), dtype)
        self.x: Array = of.x[:m] if of else aligned((m, n), dtype)
        self.target: Array = of.target[:m] if of else aligned((m, n), dtype)
        self.hidden: Hidden = Hidden(of.hidden.a2[:m] if of else aligned((m, width), dtype), p, self.layers)
        self.ones = np.ones(m, dtype)
        self.row = np.empty(width, dtype)
        self.row_p = self.row[:p]
        self._cuts: dict[int, Scratch] = {m: self}

    def gram(self, left_t: Array, right: Array, out: Array) -> None:
        """Add up left' right over the layers, into `out` (k, n), from (layers, k, rows) and (layers, rows, n)."""
        if self.layers == 1:
            np.matmul(left_t[0], right[0], out)
        else:
            grams = self.grams[:, : len(out)]
            np.matmul(left_t, right, grams)
            np.add.reduce(grams, axis=0, out=out)

    def cut(self, m: int) -> Scratch:
        """Return room for `m` rows of this; the last few lengths are remembered."""
        found = self._cuts.get(m)
        if found is None:
            if len(self._cuts) >= CUTS:
                self._cuts = {self.m: self}
            found = self._cuts[m] = Scratch(m, *self._shape, of=self)
        return found


@final
class Tile:
    """A vector written out for every row: adding that is three times as fast as adding the vector to each row."""

    def __init__(self, m: int, width: int, dtype: np.dtype[Any]) -> None:
        self.rows = np.zeros((m, width), dtype)
        self._written = bytes(self.rows[0])

    def of(self, vector: Array, m: int) -> Array:
        """Return `m` rows of the vector, then zeros; it is the same for all blocks of an evaluation."""
        given = vector.tobytes()
        if given != self._written:
            self.rows[:, : vector.size] = vector
            self._written = given
        return self.rows[:m]


@final
class Part:
    """One block's sums in the problem's dtype, laid out like `Sums`, but W2 and b2 are one matrix."""

    def __init__(self, n: int, p: int, dtype: np.dtype[Any]) -> None:
        self.vector = np.zeros(2 + 2 * p + 3 * p * n + n + p, dtype)
        self.head = self.vector[: -p * n - p]
        ends = np.cumsum([1, 1, p, p * n, p, (p + 1) * n, p * n])
        flat = np.split(self.vector, ends)
        self.rows, self.squared_error, self.hidden = flat[:3]  # (1,), (1,), (p,)
        self.W1, self.b1 = flat[3].reshape(p, n), flat[4]  # (p, n), (p,)
        self.W2 = flat[5].reshape(p + 1, n)  # (p + 1, n) transposed, above b2
        self.W1_sparsity, self.b1_sparsity = flat[6].reshape(p, n), flat[7]  # (p, n), (p,)


@final
class Given:
    """Room for `backprop`, whose activations are given: without the unit that is always on."""

    def __init__(self, problem: Problem) -> None:
        n, p, dtype = problem.n_visible, problem.n_hidden, problem.dtype
        rows = min(problem.block_rows, small_rows(n * p) or block_rows(problem))
        self.scratch = Scratch(rows, n, p, p, dtype)
        self.part = Part(n, p, dtype)
        self.s = Tile(rows, p, dtype)


@final
class FusedKernel(Kernel[Rows, Folded, Hidden]):
    """Forward and backward pass on blocks that stay in cache."""

    splits_rows = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        m, n, p, dtype = problem.block_rows, problem.n_visible, problem.n_hidden, problem.dtype
        self.width = padded(p + 1, dtype)
        self.sigmoid = problem.output == "sigmoid"
        self.scale = -8.0 if self.sigmoid else 2.0  # what `accumulate` computes is so many times delta3
        self.limit = EXPONENT[dtype]
        self.one = np.ones((), dtype)  # an array, since NumPy takes longer to look at a number
        self.scratch = Scratch(m, n, p, self.width, dtype)
        self.part = Part(n, p, dtype)
        self.given: Given | None = None
        self.bias, self.s = Tile(m, self.width, dtype), Tile(m, self.width, dtype)

    def prepare(self, x: Array, target: Array, keep: bool) -> Rows:
        """Twice the rows, in C order: in arrays of their own when they are kept, else in scratch."""
        room = self.scratch.cut(len(x))
        twice = np.add(x, x, out=aligned(x.shape, x.dtype) if keep else room.x)
        goal = twice
        if target is not x:
            goal = np.add(target, target, out=aligned(x.shape, x.dtype) if keep else room.target)
        peak = float(max(twice.max(), -twice.min())) if keep else np.inf
        return Rows(twice, goal, peak, keep, room.layers)

    def begin(self, parameters: Parameters) -> Folded:
        """Transpose, scale and pad, once per evaluation."""
        W1, b1, W2, b2 = parameters
        (p, n), dtype = W1.shape, self.problem.dtype
        V1, V2, back = (aligned(shape, dtype) for shape in ((n, self.width), (p + 1, n), (n, self.width)))
        bias = np.full(self.width, OFF, dtype)
        V1[:, p:], back[:, p:] = 0, 0
        np.multiply(W1.T, -LOG2E / 2, out=V1[:, :p])
        np.multiply(b1, -LOG2E, out=bias[:p])
        np.multiply(W2, 1 / self.scale, out=back[:, :p])
        np.multiply(W2.T, 0.5 if self.sigmoid else 2, out=V2[:p])
        np.multiply(b2, 0.5 if self.sigmoid else 2, out=V2[p])
        reach = (float(np.abs(V1).sum(axis=0).max()), float(np.abs(bias).max()))
        return Folded(V1, bias, V2, back, reach)

    def encode(self, weights: Folded, block: Rows) -> tuple[Hidden, NDArray[np.float64]]:
        """Hidden activations, in the block's own room where it is kept."""
        hidden = block.hidden
        if hidden is None:
            room = aligned((len(block.x), self.width), self.problem.dtype)
            hidden = Hidden(room, self.problem.n_hidden, len(block.layers))
            block.hidden = hidden if block.keep else None
        self._hidden(weights, block, hidden, self.scratch.cut(len(block.x)))
        return hidden, hidden.total.astype(np.float64, copy=False)

    def accumulate(
        self, weights: Folded, block: Rows, hidden: Hidden | None, sparsity: Array | None, into: Sums
    ) -> None:
        """Add this block's sums, scaled; those of W2 and b2 lie as one matrix (p + 1, n) until `finish`."""
        part, x, one = self.part, block.layers, self.one
        room = self.scratch.cut(len(block.x))
        hidden = hidden or self._hidden(weights, block, room.hidden, room)
        h, d, t = hidden.a2, room.d, room.t
        part.rows[0] = room.m
        part.hidden[:] = hidden.total

        np.matmul(hidden.on, weights.W2, room.t_layers)  # (m, n) z3 / 2, or 2 a3
        if self.sigmoid:
            np.tanh(t, t)
            np.add(t, one, d)  # (m, n) 2 a3
            np.subtract(d, block.target, d)
            part.squared_error[0] = np.vdot(d, d)
            np.multiply(t, t, t)
            np.subtract(t, one, t)  # (m, n) -4 a3 (1 - a3)
            np.multiply(d, t, d)  # (m, n) -8 delta3
        else:
            np.subtract(t, block.target, d)  # (m, n) 2 delta3
            part.squared_error[0] = np.vdot(d, d)
        room.gram(hidden.on_t, room.d_layers, part.W2)  # (p + 1, n)

        delta2, q = room.delta2, room.q
        np.subtract(one, h, q)
        np.multiply(q, h, q)  # (m, width) 0 where the activation is 1
        np.matmul(room.d_layers, weights.W2_back, room.delta2_layers)  # (m, width) delta3 W2
        if sparsity is not None:
            np.add(delta2, self.s.of(sparsity, room.m), delta2)
        np.multiply(delta2, q, delta2)  # (m, width)
        room.gram(room.delta2_t, x, part.W1)  # (p, n)
        np.dot(room.ones, delta2, room.row)
        part.b1[:] = room.row_p
        if sparsity is None:
            room.gram(room.q_t, x, part.W1_sparsity)  # (p, n)
            np.dot(room.ones, q, room.row)
            part.b1_sparsity[:] = room.row_p
            into.vector += part.vector
        else:
            into.head += part.head

    def finish(self, weights: Folded, sums: Sums) -> None:
        """Take the scales out, and put the sums of W2 and b2 in the order that `Sums` names."""
        n, p = self.problem.n_visible, self.problem.n_hidden
        lying = np.concatenate([sums.W2.ravel(), sums.b2]).reshape(p + 1, n)
        lying /= self.scale
        sums.W2[...] = lying[:p].T
        sums.b2[...] = lying[p]
        sums.squared_error /= 4
        sums.W1 /= 2
        sums.W1_sparsity /= 2

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given, piece by piece."""
        (n, p), one = W2.shape, self.one
        given = self.given = self.given or Given(self.problem)
        part = given.part
        W2 = np.ascontiguousarray(W2)
        total = np.zeros(part.head.size)
        pieces = -(-len(a1) // given.scratch.m)
        rows = -(-len(a1) // pieces)  # pieces of one length, so that scratch is cut once
        for start in range(0, len(a1), rows):
            here = slice(start, start + rows)
            x, h, o = a1[here], a2[here], a3[here]
            room = given.scratch.cut(len(x))
            d, slope, delta2, q = room.d, room.t, room.delta2, room.q
            np.subtract(o, x if target is a1 else target[here], d)
            if self.sigmoid:
                np.subtract(one, o, slope)
                np.multiply(slope, o, slope)
                np.multiply(d, slope, d)  # (m, n) delta3
            np.matmul(h.T, d, part.W2[:p])  # (p, n)
            np.dot(room.ones, d, part.W2[p])  # (n,)
            np.matmul(d, W2, delta2)  # (m, p)
            np.add(delta2, given.s.of(sparsity, room.m), delta2)
            np.subtract(one, h, q)
            np.multiply(q, h, q)
            np.multiply(delta2, q, delta2)  # (m, p)
            np.matmul(delta2.T, x, part.W1)  # (p, n)
            np.dot(room.ones, delta2, part.b1)  # (p,)
            total += part.head
        w, lying = p * n, total[2 + 2 * p + p * n :].reshape(p + 1, n)
        W1, b1 = total[2 + p : 2 + p + w], total[2 + p + w : 2 + 2 * p + w]
        return Parameters(W1.reshape(p, n), b1, lying[:p].T, lying[p])

    def _hidden(self, weights: Folded, block: Rows, into: Hidden, room: Scratch) -> Hidden:
        """a2 = 1 / (1 + 2^z) with z folded, and its sum over the rows."""
        a2, one = into.a2, self.one
        np.matmul(block.layers, weights.W1, into.layers)  # (m, width)
        np.add(a2, self.bias.of(weights.b1, room.m), a2)
        if not weights.reach[0] * block.peak + weights.reach[1] < self.limit:
            np.clip(a2, -self.limit, self.limit, a2)
        np.exp2(a2, a2)
        np.add(a2, one, a2)
        np.divide(one, a2, a2)
        np.dot(room.ones, a2, into.sums)
        return into


@hookimpl
def sparsae_backend() -> Backend:
    """Register the backend."""
    return Backend(
        "fused",
        FusedKernel,
        summary="NumPy alone at the speed of the cache: folded weights, small products, results in place; row workers",
        threading="workers",
        outputs=("sigmoid", "linear"),
        block_rows=block_rows,
    )
