"""The compiled passes of relu and JumpReLU units, for layers of any width.

Imported by the kernel's constructor for these units, since it imports numba.
"""

from __future__ import annotations

from typing import Any

from sparsae_backends.numba.activations import active_slopes
from sparsae_backends.numba.compilation import entry_point, helper
from sparsae_backends.numba.emit import PANEL_BYTES, VECTORS, at, clear, part
from sparsae_backends.numba.gradients import add_block, decode_panel
from sparsae_backends.numba.helpers import sum_rows
from sparsae_backends.numba.lanes import add_in_any_order, set_lanes
from sparsae_backends.numba.tiles import multiply
from sparsae_backends.numba.wide import products_of_wide


@helper
def count_active(h: Any, p: int, live: int, fired: Any) -> None:
    """Add the numbers of rows in which units are active, in one panel."""
    width = PANEL_BYTES // h.itemsize
    for j in range(p):
        unit, count = part(h, j * width, live), 0
        for lane in range(live):
            count += unit[lane] != 0
        fired[j] += count


@entry_point
def encode_relu(sizes: Any, x: Any, m: Any, weights: Any, hidden: Any) -> None:
    """a2 = max(z, 0), and its sum over the rows; NaN stays NaN."""
    n, p, _, _ = sizes
    W1, b1, _, _, _, _ = weights
    a2, _ = hidden
    zero = a2.dtype.type(0)
    width = PANEL_BYTES // a2.itemsize
    panels, wide, narrow = (m + width - 1) // width, n * width, p * width
    for panel in range(panels):
        here = part(a2, panel * narrow, narrow)
        multiply(
            (at(W1, 0), at(b1, 0)), (at(x, panel * wide), n, at(x, panel * wide + wide)), (at(a2, panel * narrow), p)
        )
        for i in range(len(here)):
            here[i] = zero if here[i] <= zero else here[i]
    sum_rows(hidden, m, p)


@entry_point
def accumulate_relu(
    sizes: Any, block: Any, weights: Any, hidden: Any, s: Any, one_pass: Any, scratch: Any, sums: Any
) -> None:
    """Add a block's sums to a vector that `layout` describes."""
    n, p, _, _ = sizes
    x, target, m = block
    W2_back = weights[4]
    a2, total = hidden
    room3, room2, _, strip, totals = scratch
    out, layout = sums
    width = PANEL_BYTES // a2.itemsize
    panels, wide, narrow = (m + width - 1) // width, n * width, p * width
    d, delta2 = part(room3, 0, panels * wide), part(room2, 0, panels * narrow)
    fired, squares = part(out, layout[3], p), 0.0
    clear(at(totals, 0), len(totals))
    for panel in range(panels):
        here, goal = part(d, panel * wide, wide), part(target, panel * wide, wide)
        h, back = part(a2, panel * narrow, narrow), part(delta2, panel * narrow, narrow)
        squares += decode_panel(weights, h, goal, sizes, m - panel * width, here, totals)
        multiply((at(W2_back, 0), at(s, 0)), (at(here, 0), n, at(goal, wide)), (at(back, 0), p))
        count_active(h, p, min(width, m - panel * width), fired)
        active_slopes(at(back, 0), at(h, 0), p, at(totals, n * width // VECTORS))
    add_block(products_of_wide, sizes, (x, m), (a2, total), (d, delta2), delta2, False, squares, (strip, totals), sums)


@helper
def jump(z: Any, threshold: Any, h: Any) -> None:
    """H = z where it is above its unit's threshold, else 0, in one panel; NaN stays NaN."""
    zero, width = z.dtype.type(0), PANEL_BYTES // z.itemsize
    for j in range(len(threshold)):
        above, unit, least = part(h, j * width, width), part(z, j * width, width), threshold[j]
        for lane in range(width):
            above[lane] = zero if unit[lane] <= least else unit[lane]


@entry_point
def encode_jumprelu(sizes: Any, x: Any, m: Any, weights: Any, hidden: Any) -> None:
    """Write z, from which `accumulate_jumprelu` makes a2, and the sum of a2 over the rows."""
    n, p, _, _ = sizes
    W1, b1, _, _, _, threshold = weights
    z, total = hidden
    zero = z.dtype.type(0)
    width = PANEL_BYTES // z.itemsize
    panels, wide, narrow = (m + width - 1) // width, n * width, p * width
    clear(at(total, 0), p)
    for panel in range(panels):
        multiply(
            (at(W1, 0), at(b1, 0)), (at(x, panel * wide), n, at(x, panel * wide + wide)), (at(z, panel * narrow), p)
        )
        live = min(width, m - panel * width)
        for j in range(p):
            first, least, added = panel * narrow + j * width, threshold[j], zero
            unit = part(z, first, live)
            for lane in range(live):
                added = add_in_any_order(added, zero if unit[lane] <= least else unit[lane])
            total[j] += added


@helper
def add_near(z: Any, threshold: Any, s: Any, half: Any, live: int, back: Any, near: Any, out: Any) -> None:
    """Add delta3 W2 over the rows near a threshold, and their number, in one panel; `back` has s in it."""
    zero, width = z.dtype.type(0), PANEL_BYTES // z.itemsize
    for j in range(len(threshold)):
        unit, slope = part(z, j * width, live), part(back, j * width, live)
        count, added = 0, zero
        for lane in range(live):
            inside = abs(unit[lane] - threshold[j]) < half
            count += inside
            added = add_in_any_order(added, slope[lane] - s[j] if inside else zero)
        near[j] += count
        out[j] += added


@entry_point
def accumulate_jumprelu(
    sizes: Any, block: Any, weights: Any, hidden: Any, s: Any, one_pass: Any, scratch: Any, sums: Any
) -> None:
    """Add a block's sums; those of the thresholds where there is a bandwidth, of which `sizes` has the half."""
    n, p, _, half = sizes
    x, target, m = block
    W2_back, threshold = weights[4], weights[5]
    z, total = hidden
    room3, room2, room_a2, strip, totals = scratch
    out, layout = sums
    width = PANEL_BYTES // z.itemsize
    panels, wide, narrow = (m + width - 1) // width, n * width, p * width
    d, delta2 = part(room3, 0, panels * wide), part(room2, 0, panels * narrow)
    a2, squares = part(room_a2, 0, panels * narrow), 0.0
    fired, near, out_threshold = part(out, layout[3], p), part(out, layout[4], p), part(out, layout[9], p)
    clear(at(totals, 0), len(totals))
    for panel in range(panels):
        live = min(width, m - panel * width)
        here, goal = part(d, panel * wide, wide), part(target, panel * wide, wide)
        h, back = part(a2, panel * narrow, narrow), part(delta2, panel * narrow, narrow)
        above = part(z, panel * narrow, narrow)
        jump(above, threshold, h)
        if live < width:
            set_lanes(at(h, 0), p, live, 0.0)
        squares += decode_panel(weights, h, goal, sizes, live, here, totals)
        multiply((at(W2_back, 0), at(s, 0)), (at(here, 0), n, at(goal, wide)), (at(back, 0), p))
        count_active(h, p, live, fired)
        if half > 0:
            add_near(above, threshold, s, half, live, back, near, out_threshold)
        active_slopes(at(back, 0), at(h, 0), p, at(totals, n * width // VECTORS))
    add_block(products_of_wide, sizes, (x, m), (a2, total), (d, delta2), delta2, False, squares, (strip, totals), sums)
