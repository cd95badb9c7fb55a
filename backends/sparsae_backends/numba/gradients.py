"""From activations to sums: the part of the passes that units and shapes share.

The products that make gradients are handed in as a function that numba inlines: `products_of_narrow` is here, that for
wide layers in `wide.py`.  Each product is C (rows, columns) += A' B over the rows of a block, for panels A and B.

Imported by the kernel's constructor, since it imports numba.
"""

from __future__ import annotations

from typing import Any

from sparsae_backends.numba.activations import add_totals, linear_errors, sigmoid_errors, sigmoid_slopes
from sparsae_backends.numba.compilation import helper
from sparsae_backends.numba.emit import PANEL_BYTES, VECTORS, at, clear, part
from sparsae_backends.numba.helpers import NOTHING
from sparsae_backends.numba.lanes import set_lanes
from sparsae_backends.numba.tiles import add_gram, add_sums, multiply_rows


@helper
def gram_of_hidden(left: Any, right: Any, m: int, strip: Any, out: Any, first: int, add: bool) -> None:
    """The product for W1: left (A, rows), right (B, columns), C in `out` from `first` on."""
    A, rows = left
    B, columns = right
    panels = len(A) // (rows * PANEL_BYTES // A.itemsize)
    add_gram((at(A, 0), rows), (at(B, 0), columns), panels, (at(out, first), columns, 1), add)


@helper
def gram_of_outputs(left: Any, right: Any, m: int, strip: Any, out: Any, first: int, add: bool) -> None:
    """The product for W2, turned: the hidden units are the rows of tiles here too."""
    A, rows = left
    B, columns = right
    panels = len(A) // (rows * PANEL_BYTES // A.itemsize)
    add_gram((at(B, 0), columns), (at(A, 0), rows), panels, (at(out, first), 1, columns), add)


@helper
def products_of_narrow(
    sizes: Any, block: Any, a2: Any, errors: Any, q: Any, one_pass: bool, strip: Any, sums: Any, add: bool
) -> None:
    """Add what a block gives to W1 and W2, and with one pass to the q-sums."""
    n, p, _, _ = sizes
    x, m = block
    d, delta2 = errors
    out, layout = sums
    gram_of_hidden((delta2, p), (x, n), m, strip, out, layout[5], add)
    gram_of_outputs((d, n), (a2, p), m, strip, out, layout[6], add)
    if one_pass:
        gram_of_hidden((q, p), (x, n), m, strip, out, layout[10], True)


@helper
def decode_panel(weights: Any, h: Any, goal: Any, sizes: Any, live: int, here: Any, totals: Any) -> Any:
    """delta3 of one panel, 0 in lanes without a row, added to `totals`; returns its squared error."""
    n, p, _, _ = sizes
    _, _, W2, b2, _, _ = weights
    multiply_rows((at(W2, 0), at(b2, 0)), (at(h, 0), p, at(h, len(h))), (at(here, 0), n), live)
    return panel_errors(goal, sizes, live, here, totals)


@helper
def panel_errors(goal: Any, sizes: Any, live: int, here: Any, totals: Any) -> Any:
    """As `decode_panel`, from the products."""
    n, _, sigmoid, _ = sizes
    if live < PANEL_BYTES // here.itemsize:
        set_lanes(at(here, 0), n, live, NOTHING if sigmoid else 0.0)
    if sigmoid:
        return 0.0 + sigmoid_errors(at(here, 0), at(goal, 0), n, at(totals, 0))
    return 0.0 + linear_errors(at(here, 0), at(goal, 0), n, at(totals, 0))


@helper
def add_block(
    products: Any, sizes: Any, block: Any, hidden: Any, errors: Any, q: Any, one_pass: bool, squares: float,
    scratch: Any, sums: Any,
) -> None:  # fmt: skip
    """Add what a block's panels x, d (delta3), a2, delta2 and q give: everything but counts.

    scratch is (strip, totals): sums of the columns of d and of delta2, a register each.
    """
    n, p, _, _ = sizes
    _, m = block
    a2, total = hidden
    d, _ = errors
    strip, totals = scratch
    lanes = PANEL_BYTES // VECTORS // d.itemsize
    out, layout = sums
    at_rows, at_squares, at_hidden, _, _, _, _, at_b1, at_b2, _, _, at_b1_sparsity, _ = layout
    panels, add = len(d) // (n * PANEL_BYTES // d.itemsize), out[at_rows] > 0
    out[at_rows] += m
    out[at_squares] += out.dtype.type(squares)
    for j in range(p):
        out[at_hidden + j] += out.dtype.type(total[j])  # rounded first, as sums of two blocks are added
    products(sizes, block, a2, errors, q, one_pass, strip, sums, add)
    add_totals(at(totals, 0), n, at(out, at_b2))
    add_totals(at(totals, n * lanes), p, at(out, at_b1))
    if one_pass:
        add_sums((at(q, 0), p), panels, at(out, at_b1_sparsity))


@helper
def accumulate_sigmoid(
    products: Any, sizes: Any, block: Any, weights: Any, hidden: Any, s: Any, one_pass: bool, scratch: Any, sums: Any
) -> None:
    """Add a block's sums, for sigmoid units; without s the q-sums too."""
    n, p, _, _ = sizes
    x, target, m = block
    W2_back = weights[4]
    a2, total = hidden
    room3, room2, room_q, strip, totals = scratch
    width = PANEL_BYTES // a2.itemsize
    panels, wide, narrow = (m + width - 1) // width, n * width, p * width
    x, d = part(x, 0, panels * wide), part(room3, 0, panels * wide)
    a2, delta2 = part(a2, 0, panels * narrow), part(room2, 0, panels * narrow)
    clear(at(totals, 0), len(totals))
    squares = 0.0
    for panel in range(panels):
        here, goal = part(d, panel * wide, wide), part(target, panel * wide, wide)
        h, back = part(a2, panel * narrow, narrow), part(delta2, panel * narrow, narrow)
        live = m - panel * width
        squares += decode_panel(weights, h, goal, sizes, live, here, totals)
        multiply_rows((at(W2_back, 0), at(s, 0)), (at(here, 0), n, at(goal, wide)), (at(back, 0), p), live)
        if live < width:
            set_lanes(at(back, 0), p, live, 0.0)
        sigmoid_slopes(at(back, 0), at(h, 0), p, at(totals, n * width // VECTORS))
    q = part(room_q, 0, panels * narrow if one_pass else 0)
    one = a2.dtype.type(1)
    for i in range(len(q)):
        q[i] = a2[i] * (one - a2[i])
    add_block(products, sizes, (x, m), (a2, total), (d, delta2), q, one_pass, squares, (strip, totals), sums)
