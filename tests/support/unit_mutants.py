"""Wrong kernels for relu, topk, jumprelu and batchtopk units, each made from one that is right.

What the verdict must say stands beside each; an empty text where no known mistake explains the numbers.
"""

from __future__ import annotations

import numpy as np
from tests.support.unit_twin import UnitTwin, largest

import sparsae
from sparsae import Backend, Parameters, SimpleKernel


class SigmoidSlope(UnitTwin):
    def slope(self, z, a2):
        return a2 * (1 - a2)


class SlopeIgnored(UnitTwin):
    def slope(self, z, a2):
        return np.ones_like(a2)


class SlopeFromZ(UnitTwin):
    """Right for relu."""

    def slope(self, z, a2):
        return (z > 0).astype(z.dtype)


class SlopeAtZero(UnitTwin):
    """Right where no pre-activation is exactly 0."""

    def slope(self, z, a2):
        return (z >= 0).astype(z.dtype)


class LeakySlope(UnitTwin):
    def slope(self, z, a2):
        return np.where(a2 != 0, 1, 0.01).astype(a2.dtype)


class SparsityIgnored(UnitTwin):
    def gradient(self, x, z, a2, delta3, back, s):
        return super().gradient(x, z, a2, delta3, back, 0 * s)


class SparsityAfterTheSlope(UnitTwin):
    def gradient(self, x, z, a2, delta3, back, s):
        delta2 = back * self.slope(z, a2) + s
        return Parameters(delta2.T @ x, delta2.sum(axis=0), delta3.T @ a2, delta3.sum(axis=0))


class FiredLeftOut(UnitTwin):
    def count(self, a2, into):
        pass


class FiredByBlock(UnitTwin):
    """Whether a unit was active in a block, not in how many rows."""

    def count(self, a2, into):
        into.fired += a2.any(axis=0)


class ReluIsAbs(UnitTwin):
    def activate(self, z, threshold):
        return np.abs(z)


class DirectSumsAdded(UnitTwin):
    """Adds to what stands in sums that are to be written."""

    def write(self, into, sums, first):
        super().write(into, sums, False)


class DirectSumsAlwaysWritten(UnitTwin):
    """Right for a mini-batch of one block."""

    def write(self, into, sums, first):
        super().write(into, sums, True)


class BlocksAddedInParts(UnitTwin):
    """Says that it adds a block's sums when they are complete, and adds them in two parts."""

    adds_blocks = True

    def write(self, into, sums, first):
        parts = [part / 3 for part in sums]
        super().write(into, Parameters(*parts), first)
        super().write(into, Parameters(*(whole - part for whole, part in zip(sums, parts, strict=True))), False)


class NaNTakenForZero(UnitTwin):
    """The cost stays finite where the rows are not."""

    def prepare(self, x, target, keep):
        return np.nan_to_num(x), np.nan_to_num(target)


class RestOfTheBlockBefore(UnitTwin):
    """Multiplies what a block left in its scratch by 0: right until that is no number."""

    rest = 0.0

    def slope(self, z, a2):
        q = super().slope(z, a2) + 0 * self.rest
        self.rest = float(z[-1, -1])
        return q


class TiesByHigherIndex(UnitTwin):
    def activate(self, z, threshold):
        kept = largest(z[:, ::-1], self.problem.k)[:, ::-1]
        return np.where(kept & (z > 0), z, z.dtype.type(0))


class AllTiesKept(UnitTwin):
    """More than k units where several are equal to the k-th largest."""

    def activate(self, z, threshold):
        least = np.sort(z, axis=1)[:, -self.problem.k, None]
        return np.where((z >= least) & (z > 0), z, z.dtype.type(0))


class OneTooFew(UnitTwin):
    def activate(self, z, threshold):
        return np.where(largest(z, self.problem.k - 1) & (z > 0), z, z.dtype.type(0))


class OneTooMany(UnitTwin):
    def activate(self, z, threshold):
        return np.where(largest(z, self.problem.k + 1) & (z > 0), z, z.dtype.type(0))


class KIgnored(UnitTwin):
    def activate(self, z, threshold):
        return np.maximum(z, 0)


class NegativeKept(UnitTwin):
    """Right in rows with k positive units."""

    def activate(self, z, threshold):
        return np.where(largest(z, self.problem.k), z, z.dtype.type(0))


class ByMagnitude(UnitTwin):
    def activate(self, z, threshold):
        return np.where(largest(np.abs(z), self.problem.k), z, z.dtype.type(0))


class KOfTheBlock(UnitTwin):
    """The k m largest of a block, and not the k largest of each row."""

    def activate(self, z, threshold):
        least = np.sort(z, axis=None)[-self.problem.k * len(z)]
        return np.where((z >= least) & (z > 0), z, z.dtype.type(0))


class StaleIndexList(UnitTwin):
    """Lists of k units that are not cleared: where fewer are positive, those of the row before are active too."""

    def activate(self, z, threshold):
        a2 = self.problem.activate(z, threshold)
        units = np.zeros(self.problem.k, np.intp)
        for i, row in enumerate(a2):
            found = np.flatnonzero(row)
            units[: len(found)] = found
            a2[i, units[len(found) :]] += np.abs(z[i, units[len(found) :]])
        return a2


class ThresholdSubtracted(UnitTwin):
    def activate(self, z, threshold):
        return np.maximum(z - threshold, 0)


class ThresholdReached(UnitTwin):
    """Right where no pre-activation equals a threshold."""

    def activate(self, z, threshold):
        return np.where(z >= threshold, z, z.dtype.type(0))


class ThresholdIgnored(UnitTwin):
    def activate(self, z, threshold):
        return np.maximum(z, 0)


class FirstThreshold(UnitTwin):
    """One threshold for all units: right for batchtopk."""

    def activate(self, z, threshold):
        return self.problem.activate(z, np.full_like(threshold, threshold[0]))


class ThresholdOfTheFirstBegin(UnitTwin):
    """Thresholds are constant, it thinks; those of batchtopk change with each evaluation."""

    def begin(self, parameters):
        self.kept = getattr(self, "kept", parameters.threshold)
        return parameters._replace(threshold=self.kept)


class ThresholdSign(UnitTwin):
    def threshold(self, near, back, threshold):
        return -super().threshold(near, back, threshold)


class ThresholdTwice(UnitTwin):
    """Does what the core does."""

    def threshold(self, near, back, threshold):
        return threshold * super().threshold(near, back, threshold)


class ThresholdOfAllRows(UnitTwin):
    def threshold(self, near, back, threshold):
        return back.sum(axis=0)


class WholeBandwidth(UnitTwin):
    def near(self, distance, a2):
        return np.abs(distance) < self.problem.bandwidth


class NearAndActive(UnitTwin):
    def near(self, distance, a2):
        return super().near(distance, a2) & (a2 != 0)


class ThresholdsAlwaysTrained(UnitTwin):
    """Adds the sums of thresholds that are constant."""

    def accumulate(self, weights, block, hidden, sparsity, into):
        super().accumulate(weights, block, hidden, sparsity, into)
        if self.problem.bandwidth is None and weights.threshold is not None:
            into.near += len(block[0])


class ReluWhereConstant(UnitTwin):
    """A threshold without a bandwidth is taken for none."""

    def activate(self, z, threshold):
        if self.problem.bandwidth is None:
            return np.maximum(z, 0)
        return self.problem.activate(z, threshold)


SIGMOID_SLOPE = "the slope is that of a sigmoid"
EVERYWHERE = "the slope is 1 for every unit"
AFTER = "added to units that are not active"
FIRED = "is left at 0"
FROM_Z = "take it from a2"
MISSING = "the sparsity vector is missing"
# unit: mutant: the check that must reject it, and what the verdict says
MUTANTS = {
    "relu": {
        SigmoidSlope: ("reference", SIGMOID_SLOPE),
        SlopeIgnored: ("gradient", EVERYWHERE),
        SlopeAtZero: ("activity", "the slope is 1 where z is 0"),
        LeakySlope: ("one_block", ""),
        SparsityIgnored: ("reference", MISSING),
        SparsityAfterTheSlope: ("invariants", AFTER),
        FiredLeftOut: ("reference", FIRED),
        ReluIsAbs: ("activity", ""),
        NaNTakenForZero: ("not_finite", "squared_error is"),
        RestOfTheBlockBefore: ("not_finite", "sums of a block after one that was not finite"),
        DirectSumsAdded: ("direct_sums", "the sum W1 is nan"),
        DirectSumsAlwaysWritten: ("direct_sums", "blocks of [40, 17] rows"),
        BlocksAddedInParts: ("direct_sums", "sums of two blocks are not those of each, added"),
    },
    "topk": {
        TiesByHigherIndex: ("activity", "the unit with the higher index is kept"),
        AllTiesKept: ("activity", ""),
        OneTooFew: ("reference", "k - 1 units are kept in a row where k=4 is asked for"),
        OneTooMany: ("reference", "k + 1 units are kept in a row where k=4 is asked for"),
        KIgnored: ("one_block", "k is ignored: all positive units are kept"),
        NegativeKept: ("activity", "whose pre-activation is not positive"),
        ByMagnitude: ("reference", "units are chosen by |z|"),
        KOfTheBlock: ("reference", ""),
        StaleIndexList: ("activity", ""),
        SlopeFromZ: ("gradient", FROM_Z),
        SigmoidSlope: ("gradient", SIGMOID_SLOPE),
        FiredByBlock: ("one_block", "fired, the number of rows"),
    },
    "jumprelu": {
        ThresholdSubtracted: ("reference", "the threshold is subtracted from the activation"),
        ThresholdReached: ("activity", "equals its threshold"),
        ThresholdIgnored: ("reference", "thresholds are ignored"),
        FirstThreshold: ("reference", "the threshold of the first one"),
        ThresholdSign: ("reference", "the sum threshold has the wrong sign"),
        ThresholdTwice: ("one_block", "the core does that"),
        ThresholdOfAllRows: ("one_block", "it is over those that near counts"),
        WholeBandwidth: ("reference", "it is half of it"),
        NearAndActive: ("reference", "those below the threshold are near it too"),
        SlopeFromZ: ("gradient", FROM_Z),
        SlopeIgnored: ("gradient", EVERYWHERE),
        FiredLeftOut: ("reference", FIRED),
    },
    "batchtopk": {
        ThresholdSubtracted: ("reference", "the threshold is subtracted from the activation"),
        ThresholdIgnored: ("reference", "thresholds are ignored"),
        ReluWhereConstant: ("reference", "thresholds are ignored"),
        ThresholdOfTheFirstBegin: ("same_bits", ""),
        ThresholdsAlwaysTrained: ("one_block", "near, the number of rows near the threshold,"),
        SlopeFromZ: ("gradient", FROM_Z),
        SlopeIgnored: ("reference", EVERYWHERE),
        FiredByBlock: ("reference", ""),
    },
}


def make(kernel: type[sparsae.Kernel], **options: object) -> Backend:
    """A backend of that kernel, for every unit."""
    units = ("sigmoid", "relu", "topk", "jumprelu")
    return sparsae.Backend("mutant", kernel, **({"activations": units, "outputs": ("sigmoid", "linear")} | options))


class WrittenForTheContract(SimpleKernel):
    """What a stranger writes who has read the page, and thinks of no hidden unit in particular."""

    def backprop(self, a1, a2, a3, W2, sparsity, target):
        delta3 = (a3 - target) * self.problem.output_slope(a3)
        delta2 = (delta3 @ W2 + sparsity) * self.problem.slope(a2)
        return Parameters(delta2.T @ a1, delta2.sum(axis=0), delta3.T @ a2, delta3.sum(axis=0))
