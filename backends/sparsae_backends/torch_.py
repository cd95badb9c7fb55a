"""`torch`: PyTorch on the CPU, the closed form on whole blocks; as good as its users would write it.

Autograd gives the same sums in more time (docs/performance.md has both); rows are shared with NumPy, not copied.
`limit_threads` sets PyTorch's intra-op pool with `torch.set_num_threads`, and sets it back afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Backend, Kernel, Parameters, Problem, Sums, hookimpl

Tensor = Any  # torch.Tensor; PyTorch is imported with the first kernel


class TorchBlock(NamedTuple):
    """Rows as tensors: one and the same where there is no separate target."""

    x: Tensor  # (m, n)
    target: Tensor  # (m, n)


class TorchWeights(NamedTuple):
    """The parameters as tensors."""

    W1: Tensor  # (p, n)
    b1: Tensor  # (p,)
    W2: Tensor  # (n, p)
    b2: Tensor  # (n,)


class TorchKernel(Kernel[TorchBlock, TorchWeights, Tensor]):
    """Whole blocks in PyTorch's eager mode, without autograd."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        import torch

        self.torch = torch
        self.sigmoid = problem.output == "sigmoid"

    def prepare(self, x: Array, target: Array, keep: bool) -> TorchBlock:
        """Share the rows with PyTorch."""
        rows = self.to_tensor(x)  # (m, n)
        return TorchBlock(rows, rows if target is x else self.to_tensor(target))

    def begin(self, parameters: Parameters) -> TorchWeights:
        """Share the parameters with PyTorch."""
        return TorchWeights(*(self.to_tensor(part) for part in parameters))

    def encode(self, weights: TorchWeights, block: TorchBlock) -> tuple[Tensor, NDArray[np.float64]]:
        """Hidden activations as a tensor, and their sums."""
        with self.torch.inference_mode():
            a2 = self.compute_hidden(weights, block.x)  # (m, p)
            return a2, self.sum_rows(a2)

    def accumulate(
        self, weights: TorchWeights, block: TorchBlock, hidden: Tensor | None, sparsity: Array | None, into: Sums
    ) -> None:
        """Add this block's sums."""
        torch, (x, target) = self.torch, block
        with torch.inference_mode():
            a2 = self.compute_hidden(weights, x) if hidden is None else hidden  # (m, p)
            a3 = torch.addmm(weights.b2, a2, weights.W2.T)  # (m, n)
            if self.sigmoid:
                a3.sigmoid_()  # (m, n)
            error = a3 - target  # (m, n)
            into.rows += len(x)
            into.squared_error += float(torch.dot(error.view(-1), error.view(-1)))
            into.hidden += self.sum_rows(a2)  # (p,)
            s = None if sparsity is None else self.to_tensor(sparsity)  # (p,)
            sums, q = self.compute_gradient(x, a2, a3, weights.W2, s, error)
            for view, part in zip((into.W1, into.b1, into.W2, into.b2), sums, strict=True):
                view += part.numpy()
            if sparsity is None:
                into.W1_sparsity += (q.T @ x).numpy()  # (p, n)
                into.b1_sparsity += self.sum_rows(q)  # (p,)

    def finish(self, weights: TorchWeights, sums: Sums) -> None:
        """Nothing was scaled."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given."""
        x, h, o, W, s = (self.to_tensor(array) for array in (a1, a2, a3, W2, sparsity))
        with self.torch.inference_mode():
            error = o - (x if target is a1 else self.to_tensor(target))  # (m, n)
            sums, _ = self.compute_gradient(x, h, o, W, s, error)
            return Parameters(*(part.numpy() for part in sums))

    def compute_hidden(self, weights: TorchWeights, x: Tensor) -> Tensor:
        """a2 = sigmoid(x W1' + b1)."""
        return self.torch.addmm(weights.b1, x, weights.W1.T).sigmoid_()  # (m, p)

    def compute_gradient(
        self, x: Tensor, a2: Tensor, a3: Tensor, W2: Tensor, sparsity: Tensor | None, error: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Gradient sums, and the slope q of the hidden layer."""
        delta3 = error * a3 * (1 - a3) if self.sigmoid else error  # (m, n)
        q = a2 * (1 - a2)  # (m, p)
        delta2 = delta3 @ W2 if sparsity is None else self.torch.addmm(sparsity, delta3, W2)  # (m, p)
        delta2 *= q  # (m, p)
        return (delta2.T @ x, delta2.sum(dim=0), delta3.T @ a2, delta3.sum(dim=0)), q

    def sum_rows(self, a: Tensor) -> NDArray[np.float64]:
        """Sum over the rows, in float64."""
        total: NDArray[np.float64] = a.sum(dim=0, dtype=self.torch.float64).numpy()
        return total

    def to_tensor(self, array: Array) -> Tensor:
        """Share an array with PyTorch; a copy where it is read-only or reversed, which PyTorch does not accept."""
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
