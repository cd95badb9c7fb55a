"""Gradient products of wide layers, and the passes with them.

Sums of `add_gram` lie in the lanes of a register, and are added up at the end of each tile: with few rows in a block
and many tiles that takes as long as the products.  Here they lie in columns: of one matrix a strip of columns is turned
back into rows, which stay in the second-level cache while panels of the other go by.

Imported by the kernel's constructor where layers are wide, since it imports numba.
"""

from __future__ import annotations

from typing import Any

from sparsae_backends.numba.compilation import entry_point, helper
from sparsae_backends.numba.emit import PANEL_BYTES, VECTORS, at
from sparsae_backends.numba.gradients import accumulate_sigmoid
from sparsae_backends.numba.lanes import turn
from sparsae_backends.numba.tiles import BROAD, add_gram_of_rows


@helper
def gram_of_strips(left: Any, right: Any, m: int, strip: Any, out: Any, first: int, add: bool) -> None:
    """C (rows, columns) += A' B over m rows, in `out` from `first` on: left (A, rows), right (B, columns)."""
    A, rows = left
    B, columns = right
    width = PANEL_BYTES // A.itemsize
    lanes = width // VECTORS
    panels = (m + width - 1) // width
    for start in range(0, columns, BROAD * lanes):
        there = min(columns - start, BROAD * lanes)
        broad = (there + lanes - 1) // lanes * lanes
        for panel in range(panels):
            for column in range(0, broad, lanes):
                whole = column + lanes <= there
                place = panel * width * broad + column
                source = (panel * columns + start + column) * width
                for row in range(0, width, lanes) if whole else range(0):
                    turn((at(B, source + row), width * B.itemsize), (at(strip, place + row * broad), broad))
                for row in range(0 if whole else width):
                    for i in range(lanes):
                        strip[place + row * broad + i] = B[source + i * width + row] if column + i < there else 0
        right_side = at(strip, 0), m, broad * B.itemsize, broad
        add_gram_of_rows((at(A, 0), rows), right_side, (at(out, first + start), columns, there), add)


@helper
def products_of_wide(
    sizes: Any, block: Any, a2: Any, errors: Any, q: Any, one_pass: bool, strip: Any, sums: Any, add: bool
) -> None:
    """As `products_of_narrow`; in a loop, since numba inlines the product, which is long, wherever it stands."""
    n, p, _, _ = sizes
    x, m = block
    d, delta2 = errors
    out, layout = sums
    lefts, rights, places = (delta2, d, q), (x, a2, x), (layout[5], layout[6], layout[10])
    rows, columns = (p, n, p), (n, p, n)
    for i in range(3 if one_pass else 2):
        left, right = (lefts[i], rows[i]), (rights[i], columns[i])
        gram_of_strips(left, right, m, strip, out, places[i], add or i == 2)


@entry_point
def accumulate_wide(
    sizes: Any, block: Any, weights: Any, hidden: Any, s: Any, one_pass: Any, scratch: Any, sums: Any
) -> None:
    """As `accumulate` of `passes.py`."""
    accumulate_sigmoid(products_of_wide, sizes, block, weights, hidden, s, one_pass, scratch, sums)
