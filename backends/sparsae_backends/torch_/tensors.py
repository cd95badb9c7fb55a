"""What both kernels of `torch` share: rows and parameters as tensors."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsae import Array

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


def to_tensor(array: Array) -> Tensor:
    """Share an array with PyTorch; a copy where it is read-only or reversed, which PyTorch does not accept."""
    import torch

    if not array.flags.writeable or min(array.strides, default=0) < 0:
        array = np.array(array)
    return torch.from_numpy(array)


def to_block(x: Array, target: Array) -> TorchBlock:
    """Share rows with PyTorch."""
    rows = to_tensor(x)  # (m, n)
    return TorchBlock(rows, rows if target is x else to_tensor(target))


def sum_rows(a: Tensor) -> NDArray[np.float64]:
    """Sum over the rows, in float64."""
    import torch

    total: NDArray[np.float64] = a.sum(dim=0, dtype=torch.float64).numpy()
    return total
