"""`torch`: PyTorch on the CPU, the closed form on whole blocks; as good as its users would write it.

Autograd gives the same sums in more time (docs/performance.md has both); rows are shared with NumPy, not copied.
`torch.set_num_threads` rules PyTorch's intra-op pool, and `limit_threads` gives it back as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Backend, Kernel, Parameters, Problem, Sums, hookimpl


class TorchKernel(Kernel):
    """Whole blocks in PyTorch's eager mode, without autograd."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        import torch

        self.torch = torch
        self.sigmoid = problem.output == "sigmoid"

    def prepare(self, x: Array, target: Array, keep: bool) -> tuple[Any, Any]:
        """Share the rows with PyTorch."""
        rows = self._tensor(x)
        return rows, rows if target is x else self._tensor(target)

    def begin(self, parameters: Parameters) -> tuple[Any, ...]:
        """Share the parameters with PyTorch."""
        return tuple(self._tensor(part) for part in parameters)

    def encode(self, weights: Any, block: Any) -> tuple[Any, NDArray[np.float64]]:
        """Hidden activations, which stay with PyTorch."""
        with self.torch.inference_mode():
            a2 = self._hidden(weights, block[0])
            return a2, self._total(a2)

    def accumulate(self, weights: Any, block: Any, a2: Any, sparsity: Array | None, into: Sums) -> None:
        """Add this block's sums."""
        torch, (x, target), (_, _, W2, b2) = self.torch, block, weights
        with torch.inference_mode():
            if a2 is None:
                a2 = self._hidden(weights, x)
            a3 = torch.addmm(b2, a2, W2.T)  # (m, n)
            if self.sigmoid:
                a3.sigmoid_()
            error = a3 - target  # (m, n)
            into.rows += len(x)
            into.squared_error += float(torch.dot(error.view(-1), error.view(-1)))
            into.hidden += self._total(a2)
            s = None if sparsity is None else self._tensor(sparsity)
            sums, q = self._gradients(x, a2, a3, W2, s, error)
            for view, part in zip((into.W1, into.b1, into.W2, into.b2), sums, strict=True):
                view += part.numpy()
            if sparsity is None:
                into.W1_sparsity += (q.T @ x).numpy()
                into.b1_sparsity += self._total(q)

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given."""
        x, h, o, W, s = (self._tensor(array) for array in (a1, a2, a3, W2, sparsity))
        with self.torch.inference_mode():
            error = o - (x if target is a1 else self._tensor(target))
            sums, _ = self._gradients(x, h, o, W, s, error)
            return Parameters(*(part.numpy() for part in sums))

    def _hidden(self, weights: Any, x: Any) -> Any:
        """a2 = sigmoid(x W1' + b1)."""
        W1, b1, _, _ = weights
        return self.torch.addmm(b1, x, W1.T).sigmoid_()  # (m, p)

    def _gradients(self, x: Any, a2: Any, a3: Any, W2: Any, sparsity: Any, error: Any) -> tuple[tuple[Any, ...], Any]:
        """Gradient sums, and q = a2 (1 - a2)."""
        delta3 = error * a3 * (1 - a3) if self.sigmoid else error  # (m, n)
        q = a2 * (1 - a2)  # (m, p)
        delta2 = delta3 @ W2 if sparsity is None else self.torch.addmm(sparsity, delta3, W2)
        delta2 *= q  # (m, p)
        return (delta2.T @ x, delta2.sum(dim=0), delta3.T @ a2, delta3.sum(dim=0)), q

    def _total(self, a: Any) -> NDArray[np.float64]:
        total: NDArray[np.float64] = a.sum(dim=0, dtype=self.torch.float64).numpy()
        return total

    def _tensor(self, array: Array) -> Any:
        """Share an array with PyTorch, which wants positive strides and a right to write; it is never used."""
        if not array.flags.writeable or min(array.strides, default=0) < 0:
            array = np.array(array)
        return self.torch.from_numpy(array)


@contextmanager
def limit_threads(n: int) -> Iterator[None]:
    """Hold PyTorch's intra-op pool at `n` threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@hookimpl
def sparsae_backend() -> Backend:
    """Register the backend."""
    return Backend(
        "torch",
        TorchKernel,
        summary="PyTorch on the CPU: closed form, eager, without autograd",
        threading="own",
        limit_threads=limit_threads,
        outputs=("sigmoid", "linear"),
        requires=("torch",),
        install="pip install 'sparsae[torch]'",
    )
