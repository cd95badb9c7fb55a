"""`fused`: NumPy alone, at the speed of the cache; for sparse top-k units SciPy's sparse matrices too.

There is a kernel for sigmoid units (`kernel.py`), one for very wide layers and for units whose slope is 0 or 1
(`dense.py`), and one for top-k units of which few are kept (`sparse.py`).

What makes the first fast is told with figures in docs/performance.md; in short:

- Scales folded into the weights, once per evaluation.  Both layers are a = 1 / (1 + 2^z), or e^z where NumPy computes
  that faster (`powers.py`): accurate also where a unit is almost off, for the mean of the hidden units stands in a
  denominator.
- A unit that is always on.  One more hidden unit, of activation exactly 1 and slope exactly 0, carries the output bias
  through the products: b2 is a row of the folded W2, and its gradient a row of the gradient.
- Blocks that stay in cache; scratch made once, results in place.
- Products on a block cut in a stack of equal layers, each of a size for OpenBLAS's path for small products: one call
  for a stack takes NumPy's overhead, and gives the GIL up and takes it back, once.
- A block's sums are laid out like the total, so that one addition takes them there.
"""

from __future__ import annotations

from sparsae import Backend, Problem, hookimpl
from sparsae_backends.fused.blocks import block_rows, padded, small_rows
from sparsae_backends.fused.dense import DenseKernel
from sparsae_backends.fused.kernel import FusedKernel
from sparsae_backends.fused.sparse import SparseKernel, worth_it

WIDE = 1 << 20  # weights of a layer: folding them costs as much as it saves, and no other worker helps with it
FEW_ROWS = 512  # in a block of a mini-batch, where products are too large for the fast path: the same holds sooner


def make_kernel(problem: Problem) -> FusedKernel | DenseKernel | SparseKernel:
    """Return the kernel for the hidden unit and the sizes."""
    products = problem.n_visible * padded(problem.n_hidden + 1, problem.dtype)
    few = problem.block_rows <= FEW_ROWS and not small_rows(products)
    if problem.activation == "sigmoid" and problem.n_visible * problem.n_hidden < WIDE and not few:
        return FusedKernel(problem)
    return SparseKernel(problem) if worth_it(problem) else DenseKernel(problem)


@hookimpl
def sparsae_backend() -> Backend:
    """Register the backend."""
    return Backend(
        "fused",
        make_kernel,
        summary="NumPy alone at the speed of the cache: folded weights, small products, results in place; row workers",
        threading="workers",
        activations=("sigmoid", "relu", "topk", "jumprelu"),
        outputs=("sigmoid", "linear"),
        block_rows=block_rows,
    )
