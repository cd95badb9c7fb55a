"""Kernels that tests subclass."""

from __future__ import annotations

from sparsae import Kernel, Parameters, SimpleKernel


class WholeKernel(Kernel):
    """A correct kernel that defines all five methods and `backprop`, so that a subclass may override any of them."""

    prepare = SimpleKernel.prepare
    begin = SimpleKernel.begin
    encode = SimpleKernel.encode
    accumulate = SimpleKernel.accumulate
    finish = SimpleKernel.finish

    def backprop(self, a1, a2, a3, W2, sparsity, target):
        delta3 = (a3 - target) * self.problem.output_slope(a3)  # (m, n)
        delta2 = (delta3 @ W2 + sparsity) * self.problem.slope(a2)  # (m, p)
        return Parameters(delta2.T @ a1, delta2.sum(axis=0), delta3.T @ a2, delta3.sum(axis=0))
