"""`loop`: one sample at a time in plain Python, the baseline of every race."""

from __future__ import annotations

import numpy as np

from sparsae import Array, Backend, Parameters, SimpleKernel, hookimpl


class LoopKernel(SimpleKernel):
    """Backpropagation sample by sample."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given."""
        n, p = W2.shape
        sums = Parameters(W1=np.zeros((p, n)), b1=np.zeros(p), W2=np.zeros((n, p)), b2=np.zeros(n))
        sigmoid, sigmoid_output = self.problem.activation == "sigmoid", self.problem.output == "sigmoid"
        for i in range(len(a1)):
            delta3 = a3[i] - target[i]  # (n,)
            if sigmoid_output:
                delta3 = delta3 * a3[i] * (1 - a3[i])  # (n,)
            delta2 = delta3 @ W2 + sparsity  # (p,)
            delta2 = delta2 * a2[i] * (1 - a2[i]) if sigmoid else delta2 * (a2[i] != 0)  # (p,)
            sums.W1[...] += np.outer(delta2, a1[i])  # (p, n)
            sums.b1[...] += delta2  # (p,)
            sums.W2[...] += np.outer(delta3, a2[i])  # (n, p)
            sums.b2[...] += delta3  # (n,)
        return sums


@hookimpl
def sparsae_backend() -> Backend:
    """Register the backend."""
    return Backend(
        "loop",
        LoopKernel,
        summary="one sample at a time in Python: the baseline",
        threading="none",
        activations=("sigmoid", "relu", "topk", "jumprelu"),
        outputs=("sigmoid", "linear"),
    )
