"""The compiled passes of sigmoid units, and those that all units share; `__init__.py` has the picture of panels.

Functions that are called from Python are compiled for one dtype each, when they are first needed.  `helpers.py` and
`gradients.py` hold what they are made of; `wide.py` and `rectified.py` have the passes of wide layers and other units.
Arrays are flat and contiguous unless said otherwise; n and p are the numbers of inputs and of hidden units.

Imported by the kernel's constructor, since it imports numba.
"""

from __future__ import annotations

from typing import Any

from sparsae_backends.numba.activations import active_slopes, add_totals, sigmoid_slopes, sigmoids
from sparsae_backends.numba.compilation import entry_point, helper
from sparsae_backends.numba.emit import PANEL_BYTES, VECTORS, at, at_column, at_row, clear, part
from sparsae_backends.numba.gradients import accumulate_sigmoid, products_of_narrow
from sparsae_backends.numba.helpers import error_to_panel, sum_rows
from sparsae_backends.numba.lanes import copy_column, fetch, pack_square, to_panel
from sparsae_backends.numba.tiles import TALL, add_gram, add_gram_of_rows, multiply, multiply_rows


@entry_point
def to_panels(x: Any, out: Any) -> None:
    """Put the rows of a matrix in the lanes of panels; lanes without a row are 0."""
    m, n = x.shape
    width = PANEL_BYTES // out.itemsize
    for panel in range((m + width - 1) // width):
        to_panel(x, panel * width, at(out, panel * width * n))


@entry_point
def pack(matrix: Any, scale: Any, out: Any) -> None:
    """Copy a matrix to the order of the products."""
    pack_matrix(matrix, scale, out)


@entry_point
def pack_weights(matrices: Any, biases: Any, scales: Any, out: Any, places: Any) -> None:
    """Copy W1, W2 and W2' to the order of the products, each scaled, and b1 and b2 with the scales of W1 and W2.

    `places` are where W1, W2, W2', b1 and b2 begin in `out`.  Three calls of `pack` take longer.
    """
    for i in range(3):
        pack_matrix(matrices[i], scales[i], out[places[i] :])
    for i in range(2):
        bias, scaled = biases[i], out[places[3 + i] :]
        for j in range(len(bias)):
            scaled[j] = bias[j] * scales[i]


@helper
def pack_matrix(matrix: Any, scale: Any, out: Any) -> None:
    """Copy a matrix to the order in which a product reads it, scaled: tile by tile, column by column.

    `out` has room for 64 numbers more.
    """
    rows, columns = matrix.shape
    lanes = PANEL_BYTES // VECTORS // out.itemsize
    whole = (TALL + lanes - 1) // lanes * lanes
    by_rows = matrix.strides[1] == matrix.itemsize
    by_columns = matrix.strides[0] == matrix.itemsize and matrix.strides[1] >= rows * matrix.itemsize
    tiles = (rows + TALL - 1) // TALL
    for tile in range(tiles):
        start, stop = tile * rows // tiles, (tile + 1) * rows // tiles
        height, place, first = stop - start, start * columns, 0
        if by_rows:
            first = columns // lanes * lanes
            for column in range(0, first, lanes):
                here = at_row(matrix, start, column), matrix.strides[0]
                pack_square(here, height, scale, at(out, place + column * height))
        elif by_columns and rows >= whole:
            first = columns - 1  # a register of the last column would reach beyond the matrix
            for column in range(first):
                copy_column(at_column(matrix, start, column), scale, at(out, place + column * height))
        for column in range(first, columns):
            for row in range(start, stop):
                out[place + column * height + row - start] = matrix[row, column] * scale


@entry_point
def encode(sizes: Any, x: Any, m: Any, weights: Any, hidden: Any) -> None:
    """a2 = 1 / (1 + 2^z) with z folded, and its sum over the rows."""
    n, p, _, _ = sizes
    W1, b1, _, _, _, _ = weights
    a2, _ = hidden
    width = PANEL_BYTES // a2.itemsize
    panels, wide, narrow = (m + width - 1) // width, n * width, p * width
    for panel in range(panels):
        multiply_rows(
            (at(W1, 0), at(b1, 0)),
            (at(x, panel * wide), n, at(x, panel * wide + wide)),
            (at(a2, panel * narrow), p),
            m - panel * width,
        )
        sigmoids(at(a2, panel * narrow), p)
    sum_rows(hidden, m, p)


@entry_point
def accumulate(
    sizes: Any, block: Any, weights: Any, hidden: Any, s: Any, one_pass: Any, scratch: Any, sums: Any
) -> None:
    """Add a block's sums to a vector that `layout` describes: the offsets of its parts."""
    accumulate_sigmoid(products_of_narrow, sizes, block, weights, hidden, s, one_pass, scratch, sums)


@entry_point
def backprop(
    sizes: Any, given: Any, W2_back: Any, s: Any, sigmoid_units: Any, rows: Any, scratch: Any, sums: Any
) -> None:
    """Add the gradient sums for given activations, matrices of any strides, `rows` rows at a time."""
    n, p, sigmoid, _ = sizes
    a1, a2, a3, target = given
    out, layout = sums
    _, _, _, _, _, at_W1, at_W2, at_b1, at_b2, _, _, _, _ = layout
    width = PANEL_BYTES // a1.itemsize
    wide, narrow = n * width, p * width
    ends, totals = n + p * width // VECTORS, scratch[n : n + p * width // VECTORS]  # sums of columns of d and of delta2
    totals3, scratch = scratch[:n], scratch[ends:]
    as_they_are = n % (width // VECTORS) == 0 and a1.strides[1] == a1.itemsize
    for start in range(0, len(a1), rows):
        stop = min(start + rows, len(a1))
        clear(at(totals3, 0), n)
        clear(at(totals, 0), len(totals))
        panels = (stop - start + width - 1) // width
        d, h, rest = scratch[: panels * wide], scratch[panels * wide :], scratch[panels * (wide + narrow) :]
        delta2, x = rest[: panels * narrow], rest[panels * narrow :]
        for panel in range(panels):
            first = panel * width
            for row in range(min(start + first + 2 * width, len(a1)), min(start + first + 3 * width, len(a1))):
                fetch(a2, row)
            here, back = part(h, panel * narrow, narrow), part(delta2, panel * narrow, narrow)
            to_panel(a2[start:stop], first, at(here, 0))
            error_to_panel((a3, target), (start + first, stop), sigmoid, d[panel * wide :], totals3)
            multiply((at(W2_back, 0), at(s, 0)), (at(d, panel * wide), n, at(d, panel * wide)), (at(back, 0), p))
            if sigmoid_units:
                sigmoid_slopes(at(back, 0), at(here, 0), p, at(totals, 0))
            else:
                active_slopes(at(back, 0), at(here, 0), p, at(totals, 0))
        if as_they_are:
            add_gram_of_rows(
                (at(delta2, 0), p), (at_row(a1, start, 0), stop - start, a1.strides[0], n), (at(out, at_W1), n, n), True
            )
        else:
            for panel in range(panels):
                to_panel(a1[start:stop], panel * width, at(x, panel * wide))
            add_gram((at(delta2, 0), p), (at(x, 0), n), panels, (at(out, at_W1), n, 1), True)
        add_gram((at(h, 0), p), (at(d, 0), n), panels, (at(out, at_W2), 1, p), True)
        add_totals(at(totals, 0), p, at(out, at_b1))
        for k in range(n):
            out[at_b2 + k] += totals3[k]
