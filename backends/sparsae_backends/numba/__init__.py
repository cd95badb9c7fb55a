"""`numba`: the whole evaluation compiled, products included.

Arrays are cut into *panels* of rows.  Rows stand in the lanes of vector registers, three registers to a panel, so that
no number of inputs or hidden units leaves a register part filled::

    x (m, n), C order              a panel: n columns of `width` rows (12 float64 with AVX2)
    row 0   x00 x01 x02 ...        column 0   x00 x10 x20 | x30 ... | ... x11,0     three registers
    row 1   x10 x11 x12 ...  -->   column 1   x01 x11 x21 | x31 ... | ... x11,1
    ...                            ...

Products are loops over *tiles*: sums that stay in registers while a loop runs over everything they are sums of::

    `multiply`   C = bias + A B    B: one panel, depth columns      one weight is multiplied with three registers of
                                   +-----+-----+-----+              rows; a tile is up to 4 columns of C (9 where
              A: weight (i, k)  x  |  k  |  k  |  k  |   adds to    there are 32 registers)
                                   +-----+-----+-----+  sums (i)

    `add_gram`   C += A' B         columns of A x columns of B, summed over all rows of all panels; a tile is up to
                                   4 x 3 columns (5 x 5), one register of partial sums each

Biases, activations and slopes are computed while a product's result is in the first-level cache.
Each call handles a block without the GIL, so row workers run side by side.

Top-k units in float32, where the processor multiplies pairs of bfloat16 numbers, take half the product: `screen.py`.

`target.py` finds out what numba compiles for; `emit.py`, `tiles.py`, `activations.py`, `lanes.py`, `rows.py`,
`sparse.py`, `select.py` and `pairs.py` emit code; `helpers.py` and `gradients.py` hold the loops in Python that passes
are made of; `passes.py`, `wide.py`, `large.py`, `rectified.py`, `topk.py` and `screen.py` the passes of sigmoid units,
wide and large layers, relu and JumpReLU, and top-k units; `compilation.py` compiles and caches, `apart.py` in two
processes.  These import numba (inside this package ``import numba`` is absolute: the library) and are imported when a
kernel is made: `kernel.py` or `topk_kernel.py`, which share `base.py`.

Compiling takes as long as there are instructions before they are optimised: a loop in Python is 120 of them, a slice
170, an emitted loop 12.
docs/performance.md has the figures.
"""

from __future__ import annotations

from sparsae import Backend, Problem, hookimpl
from sparsae_backends.numba import base, kernel, topk_kernel


def make_kernel(problem: Problem) -> kernel.NumbaKernel | topk_kernel.TopKKernel:
    """Return the kernel for the problem's hidden units."""
    return (topk_kernel.TopKKernel if problem.activation == "topk" else kernel.NumbaKernel)(problem)


def block_rows(problem: Problem) -> int:
    """Return the number of rows that the kernel for the problem's hidden units is best given at a time."""
    return topk_kernel.BLOCK_ROWS if problem.activation == "topk" else base.block_rows(problem)


@hookimpl
def sparsae_backend() -> Backend:
    """Register the backend."""
    return Backend(
        "numba",
        make_kernel,
        summary="compiled: products with rows in the lanes, everything else fused into them; row workers",
        threading="workers",
        activations=("sigmoid", "relu", "topk", "jumprelu"),
        outputs=("sigmoid", "linear"),
        block_rows=block_rows,
        requires=("numba",),
        install="pip install 'sparsae[numba]'",
    )
