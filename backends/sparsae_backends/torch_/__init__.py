"""`torch`: PyTorch on the CPU, the closed form on whole blocks; as good as its users would write it.

Autograd gives the same sums in more time (docs/performance.md has both); rows are shared with NumPy, not copied.
`limit_threads` sets PyTorch's intra-op pool with `torch.set_num_threads`, and sets it back afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sparsae import Backend, Problem, hookimpl
from sparsae_backends.torch_.dense import TorchKernel
from sparsae_backends.torch_.topk import TorchTopKKernel


def make_kernel(problem: Problem) -> TorchKernel | TorchTopKKernel:
    """Return the kernel for dense or for sparse activations."""
    return TorchTopKKernel(problem) if problem.activation == "topk" else TorchKernel(problem)


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
        make_kernel,
        summary="PyTorch on the CPU: closed form, eager",
        threading="own",
        limit_threads=limit_threads,
        activations=("sigmoid", "relu", "topk"),
        outputs=("sigmoid", "linear"),
        requires=("torch",),
        install="pip install 'sparsae[torch]'",
    )
