"""Wrong kernels, each beside the correct one that it was made from."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from tests.support.kernels import WholeKernel

import sparsae
from sparsae import Backend, Kernel, Parameters, SimpleKernel


class Twin(WholeKernel):
    """The correct kernel, written in steps that the mutants get wrong."""

    def backprop(self, a1, a2, a3, W2, sparsity, target):
        delta3 = self.delta3(a3, target)
        delta2 = (self.back(delta3, W2) + self.vector(sparsity)) * self.slope(a2)
        return self.sums(delta2, delta3, a1, a2)

    def delta3(self, a3, target):
        return (a3 - target) * a3 * (1 - a3)

    def back(self, delta3, W2):
        return delta3 @ W2

    def vector(self, sparsity):
        return sparsity

    def slope(self, a2):
        return a2 * (1 - a2)

    def sums(self, delta2, delta3, a1, a2):
        return Parameters(delta2.T @ a1, delta2.sum(axis=0), delta3.T @ a2, delta3.sum(axis=0))


class Single(SimpleKernel):
    """The correct kernel with one method."""

    def backprop(self, a1, a2, a3, W2, sparsity, target):
        delta3 = (a3 - target) * self.problem.output_slope(a3)
        delta2 = (delta3 @ W2 + sparsity) * self.problem.slope(a2)
        return Parameters(delta2.T @ a1, delta2.sum(axis=0), delta3.T @ a2, delta3.sum(axis=0))


class Misspelt(Twin):
    def sums(self, delta2, delta3, a1, a2):
        return Parameters(delta2.T @ a1, np.sumn(delta2, axis=0), delta3.T @ a2, delta3.sum(axis=0))


class SignFlipped(Twin):
    def delta3(self, a3, target):
        return (target - a3) * a3 * (1 - a3)


class MeansInsteadOfSums(Twin):
    def sums(self, delta2, delta3, a1, a2):
        return Parameters(*(part / len(a1) for part in super().sums(delta2, delta3, a1, a2)))


class SparsityIgnored(Twin):
    def vector(self, sparsity):
        return 0 * sparsity


class SparsitySignFlipped(Twin):
    def vector(self, sparsity):
        return -sparsity


class BetaTwice(Twin):
    def vector(self, sparsity):
        return 2 * sparsity


class W2Transposed(Twin):
    """Right unless n = p, where the shapes do not tell."""

    def back(self, delta3, W2):
        return delta3 @ (W2.T if W2.shape[0] == W2.shape[1] else W2)


class DecoderBiasWithoutSlope(Twin):
    def backprop(self, a1, a2, a3, W2, sparsity, target):
        return super().backprop(a1, a2, a3, W2, sparsity, target)._replace(b2=(a3 - target).sum(axis=0))


class BiasesSwapped(Twin):
    """The gradients of the biases change places where that fits."""

    def sums(self, delta2, delta3, a1, a2):
        W1, b1, W2, b2 = super().sums(delta2, delta3, a1, a2)
        return Parameters(W1, b2, W2, b1) if b1.shape == b2.shape else Parameters(W1, b1[::-1], W2, b2)


class TargetIgnored(Twin):
    def backprop(self, a1, a2, a3, W2, sparsity, target):
        return super().backprop(a1, a2, a3, W2, sparsity, a1)


class Float32Inside(Twin):
    def backprop(self, *arrays):
        return super().backprop(*(a.astype(np.float32) for a in arrays))


class LastRowDropped(Twin):
    """Drops the odd row of a block: right for blocks of an even number of rows."""

    def sums(self, delta2, delta3, a1, a2):
        m = len(a1) // 2 * 2
        return super().sums(delta2[:m], delta3[:m], a1[:m], a2[:m])


class LastBlockDropped(Twin):
    """Leaves a block out that is not full."""

    def accumulate(self, weights, block, a2, sparsity, into):
        if len(block[0]) == self.problem.block_rows:
            super().accumulate(weights, block, a2, sparsity, into)


class WeightOrderAssumed(Twin):
    """Reads W2 in the order in which it lies."""

    def back(self, delta3, W2):
        return delta3 @ np.ravel(W2, order="K").reshape(W2.shape)


class InputOverwritten(Twin):
    """Uses the activations as scratch where it may."""

    def backprop(self, a1, a2, a3, W2, sparsity, target):
        sums = super().backprop(a1, a2, a3, W2, sparsity, target)
        if a3.flags.writeable:
            a3 *= 1 - a3
        return sums


class DataOverwritten(Twin):
    """Scales the rows in place and back: not the same bits."""

    def prepare(self, x, target, keep):
        if x.flags.writeable:
            x *= 3
            x /= 3
            x += 1e-3
        return super().prepare(x, target, keep)


class RefusesReadOnly(Twin):
    def prepare(self, x, target, keep):
        if not x.flags.writeable:
            raise ValueError("buffer source array is read-only")
        return super().prepare(x, target, keep)


class OrderAssumed(Twin):
    """Reads memory in the order in which it lies."""

    def backprop(self, a1, a2, a3, W2, sparsity, target):
        rows = np.ravel(a1, order="K").reshape(a1.shape)
        return super().backprop(rows, a2, a3, W2, sparsity, rows if target is a1 else target)


class StaleScratch(Twin):
    """A scratch of a full block that is not cleared for the short last one."""

    def __init__(self, problem):
        super().__init__(problem)
        self.room = np.zeros((problem.block_rows, problem.n_hidden), problem.dtype)

    def sums(self, delta2, delta3, a1, a2):
        m = len(a1)
        self.room[:m] = delta2
        W1, _, W2, b2 = super().sums(delta2, delta3, a1, a2)
        return Parameters(W1, self.room.sum(axis=0), W2, b2)


class ResultIsScratch(Twin):
    def __init__(self, problem):
        super().__init__(problem)
        self.b1 = np.zeros(problem.n_hidden, problem.dtype)

    def sums(self, delta2, delta3, a1, a2):
        W1, self.b1[...], W2, b2 = super().sums(delta2, delta3, a1, a2)
        return Parameters(W1, self.b1, W2, b2)


class ActivationsAreScratch(Twin):
    """`encode` returns the same array for every block."""

    def __init__(self, problem):
        super().__init__(problem)
        self.room = np.zeros((problem.block_rows, problem.n_hidden), problem.dtype)

    def encode(self, weights, block):
        a2, total = super().encode(weights, block)
        self.room[: len(a2)] = a2
        return self.room[: len(a2)], total


class UnkeptActivationsAreScratch(ActivationsAreScratch):
    """`encode` does so for blocks that are not kept."""

    def prepare(self, x, target, keep):
        self.kept = keep
        return super().prepare(x, target, keep)

    def encode(self, weights, block):
        return Twin.encode(self, weights, block) if self.kept else super().encode(weights, block)


class NaNWhenSaturated(Twin):
    """Divides by a slope that is 0 where a unit is saturated."""

    def slope(self, a2):
        q = a2 * (1 - a2)
        with np.errstate(invalid="ignore"):
            return q * (q / q)


class MeanOfOneBlock(Twin):
    """Activations of the first block stand for all."""

    def begin(self, parameters):
        self.first = None
        return super().begin(parameters)

    def encode(self, weights, block):
        a2, total = super().encode(weights, block)
        if getattr(self, "first", None) is None:
            self.first = total / len(a2)
        return a2, self.first * len(a2)


class OverwritesInto(Twin):
    def accumulate(self, weights, block, a2, sparsity, into):
        into.vector[:] = 0
        super().accumulate(weights, block, a2, sparsity, into)


class ForgetsTheSparsitySums(Twin):
    """Wrong in one pass alone."""

    def accumulate(self, weights, block, a2, sparsity, into):
        super().accumulate(weights, block, a2, sparsity, into)
        if sparsity is None:
            into.W1_sparsity[...] = 0


class SquaredErrorHalved(Twin):
    def accumulate(self, weights, block, a2, sparsity, into):
        before = into.squared_error
        super().accumulate(weights, block, a2, sparsity, into)
        into.squared_error = (into.squared_error + before) / 2


class WeightsOfTheLastBegin(Twin):
    """Keeps the weights on the instance that was asked to begin."""

    def begin(self, parameters):
        self.kept = parameters
        return parameters

    def encode(self, weights, block):
        return super().encode(self.kept, block)


class SharedScratch(Twin):
    """One scratch for all instances: two threads meet in it."""

    room: dict = {}  # noqa: RUF012 (that is what is wrong with it)

    def slope(self, a2):
        self.room["q"] = a2 * (1 - a2)
        time.sleep(0)
        return self.room["q"] if self.room["q"].shape == a2.shape else a2 * (1 - a2)


class Noisy(Twin):
    """Other bits each time."""

    def sums(self, delta2, delta3, a1, a2):
        order = np.random.default_rng().permutation(len(a1))
        return super().sums(delta2[order], delta3[order], a1[order], a2[order])


class ErrorModeChanged(Twin):
    def accumulate(self, *arguments):
        np.seterr(under="print")
        super().accumulate(*arguments)


class OwnThreads(Twin):
    """Two threads of its own, whatever it is granted."""

    def accumulate(self, weights, block, a2, sparsity, into):
        helper = POOL.submit(np.dot, HEAVY, HEAVY)
        np.dot(HEAVY, HEAVY)
        super().accumulate(weights, block, a2, sparsity, into)
        helper.result()


HEAVY = np.ones((500, 500))
POOL = ThreadPoolExecutor(1, "mutant")


# mutant: the check that must reject it
MUTANTS = {
    SignFlipped: "reference",
    MeansInsteadOfSums: "reference",
    SparsityIgnored: "reference",
    SparsitySignFlipped: "gradient",
    BetaTwice: "closed_forms",
    W2Transposed: "reference",
    DecoderBiasWithoutSlope: "gradient",
    BiasesSwapped: "reference",
    TargetIgnored: "reference",
    Float32Inside: "reference",
    LastRowDropped: "small_shapes",
    LastBlockDropped: "reference",
    WeightOrderAssumed: "inputs_untouched",
    InputOverwritten: "inputs_untouched",
    DataOverwritten: "inputs_untouched",
    RefusesReadOnly: "memory_layouts",
    OrderAssumed: "inputs_untouched",
    StaleScratch: "invariants",
    ResultIsScratch: "aliasing",
    ActivationsAreScratch: "aliasing",
    UnkeptActivationsAreScratch: "aliasing",
    NaNWhenSaturated: "saturated",
    MeanOfOneBlock: "reference",
    OverwritesInto: "one_block",
    ForgetsTheSparsitySums: "invariants",
    SquaredErrorHalved: "one_block",
    WeightsOfTheLastBegin: "shared_pieces",
    SharedScratch: "two_threads",
    Noisy: "same_bits",
    ErrorModeChanged: "global_state",
    OwnThreads: "thread_limit",
}


def make(kernel: type[Kernel], **options: object) -> Backend:
    """A backend of that kernel."""
    return sparsae.Backend("mutant", kernel, **options)
