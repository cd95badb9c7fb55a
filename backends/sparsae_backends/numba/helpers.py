"""What the compiled passes are made of; `passes.py` has the passes, `__init__.py` the picture of panels and tiles.

Each helper is inlined by numba where it is used, so that a pass is one module for LLVM.  Compiled for themselves,
linked and optimised again in each function above them, they took most of the time of compiling.

Imported by the kernel's constructor, since it imports numba.
"""

from __future__ import annotations

from typing import Any

from sparsae_backends.numba.compilation import helper
from sparsae_backends.numba.emit import PANEL_BYTES, VECTORS, at, at_row, clear
from sparsae_backends.numba.lanes import fetch, set_lanes, turn_error
from sparsae_backends.numba.tiles import add_sums

NOTHING = 2048.0  # 1 / (1 + 2^z) is the least normal number there: its square is 0


@helper
def error_to_panel(given: Any, rows: Any, sigmoid: bool, out: Any, totals: Any) -> None:
    """Put delta3 of the rows from first to stop in the lanes of the panel that `out` starts with, as `to_panel` does.

    Given are (a3, target) and (first, stop); the sum of each column is added to a number of `totals`.
    Rows two panels on are asked for meanwhile, one after the other: many requests at once would have to queue.
    """
    a3, target = given
    first, stop = rows
    m, n = a3.shape
    one = out.dtype.type(1)
    width = PANEL_BYTES // out.itemsize
    live, side, k0 = min(width, stop - first), width // VECTORS, 0
    if live == width and a3.strides[1] == a3.itemsize and target.strides[1] == target.itemsize:
        k0 = n // side * side
        for lane in range(0, width, side):
            for step in range(max(side, n // side)):
                row = first + 2 * width + lane + step
                if step < side and row < m:
                    fetch(a3, row)
                    fetch(target, row)
                if step < n // side:
                    outputs = at_row(a3, first + lane, step * side), a3.strides[0]
                    goals = at_row(target, first + lane, step * side), target.strides[0]
                    turn_error(outputs, goals, sigmoid, at(out, step * side * width + lane), at(totals, step * side))
    for k in range(k0, n):
        for lane in range(live):
            a = a3[first + lane, k]
            error = a - target[first + lane, k]
            delta = error * (a * (one - a)) if sigmoid else error
            out[k * width + lane] = delta
            totals[k] += delta
        for lane in range(live, width):
            out[k * width + lane] = 0


@helper
def sum_rows(hidden: Any, m: Any, p: Any) -> None:
    """Sum the activations of a block over its m rows; what the last panel has beyond them is set to 0."""
    a2, total = hidden
    width = PANEL_BYTES // a2.itemsize
    panels, narrow = (m + width - 1) // width, p * width
    if m < panels * width:
        set_lanes(at(a2, (panels - 1) * narrow), p, m - (panels - 1) * width, 0.0)
    clear(at(total, 0), p)
    add_sums((at(a2, 0), p), panels, at(total, 0))
