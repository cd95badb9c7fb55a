"""Wrong kernels that are right but for a corner: long blocks, large k, the edge of a bandwidth, a lost NaN."""

from __future__ import annotations

import numpy as np
from tests.support.unit_twin import UnitTwin, largest


class LongBlocksOverwrite(UnitTwin):
    """Adds to what is there in blocks of up to a thousand rows: where tiles are many, the first of them writes."""

    def write(self, into, sums, first):
        if into.rows > 1000:
            into.W1[...] = 0
        super().write(into, sums, first)


class OneTooFewOfMany(UnitTwin):
    """From the eighth unit on; seen where the last of those kept is positive."""

    def activate(self, z, threshold):
        k = self.problem.k
        return np.where(largest(z, k - (k >= 8)), np.maximum(z, 0), 0).astype(z.dtype)


class EdgeIsNear(UnitTwin):
    """Rows at exactly half a bandwidth from the threshold."""

    def near(self, distance, a2):
        return np.abs(distance) <= self.problem.bandwidth / 2


class HiddenNaNLost(UnitTwin):
    """The error of a row that is no number is finite, where what it is compared with is."""

    def activate(self, z, threshold):
        return np.nan_to_num(super().activate(z, threshold))


class SumIsScratch(UnitTwin):
    """`encode` hands out one vector again and again."""

    def encode(self, weights, block):
        a2, total = super().encode(weights, block)
        if not hasattr(self, "total"):
            self.total = np.empty_like(total)
        np.copyto(self.total, total)
        return a2, self.total


MUTANTS = {
    "relu": {
        LongBlocksOverwrite: ("one_block", "accumulate by hand, twice, m=1200"),
        HiddenNaNLost: ("not_finite", "none in the target"),
        SumIsScratch: ("aliasing", "encode's sum of activations changed with the next call"),
    },
    "topk": {
        OneTooFewOfMany: ("activity", "every unit positive"),
        HiddenNaNLost: ("not_finite", "none in the target"),
    },
    "jumprelu": {EdgeIsNear: ("activity", "bandwidth=0.5")},
}
