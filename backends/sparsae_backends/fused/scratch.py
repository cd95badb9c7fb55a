"""What the `fused` kernel keeps: prepared blocks, hidden activations, scratch for one block, sums of one block."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from sparsae import Array, Problem, Sums
from sparsae_backends._memory import InTurns, Loan, aligned
from sparsae_backends.fused.blocks import block_rows, layers_of, small_rows, stacked

CUTS = 6  # lengths of blocks that scratch is kept cut for: the last block of a segment is often shorter


@final
class FoldedWeights:
    """The parameters as the products take them; `factor` and `off` are those of `Powers`."""

    def __init__(self, n: int, p: int, width: int, dtype: np.dtype[Any], off: float) -> None:
        (self.W1, self.W2_back), self.W2 = aligned((2, n, width), dtype), aligned((p + 1, n), dtype)
        # W1: (n, width) -factor W1', then zeros; W2: (p + 1, n) W2' above b2, times -factor for a sigmoid output;
        # W2_back: (n, width) W2, then zeros
        self.b1 = np.empty(width, dtype)  # (width,) -factor b1, then off
        self.W1[:, p:], self.W2_back[:, p:], self.b1[p:] = 0, 0, off
        self.units = self.W1[:, :p], self.b1[:p], self.W2_back[:, :p], self.W2[:p], self.W2[p]  # what changes
        self.output_reach = np.inf  # no exponent of the output layer is above it
        self._reach: tuple[float, float] | None = None

    def changed(self) -> None:
        """Look at the weights, which are new."""
        self.output_reach, self._reach = largest_sum(self.W2), None

    def reach(self, peak: float) -> float:
        """Return what no exponent of the hidden layer is above, given that no input is above `peak`."""
        if peak == np.inf:
            return peak
        if self._reach is None:
            self._reach = largest_sum(self.W1), float(np.maximum.reduce(np.abs(self.b1)))
        slope, constant = self._reach
        return slope * peak + constant


def largest_sum(matrix: Array) -> float:
    """Return the largest sum of magnitudes in a column; methods of arrays take twice as long as these functions."""
    return float(np.maximum.reduce(np.add.reduce(np.abs(matrix))))


@final
class FusedHidden:
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
class FusedBlock:
    """A block: its rows, in C order; a kept one has room for its hidden activations."""

    __slots__ = ("hidden", "keep", "layers", "peak", "target", "x")

    def __init__(self, x: Array, target: Array, keep: bool, layers: int) -> None:
        self.x, self.target = x, target  # (m, n), (m, n)
        self.layers = stacked(x, layers)
        self.peak = np.inf  # max |x|, where it was looked for
        self.keep = keep
        self.hidden: Loan[FusedHidden] | None = None

    def look(self) -> None:
        """Find the peak; where a block is used once, to look at exponents takes a fifth of the time."""
        if self.peak == np.inf:
            self.peak = float(max(self.x.max(), -self.x.min()))


@final
class BlockScratch:
    """Room for one block of `m` rows, in the memory of `of`, a larger one, if that is given.

    The output layer is done with `t` when the hidden layer needs `delta2` and `q`: they share its memory.
    """

    def __init__(
        self, m: int, n: int, p: int, width: int, dtype: np.dtype[Any], of: BlockScratch | None = None
    ) -> None:
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
        self.hidden: FusedHidden = FusedHidden(of.hidden.a2[:m] if of else aligned((m, width), dtype), p, self.layers)
        self.lent = InTurns(self._new_hidden, 1)  # of blocks that are not kept
        self.ones = np.ones(m, dtype)
        self.row = np.empty(width, dtype)
        self.row_p = self.row[:p]
        self._cuts: dict[int, BlockScratch] = {m: self}

    def new_hidden(self) -> Loan[FusedHidden]:
        """Return room for hidden activations that is not lent again."""
        return Loan(self._new_hidden())

    def _new_hidden(self) -> FusedHidden:
        _, p, width, dtype = self._shape
        return FusedHidden(aligned((self.m, width), dtype), p, self.layers)

    def gram(self, left_t: Array, right: Array, out: Array) -> None:
        """Add up left' right over the layers, into `out` (k, n), from (layers, k, rows) and (layers, rows, n)."""
        if self.layers == 1:
            np.matmul(left_t[0], right[0], out)
        else:
            grams = self.grams[:, : len(out)]
            np.matmul(left_t, right, grams)
            np.add.reduce(grams, axis=0, out=out)

    def cut(self, m: int) -> BlockScratch:
        """Return room for `m` rows of this; the last few lengths are remembered."""
        found = self._cuts.get(m)
        if found is None:
            if len(self._cuts) >= CUTS:
                self._cuts = {self.m: self}
            found = self._cuts[m] = BlockScratch(m, *self._shape, of=self)
        return found


@final
class RepeatedVector:
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
class BlockSums:
    """One block's sums in the problem's dtype, laid out like `Sums`, but W2 and b2 are one matrix before b1."""

    def __init__(self, n: int, p: int, dtype: np.dtype[Any]) -> None:
        at = self.layout = Sums(n, p).layout
        self.vector = vector = np.zeros(at.size, dtype)
        self.head = vector[: at.head_size]
        self.rows = vector[at.rows : at.squared_error]  # (1,)
        self.squared_error = vector[at.squared_error : at.hidden]  # (1,)
        self.hidden = vector[at.hidden : at.fired]  # (p,)
        self.W1 = vector[at.W1 : at.W2].reshape(p, n)  # (p, n)
        self.W2, self.b1 = split_gradient(vector[at.W2 : at.threshold], n, p)  # (p + 1, n) transposed, above b2; (p,)
        self.W1_sparsity = vector[at.W1_sparsity : at.b1_sparsity].reshape(p, n)  # (p, n)
        self.b1_sparsity = vector[at.b1_sparsity :]  # (p,)


def split_gradient(vector: Array, n: int, p: int) -> tuple[Array, Array]:
    """View what `Sums` calls W2, b1 and b2 as a block has it: W2' above b2, one matrix (p + 1, n); then b1 (p,)."""
    return vector[: (p + 1) * n].reshape(p + 1, n), vector[(p + 1) * n :]


@final
class BackpropScratch:
    """Room for `backprop`, whose activations are given: without the unit that is always on."""

    def __init__(self, problem: Problem) -> None:
        n, p, dtype = problem.n_visible, problem.n_hidden, problem.dtype
        rows = min(problem.block_rows, small_rows(n * p) or block_rows(problem))
        self.scratch = BlockScratch(rows, n, p, p, dtype)
        self.part = BlockSums(n, p, dtype)
        self.s = RepeatedVector(rows, p, dtype)
