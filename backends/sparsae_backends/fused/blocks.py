"""How rows are cut so that scratch stays in cache and products take OpenBLAS's fast path."""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsae import Array, Problem

SMALL_PRODUCT = 1_000_000  # OpenBLAS: products of up to so many multiplications take the fast path
CACHE_BYTES = 640 * 1024  # of one scratch array (m, n)
LONGER = 2  # times as much, at most, where there are several blocks: workers need the GIL less often
FOUR = 4  # blocks, or a multiple
LEAST_LAYER = 40  # rows that make a product of their own worth its call
LAYERS = 3  # of small products in a single block, at most: more are shared by workers
LAYERED_ROWS = 600  # unless the layers are so short that a block may have more of them
WIDE_ROWS = 1024  # of a block whose products are too large for the fast path: what is done once a block is spread out


def padded(columns: int, dtype: np.dtype[Any]) -> int:
    """Return the columns that the hidden layer is given.

    OpenBLAS's single-precision product is a third slower where the columns of the result leave a register part filled;
    that pays for up to 30 % more columns.
    """
    if dtype == np.float32:
        whole = -(-columns // 16) * 16
        return whole if whole <= 1.3 * columns else columns
    return columns


def small_rows(row_size: int) -> int:
    """Return the rows that the fast path for small products takes, given the multiplications for one; 0 where few."""
    rows = SMALL_PRODUCT // row_size // 8 * 8
    return rows if rows >= LEAST_LAYER else 0


def layers_of(m: int, row_size: int) -> int:
    """Return the number of equal layers that `m` rows are cut in for their products."""
    least = -(-m // (small_rows(row_size) or m))
    return next((layers for layers in range(least, 2 * least + 4) if m % layers == 0), 1)


def stacked(a: Array, layers: int) -> Array:
    """View a matrix as a stack of layers of rows."""
    return a.reshape(layers, len(a) // layers, a.shape[1])


def block_rows(problem: Problem) -> int:
    """Return rows that stay in cache: whole layers of small products, where there can be any, and blocks of one length.

    Four blocks or a multiple, so that two and four workers have the same to do; all rows in one or two where they are
    few.
    """
    n, p, m, itemsize = problem.n_visible, problem.n_hidden, problem.block_rows, problem.dtype.itemsize
    fit = CACHE_BYTES // (n * itemsize)
    small = small_rows(n * padded(p + 1, problem.dtype))
    if not small:
        return WIDE_ROWS
    if fit < small:
        return max(8, fit // 8 * 8)
    few = min(fit // small, max(LAYERS, LAYERED_ROWS // small)) * small
    if m <= few:
        return few
    most = max(few, LONGER * CACHE_BYTES // (max(n, 2 * p) * itemsize) // small * small)
    blocks = 2 if m <= 2 * few else -(-m // most // FOUR) * FOUR
    layers = -(-m // (blocks * small))
    return -(-m // (blocks * layers * 8)) * layers * 8
