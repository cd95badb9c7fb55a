"""`numpy`: whole arrays in plain NumPy; BLAS uses the threads."""

from __future__ import annotations

from sparsae import Array, Backend, Parameters, SimpleKernel, hookimpl


class NumpyKernel(SimpleKernel):
    """Backpropagation of all rows at once."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given."""
        delta3 = a3 - target  # (m, n)
        if self.problem.output == "sigmoid":
            delta3 = delta3 * a3 * (1 - a3)  # (m, n)
        delta2 = delta3 @ W2 + sparsity  # (m, p)
        delta2 = delta2 * a2 * (1 - a2) if self.problem.activation == "sigmoid" else delta2 * (a2 != 0)  # (m, p)
        return Parameters(
            W1=delta2.T @ a1,  # (p, n)
            b1=delta2.sum(axis=0),  # (p,)
            W2=delta3.T @ a2,  # (n, p)
            b2=delta3.sum(axis=0),  # (n,)
        )


@hookimpl
def sparsae_backend() -> Backend:
    """Register the backend."""
    return Backend(
        "numpy",
        NumpyKernel,
        summary="whole arrays in plain NumPy; BLAS uses the threads",
        threading="blas",
        activations=("sigmoid", "relu", "topk", "jumprelu"),
        outputs=("sigmoid", "linear"),
    )
