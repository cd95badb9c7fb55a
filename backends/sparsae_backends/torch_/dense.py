"""Sigmoid and relu units in PyTorch: dense products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Kernel, Parameters, Problem, Sums
from sparsae_backends.torch_.tensors import Tensor, TorchBlock, TorchWeights, sum_rows, to_block, to_tensor


class TorchKernel(Kernel[TorchBlock, TorchWeights, Tensor]):
    """Whole blocks in PyTorch's eager mode, without autograd, for sigmoid and relu units."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        import torch

        self.torch = torch
        self.sigmoid, self.sigmoid_output = problem.activation == "sigmoid", problem.output == "sigmoid"

    def prepare(self, x: Array, target: Array, keep: bool) -> TorchBlock:
        """Share the rows with PyTorch."""
        return to_block(x, target)

    def begin(self, parameters: Parameters) -> TorchWeights:
        """Share the parameters with PyTorch."""
        return TorchWeights(*(to_tensor(part) for part in parameters))

    def encode(self, weights: TorchWeights, block: TorchBlock) -> tuple[Tensor, NDArray[np.float64]]:
        """Hidden activations as a tensor, and their sums."""
        with self.torch.inference_mode():
            a2 = self.compute_hidden(weights, block.x)  # (m, p)
            return a2, sum_rows(a2)

    def accumulate(
        self, weights: TorchWeights, block: TorchBlock, hidden: Tensor | None, sparsity: Array | None, into: Sums
    ) -> None:
        """Add this block's sums."""
        torch, (x, target) = self.torch, block
        with torch.inference_mode():
            a2 = self.compute_hidden(weights, x) if hidden is None else hidden  # (m, p)
            a3 = torch.addmm(weights.b2, a2, weights.W2.T)  # (m, n)
            if self.sigmoid_output:
                a3.sigmoid_()  # (m, n)
            error = a3 - target  # (m, n)
            into.rows += len(x)
            into.squared_error += float(torch.dot(error.view(-1), error.view(-1)))
            into.hidden += sum_rows(a2)  # (p,)
            if not self.sigmoid:
                into.fired += (a2 != 0).sum(dim=0).numpy()  # (p,)
            s = None if sparsity is None else to_tensor(sparsity)  # (p,)
            sums, q = self.compute_gradient(x, a2, a3, weights.W2, s, error)
            for view, part in zip((into.W1, into.b1, into.W2, into.b2), sums, strict=True):
                view += part.numpy()
            if sparsity is None:
                into.W1_sparsity += (q.T @ x).numpy()  # (p, n)
                into.b1_sparsity += sum_rows(q)  # (p,)

    def finish(self, weights: TorchWeights, sums: Sums) -> None:
        """Nothing was scaled."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given."""
        x, h, o, W, s = (to_tensor(array) for array in (a1, a2, a3, W2, sparsity))
        with self.torch.inference_mode():
            error = o - (x if target is a1 else to_tensor(target))  # (m, n)
            sums, _ = self.compute_gradient(x, h, o, W, s, error)
            return Parameters(*(part.numpy() for part in sums))

    def compute_hidden(self, weights: TorchWeights, x: Tensor) -> Tensor:
        """a2 = f(x W1' + b1), f the sigmoid or relu."""
        z2 = self.torch.addmm(weights.b1, x, weights.W1.T)  # (m, p)
        return z2.sigmoid_() if self.sigmoid else z2.relu_()

    def compute_gradient(
        self, x: Tensor, a2: Tensor, a3: Tensor, W2: Tensor, sparsity: Tensor | None, error: Tensor
    ) -> tuple[tuple[Tensor, ...], Tensor]:
        """Gradient sums, and the slope q of the hidden layer."""
        delta3 = error * a3 * (1 - a3) if self.sigmoid_output else error  # (m, n)
        q = a2 * (1 - a2) if self.sigmoid else (a2 != 0).to(a2.dtype)  # (m, p)
        delta2 = delta3 @ W2 if sparsity is None else self.torch.addmm(sparsity, delta3, W2)  # (m, p)
        delta2 *= q  # (m, p)
        return (delta2.T @ x, delta2.sum(dim=0), delta3.T @ a2, delta3.sum(dim=0)), q
