"""A right kernel for relu, topk, jumprelu and batchtopk units, written in steps that wrong ones change."""

from __future__ import annotations

import numpy as np

import sparsae
from sparsae import Parameters


class UnitTwin(sparsae.Kernel):
    """The correct kernel, written in steps that the mutants get wrong."""

    direct_sums = True

    def prepare(self, x, target, keep):
        return x, target

    def begin(self, parameters):
        return parameters

    def encode(self, weights, block):
        a2 = self.activate(block[0] @ weights.W1.T + weights.b1, weights.threshold)
        return a2, a2.sum(axis=0, dtype=np.float64)

    def accumulate(self, weights, block, hidden, sparsity, into):
        (x, target), first = block, into.rows == 0
        z = x @ weights.W1.T + weights.b1
        a2 = self.activate(z, weights.threshold) if hidden is None else hidden
        a3 = self.problem.output_activate(a2 @ weights.W2.T + weights.b2)
        delta3 = (a3 - target) * self.problem.output_slope(a3)
        back = delta3 @ weights.W2
        sums = self.gradient(x, z, a2, delta3, back, np.zeros_like(weights.b1) if sparsity is None else sparsity)
        into.rows += len(x)
        into.squared_error += float(np.square(a3 - target).sum())
        into.hidden += a2.sum(axis=0, dtype=np.float64)
        self.count(a2, into)
        if self.problem.bandwidth is not None and weights.threshold is not None:
            near = self.near(z - weights.threshold, a2)
            into.near += np.count_nonzero(near, axis=0)
            into.threshold += self.threshold(near, back, weights.threshold)
        self.write(into, sums, first)
        if sparsity is None:
            q = self.slope(z, a2)
            into.W1_sparsity += q.T @ x
            into.b1_sparsity += q.sum(axis=0)

    def finish(self, weights, sums):
        pass

    def backprop(self, a1, a2, a3, W2, sparsity, target):
        delta3 = (a3 - target) * self.problem.output_slope(a3)
        return self.gradient(a1, a2, a2, delta3, delta3 @ W2, sparsity)

    def activate(self, z, threshold):
        return self.problem.activate(z, threshold)

    def slope(self, z, a2):
        return self.problem.slope(a2)

    def gradient(self, x, z, a2, delta3, back, s):
        delta2 = (back + s) * self.slope(z, a2)
        return Parameters(delta2.T @ x, delta2.sum(axis=0), delta3.T @ a2, delta3.sum(axis=0))

    def count(self, a2, into):
        if self.problem.activation != "sigmoid":
            into.fired += np.count_nonzero(a2, axis=0)

    def near(self, distance, a2):
        return np.abs(distance) < self.problem.bandwidth / 2

    def threshold(self, near, back, threshold):
        return np.where(near, back, 0).sum(axis=0)

    def write(self, into, sums, first):
        for name, part in sums._asdict().items():
            if first and name in ("W1", "W2"):
                getattr(into, name)[...] = part
            else:
                getattr(into, name)[...] += part


def largest(z, k):
    """Whether a value is among the k largest of its row; ties go to the lower index."""
    return np.argsort(np.argsort(-z, axis=1, kind="stable"), axis=1) < k
