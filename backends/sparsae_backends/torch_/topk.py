"""Top-k units in PyTorch: `embedding_bag` decodes and gives the sparse gradients; the encoder's products are dense."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsae import Array, Kernel, Parameters, Problem, Sums
from sparsae_backends.torch_.tensors import Tensor, TorchBlock, to_block, to_tensor


class TopKWeights(NamedTuple):
    """The parameters as tensors, W2 transposed: one row is a unit's."""

    W1: Tensor  # (p, n)
    b1: Tensor  # (p,)
    W2T: Tensor  # (p, n)
    b2: Tensor  # (n,)


class TopKHidden(NamedTuple):
    """The activations that are kept, and whose they are."""

    values: Tensor  # (m, k)
    where: Tensor  # (m, k)


class TorchTopKKernel(Kernel[TorchBlock, TopKWeights, TopKHidden]):
    """Whole blocks in PyTorch's eager mode."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        import torch

        self.torch = torch
        self.sigmoid_output = problem.output == "sigmoid"

    def prepare(self, x: Array, target: Array, keep: bool) -> TorchBlock:
        """Share the rows with PyTorch."""
        return to_block(x, target)

    def begin(self, parameters: Parameters) -> TopKWeights:
        """Share the parameters with PyTorch; transpose the decoder once."""
        W1, b1, W2, b2 = parameters
        return TopKWeights(to_tensor(W1), to_tensor(b1), to_tensor(np.ascontiguousarray(W2.T)), to_tensor(b2))

    def encode(self, weights: TopKWeights, block: TorchBlock) -> tuple[TopKHidden, NDArray[np.float64]]:
        """Activations that are kept, and their sums."""
        with self.torch.no_grad():
            z2 = self.torch.addmm(weights.b1, block.x, weights.W1.T)  # (m, p)
            hidden = self.keep_largest(z2.relu_())
            return hidden, self.sum_units(hidden.where, hidden.values)

    def accumulate(
        self, weights: TopKWeights, block: TorchBlock, hidden: TopKHidden | None, sparsity: Array | None, into: Sums
    ) -> None:
        """Add this block's sums."""
        torch, (x, target) = self.torch, block
        values, where = hidden or self.encode(weights, block)[0]
        W2T, given = weights.W2T.detach().requires_grad_(), values.detach().requires_grad_()
        z3 = torch.nn.functional.embedding_bag(where, W2T, per_sample_weights=given, mode="sum")  # (m, n)
        with torch.no_grad():
            a3 = z3 + weights.b2  # (m, n)
            if self.sigmoid_output:
                a3.sigmoid_()  # (m, n)
            error = a3 - target  # (m, n)
            into.rows += len(x)
            into.squared_error += float(torch.dot(error.view(-1), error.view(-1)))
            into.hidden += self.sum_units(where, values)  # (p,)
            into.fired += self.sum_units(where, values != 0)  # (p,)
            delta3 = error * a3 * (1 - a3) if self.sigmoid_output else error  # (m, n)
            gradient, back = torch.autograd.grad(z3, (W2T, given), delta3)  # (p, n), (m, k)
            if sparsity is not None:
                back += to_tensor(sparsity)[where]  # (m, k)
            delta2 = x.new_zeros(len(x), self.problem.n_hidden).scatter_(1, where, back * (values != 0))  # (m, p)
            into.W1 += (delta2.T @ x).numpy()  # (p, n)
            into.b1 += delta2.sum(dim=0).numpy()  # (p,)
            into.W2 += gradient.T.numpy()  # (n, p)
            into.b2 += delta3.sum(dim=0).numpy()  # (n,)

    def finish(self, weights: TopKWeights, sums: Sums) -> None:
        """Nothing was scaled."""

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given, with dense activations."""
        x, h, o, W, s = (to_tensor(array) for array in (a1, a2, a3, W2, sparsity))
        with self.torch.no_grad():
            error = o - (x if target is a1 else to_tensor(target))  # (m, n)
            delta3 = error * o * (1 - o) if self.sigmoid_output else error  # (m, n)
            delta2 = self.torch.addmm(s, delta3, W) * (h != 0)  # (m, p)
            sums = (delta2.T @ x, delta2.sum(dim=0), delta3.T @ h, delta3.sum(dim=0))
            return Parameters(*(part.numpy() for part in sums))

    def keep_largest(self, a2: Tensor) -> TopKHidden:
        """The k largest of each row; `torch.topk` takes any of those that are equal.

        Where the next smaller one is equal too, a stable sort selects anew: it takes the first.
        """
        torch, k, p = self.torch, self.problem.k or 0, self.problem.n_hidden
        values, where = torch.topk(a2, min(k + 1, p), dim=1)  # (m, k + 1)
        if k < p:
            tied = (values[:, k - 1] == values[:, k]) & (values[:, k] > 0)  # (m,)
            if bool(tied.any()):
                where[tied, :k] = torch.sort(a2[tied], dim=1, descending=True, stable=True).indices[:, :k]
        where = where[:, :k].contiguous()  # (m, k)
        return TopKHidden(a2.gather(1, where), where)

    def sum_units(self, where: Tensor, values: Tensor) -> NDArray[np.float64]:
        """Sum values (m, k) over the rows, by unit, in float64."""
        torch = self.torch
        total = torch.zeros(self.problem.n_hidden, dtype=torch.float64)  # (p,)
        total.index_add_(0, where.flatten(), values.flatten().to(torch.float64))
        found: NDArray[np.float64] = total.numpy()
        return found
