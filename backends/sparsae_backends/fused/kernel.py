"""The kernel of the `fused` backend."""

from __future__ import annotations

from functools import partial
from typing import final

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Kernel, Parameters, Problem, Sums
from sparsae_backends._memory import InTurns, Loan, aligned
from sparsae_backends.fused.blocks import padded
from sparsae_backends.fused.powers import CHOICE, fastest_powers, powers_note
from sparsae_backends.fused.scratch import (
    BackpropScratch,
    BlockScratch,
    BlockSums,
    FoldedWeights,
    FusedBlock,
    FusedHidden,
    RepeatedVector,
    split_gradient,
)


@final
class FusedKernel(Kernel[FusedBlock, Loan[FoldedWeights], Loan[FusedHidden]]):
    """Forward and backward pass on blocks that stay in cache."""

    splits_rows = True

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        m, n, p, dtype = problem.block_rows, problem.n_visible, problem.n_hidden, problem.dtype
        self.width = padded(p + 1, dtype)
        self.sigmoid = problem.output == "sigmoid"
        self.powers = fastest_powers(dtype, problem.choices)
        self.notes = (powers_note(self.powers, dtype, problem.choices),)
        self.choices = {CHOICE: self.powers.key}
        self.one = np.full((), 1, dtype)  # an array: NumPy takes longer to look at a number
        self.fetches = dtype == np.float64  # a plain pass fetches rows faster than the product; float32 is fast enough
        self.scratch = BlockScratch(m, n, p, self.width, dtype)
        self.part = BlockSums(n, p, dtype)
        self.given: BackpropScratch | None = None
        self.factor = np.full((), -self.powers.factor, dtype)
        self.output_factor = self.factor if self.sigmoid else self.one
        make = partial(FoldedWeights, n, p, self.width, dtype, self.powers.off)
        self.folded = InTurns(make, 2)
        self.bias, self.s = RepeatedVector(m, self.width, dtype), RepeatedVector(m, self.width, dtype)

    def prepare(self, x: Array, target: Array, keep: bool) -> FusedBlock:
        """The rows in C order: in aligned arrays of their own when they are kept, else as they are if possible."""
        room = self.scratch.cut(len(x))
        rows = _in_c_order(x, room.x, keep)
        goal = rows if target is x else _in_c_order(target, room.target, keep)
        return FusedBlock(rows, goal, keep, room.layers)

    def begin(self, parameters: Parameters) -> Loan[FoldedWeights]:
        """Transpose, scale and pad, once per evaluation."""
        W1, b1, W2, b2 = parameters
        weights = self.folded.take()
        folded = weights.what
        V1, bias, back, V2, output_bias = folded.units
        np.multiply(W1.T, self.factor, V1)
        np.multiply(b1, self.factor, bias)
        np.copyto(back, W2)
        np.multiply(W2.T, self.output_factor, V2)
        np.multiply(b2, self.output_factor, output_bias)
        folded.changed()
        return weights

    def encode(self, weights: Loan[FoldedWeights], block: FusedBlock) -> tuple[Loan[FusedHidden], NDArray[np.float64]]:
        """Hidden activations, in the block's own room where it is kept."""
        hidden, room = block.hidden, self.scratch.cut(len(block.x))
        if hidden is None:
            hidden = room.new_hidden() if block.keep else room.lent.take()
            block.hidden = hidden if block.keep else None
        else:
            block.look()  # it is used again and again
            if self.fetches:
                np.vdot(block.x, block.x)  # its rows have left the cache since the last evaluation
        self._hidden(weights.what, block, hidden.what, room)
        return hidden, hidden.what.total.astype(np.float64)

    def accumulate(
        self,
        weights: Loan[FoldedWeights],
        block: FusedBlock,
        hidden: Loan[FusedHidden] | None,
        sparsity: Array | None,
        into: Sums,
    ) -> None:
        """Add this block's sums; those of W2 and b2 lie as one matrix (p + 1, n) until `finish`."""
        part, x, one, folded = self.part, block.layers, self.one, weights.what
        room = self.scratch.cut(len(block.x))
        made = self._hidden(folded, block, room.hidden, room) if hidden is None else hidden.what
        h, d, t = made.a2, room.d, room.t
        part.rows[0] = room.m
        part.hidden[:] = made.total

        np.matmul(made.on, folded.W2, room.t_layers)  # (m, n) -z3 times a factor, or a3
        if self.sigmoid:
            self.powers.replace(t, folded.output_reach)
            np.add(t, one, t)
            np.divide(one, t, d)  # (m, n) a3
            np.subtract(one, d, t)
            np.multiply(t, d, t)  # (m, n) slope
            np.subtract(d, block.target, d)  # (m, n) a3 - target
            part.squared_error[0] = np.vdot(d, d)
            np.multiply(d, t, d)  # (m, n) delta3
        else:
            np.subtract(t, block.target, d)  # (m, n) delta3
            part.squared_error[0] = np.vdot(d, d)
        room.gram(made.on_t, room.d_layers, part.W2)  # (p + 1, n)

        delta2, q = room.delta2, room.q
        np.subtract(one, h, q)
        np.multiply(q, h, q)  # (m, width) 0 where the activation is 1
        np.matmul(room.d_layers, folded.W2_back, room.delta2_layers)  # (m, width) delta3 W2
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

    def finish(self, weights: Loan[FoldedWeights], sums: Sums) -> None:
        """Put the sums of W2 and b2 in the order that `Sums` names."""
        n, p = self.problem.n_visible, self.problem.n_hidden
        at = sums.layout
        lying, b1 = (part.copy() for part in split_gradient(sums.vector[at.W2 : at.threshold], n, p))
        sums.W2[...] = lying[:p].T
        sums.b1[...] = b1
        sums.b2[...] = lying[p]

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given, piece by piece."""
        (n, p), one = W2.shape, self.one
        given = self.given = self.given or BackpropScratch(self.problem)
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
            np.subtract(one, h, q)  # a plain pass fetches h faster than the product would
            np.multiply(q, h, q)  # (m, p)
            np.matmul(h.T, d, part.W2[:p])  # (p, n)
            np.dot(room.ones, d, part.W2[p])  # (n,)
            np.matmul(d, W2, delta2)  # (m, p)
            np.add(delta2, given.s.of(sparsity, room.m), delta2)
            np.multiply(delta2, q, delta2)  # (m, p)
            np.matmul(delta2.T, x, part.W1)  # (p, n)
            np.dot(room.ones, delta2, part.b1)  # (p,)
            total += part.head
        at = part.layout
        W2_and_b2, b1 = split_gradient(total[at.W2 : at.threshold], n, p)  # transposed
        return Parameters(total[at.W1 : at.W2].reshape(p, n), b1, W2_and_b2[:p].T, W2_and_b2[p])

    def _hidden(self, weights: FoldedWeights, block: FusedBlock, into: FusedHidden, room: BlockScratch) -> FusedHidden:
        """a2 = 1 / (1 + power of z) with z folded, and its sum over the rows."""
        a2, one = into.a2, self.one
        np.matmul(block.layers, weights.W1, into.layers)  # (m, width)
        np.add(a2, self.bias.of(weights.b1, room.m), a2)
        self.powers.replace(a2, weights.reach(block.peak))
        np.add(a2, one, a2)
        np.divide(one, a2, a2)
        np.dot(room.ones, a2, into.sums)
        return into


def _in_c_order(rows: Array, room: Array, keep: bool) -> Array:
    """Return rows in C order: in an array of their own when they are kept, else in `room` where they have another."""
    if keep or not rows.flags.c_contiguous:
        room = aligned(rows.shape, rows.dtype) if keep else room
        np.copyto(room, rows)
        return room
    return rows
