"""`einsum`: the three products as index expressions; BLAS uses the threads.

``optimize=True`` lets `numpy.einsum` compute each product by BLAS; without it they took five times as long
(3.9 ms instead of 0.77 ms on the question's case; docs/performance.md).
"""

from __future__ import annotations

import numpy as np

from sparsae import Array, Backend, Parameters, SimpleKernel, hookimpl


class EinsumKernel(SimpleKernel):
    """Backpropagation in index notation: i a sample, v a visible unit, h a hidden unit."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given."""
        delta3 = a3 - target  # (m, n)
        if self.problem.output == "sigmoid":
            delta3 = delta3 * a3 * (1 - a3)  # (m, n)
        back = np.einsum("iv,vh->ih", delta3, W2, optimize=True)  # (m, p)
        delta2 = back + sparsity  # (m, p)
        delta2 = delta2 * a2 * (1 - a2) if self.problem.activation == "sigmoid" else delta2 * (a2 != 0)  # (m, p)
        return Parameters(
            W1=np.einsum("ih,iv->hv", delta2, a1, optimize=True),  # (p, n)
            b1=np.einsum("ih->h", delta2),  # (p,)
            W2=np.einsum("iv,ih->vh", delta3, a2, optimize=True),  # (n, p)
            b2=np.einsum("iv->v", delta3),  # (n,)
        )


@hookimpl
def sparsae_backend() -> Backend:
    """Register the backend."""
    return Backend(
        "einsum",
        EinsumKernel,
        summary="products by numpy.einsum, computed by BLAS, which uses the threads",
        threading="blas",
        activations=("sigmoid", "relu", "topk", "jumprelu"),
        outputs=("sigmoid", "linear"),
    )
