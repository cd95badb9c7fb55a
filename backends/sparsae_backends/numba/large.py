"""The passes of layers so wide that their weights are packed where they are used, a strip of rows at a time.

Three packed matrices are half as much memory again as the parameters, and are written and read back from memory in
each evaluation, by one thread.  A strip stays in cache while the panels of a block go by; each worker packs its own.

Imported by the kernel's constructor where weights are that large, since it imports numba.
"""

from __future__ import annotations

from typing import Any

from sparsae_backends._memory import ALIGNMENT
from sparsae_backends.numba.activations import sigmoid_slopes, sigmoids
from sparsae_backends.numba.compilation import entry_point, helper
from sparsae_backends.numba.emit import PANEL_BYTES, VECTORS, at, clear, part
from sparsae_backends.numba.gradients import add_block, panel_errors
from sparsae_backends.numba.helpers import sum_rows
from sparsae_backends.numba.lanes import set_lanes
from sparsae_backends.numba.passes import pack_matrix
from sparsae_backends.numba.tiles import multiply_rows
from sparsae_backends.numba.wide import products_of_wide


@helper
def multiply_strips(matrix: Any, scale: Any, bias: Any, inputs: Any, outputs: Any, m: int, room: Any) -> None:
    """C (matrix rows) = bias + A B for panels of m rows: A is the matrix (rows, columns), scaled; B has its columns."""
    rows, columns = matrix.shape
    width = PANEL_BYTES // inputs.itemsize
    panels, most = (m + width - 1) // width, (len(room) - ALIGNMENT) // columns
    strips = (rows + most - 1) // most
    for strip in range(strips):
        start, stop = strip * rows // strips, (strip + 1) * rows // strips
        pack_matrix(matrix[start:stop], scale, room)
        for panel in range(panels):
            here = panel * columns * width
            multiply_rows(
                (at(room, 0), at(bias, start)),
                (at(inputs, here), columns, at(inputs, here + columns * width)),
                (at(outputs, (panel * rows + start) * width), stop - start),
                m - panel * width,
            )


@entry_point
def encode_large(sizes: Any, x: Any, m: Any, weights: Any, hidden: Any, room: Any) -> None:
    """As `encode` of `passes.py`."""
    _, p, _, _ = sizes
    matrices, biases, scales = weights
    a2, _ = hidden
    width = PANEL_BYTES // a2.itemsize
    panels, narrow = (m + width - 1) // width, p * width
    multiply_strips(matrices[0], scales[0], biases[0], x, a2, m, room)
    for panel in range(panels):
        sigmoids(at(a2, panel * narrow), p)
    sum_rows(hidden, m, p)


@entry_point
def accumulate_large(
    sizes: Any, block: Any, weights: Any, hidden: Any, s: Any, one_pass: Any, scratch: Any, sums: Any
) -> None:
    """As `accumulate_wide`."""
    n, p, _, _ = sizes
    x, target, m = block
    matrices, biases, scales = weights
    a2, total = hidden
    room3, room2, room_q, strip, totals, room = scratch
    width = PANEL_BYTES // a2.itemsize
    panels, wide, narrow = (m + width - 1) // width, n * width, p * width
    x, d = part(x, 0, panels * wide), part(room3, 0, panels * wide)
    a2, delta2 = part(a2, 0, panels * narrow), part(room2, 0, panels * narrow)
    inputs, outputs, shifts = (a2, d), (d, delta2), (biases[1], s)
    clear(at(totals, 0), len(totals))
    squares = 0.0
    for layer in range(2):  # a loop, since numba inlines the packing wherever it stands
        multiply_strips(matrices[1 + layer], scales[1 + layer], shifts[layer], inputs[layer], outputs[layer], m, room)
        for panel in range(panels):
            live = m - panel * width
            if layer == 0:
                here, goal = part(d, panel * wide, wide), part(target, panel * wide, wide)
                squares += panel_errors(goal, sizes, live, here, totals)
            else:
                h, back = part(a2, panel * narrow, narrow), part(delta2, panel * narrow, narrow)
                if live < width:
                    set_lanes(at(back, 0), p, live, 0.0)
                sigmoid_slopes(at(back, 0), at(h, 0), p, at(totals, n * width // VECTORS))
    q = part(room_q, 0, panels * narrow if one_pass else 0)
    one = a2.dtype.type(1)
    for i in range(len(q)):
        q[i] = a2[i] * (one - a2[i])
    add_block(products_of_wide, sizes, (x, m), (a2, total), (d, delta2), q, one_pass, squares, (strip, totals), sums)
