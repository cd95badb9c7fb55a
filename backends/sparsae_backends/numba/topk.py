"""The compiled passes of top-k units; `select.py` finds the largest, `__init__.py` has the picture of panels.

Only the product of the encoder is dense.  A block's activations are lists: for each row at most k units, in ascending
order, and their values.  The decoder and all gradients cost O(m k n):

    a3[row]        = b2 + sum over the units of a row of   a2 W2'[unit]        one row after the other
    delta2         = delta3[row] W2'[unit] + s                                while these rows of W2' are in cache
    dW1[unit]      = sum over the rows of a unit of  delta2 x[row]            pairs (row, unit) sorted by unit,
    dW2'[unit]     = sum over the rows of a unit of  a2 delta3[row]           a strip of columns at a time

A strip of x or delta3 is copied together first, so that all rows of a block stay in the second-level cache.
Matrices are in C order; rows of D (delta3), W2' and strips are padded with zeros to whole registers.

Imported by the constructor of the top-k kernel, since it imports numba.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from sparsae_backends.numba.compilation import entry_point, helper
from sparsae_backends.numba.emit import PANEL_BYTES, VECTORS, at, at_row, clear, moved
from sparsae_backends.numba.lanes import to_panel, turn
from sparsae_backends.numba.rows import add_number, add_numbers, copy_rows, put_turned, row_errors
from sparsae_backends.numba.select import bounds_of, collect, keep_largest, mark_bad
from sparsae_backends.numba.sparse import BROAD, dot_product, fetch_bytes, mark_negative_nan, raise_maxima, sum_of_rows
from sparsae_backends.numba.tiles import TALL, multiply

AHEAD = 8  # units whose sums are asked for ahead


@helper
def multiply_panel(weights: Any, x_panel: Any, n: int, z: Any, grouped: int, minus_infinity: int, marks: Any) -> None:
    """Write the pre-activations of a panel, and the maximum of each group of units.

    weights are packed W1 and b1; z is (z, its bits, maxima), marks (width,) become -1 in rows with a negative NaN.
    """
    W1, b1 = weights
    z, z_bits, maxima = z
    p, width = len(b1), len(marks)
    tiles = (p + TALL - 1) // TALL
    clear(at(maxima, 0), len(maxima))
    for tile in range(tiles):
        start, stop = tile * p // tiles, (tile + 1) * p // tiles
        inputs = at(x_panel, 0), n, at(x_panel, 0)
        multiply((at(W1, start * n), at(b1, start)), inputs, (at(z, start * width), stop - start))
        columns = at(z_bits, start * width), stop - start
        raise_maxima(columns, at(maxima, tile // grouped * width))
        mark_negative_nan(columns, minus_infinity, at(marks, 0))


@entry_point
def encode_topk(sizes: Any, x: Any, weights: Any, hidden: Any, scratch: Any, lists: Any) -> None:
    """Units, values and numbers of active units of each row, and the sum of the activations over the rows.

    sizes is (p, k, tiles in a group, bits of -infinity); scratch are z, its bits, maxima (0: the units themselves),
    one panel of x, and three vectors (width,); lists are candidates: units, values as bits.
    """
    p, k, grouped, minus_infinity = sizes
    units, values, counts, total = hidden
    z, z_bits, maxima, x_panel, low, count, bad = scratch
    found, found_bits = lists
    m, n = x.shape
    width = PANEL_BYTES // z.itemsize
    room = len(found) // width
    clear(at(total, 0), p)
    for first in range(0, m, width):
        to_panel(x, first, at(x_panel, 0))
        clear(at(bad, 0), width)
        multiply_panel(weights, x_panel, n, (z, z_bits, maxima), grouped, minus_infinity, bad)
        alone = grouped * TALL >= p  # units themselves are looked at
        looked_at = at(z_bits, 0) if alone else at(maxima, 0), p if alone else len(maxima) // width
        bounds_of(looked_at, k, at(low, 0))
        collect((at(z_bits, 0), p), at(low, 0), (at(found, 0), at(found_bits, 0), room), at(count, 0))
        for lane in range(min(width, m - first)):
            row, start, many = first + lane, lane * room, np.intp(count[lane])
            kept = at(units, row * k), at(values, row * k), at(total, 0)
            many = keep_largest((at(found, start), at(found_bits, start), many), k, at(z, lane), kept)
            counts[row] = mark_bad(many, bad[lane], kept)


@entry_point
def transpose(matrix: Any, out: Any) -> None:
    """Write the transposed matrix, both in C order, to `out`; columns that it has more become 0."""
    rows, columns = matrix.shape
    side = PANEL_BYTES // VECTORS // out.itemsize
    whole = rows // side * side
    for column in range(0, columns // side * side, side):
        for row in range(0, whole, side):
            turn((at_row(matrix, row, column), matrix.strides[0]), (at_row(out, column, row), out.shape[1]))
        for j in range(column, column + side):
            for row in range(whole, rows):
                out[j, row] = matrix[row, j]
    for j in range(columns // side * side, columns):
        for row in range(rows):
            out[j, row] = matrix[row, j]
    out[:, rows:] = 0


@helper
def decode_row(terms: Any, W2_back: Any, b2: Any, d: Any) -> None:
    """Write b2 + sum of a2 W2'[unit], padded, to `d`; terms are (values, units, how many), all but b2 addresses."""
    lanes = PANEL_BYTES // VECTORS // b2.itemsize
    wide = len(b2)
    registers = wide // lanes
    strips = (registers + BROAD - 1) // BROAD
    for strip in range(strips):
        first, last = strip * registers // strips, (strip + 1) * registers // strips
        place = first * lanes
        sum_of_rows(at(b2, place), terms, (moved(W2_back, place), wide), moved(d, place), last - first)


@helper
def sort_by_unit(rows: int, k: int, hidden: Any, delta2: Any, starts: Any, pairs: Any) -> None:
    """Counting sort of a block's pairs: those of unit j are starts[j] to starts[j + 1], rows ascending."""
    units, values, counts = hidden
    pair_rows, pair_values, pair_delta2 = pairs
    clear(at(starts, 0), len(starts))
    for row in range(rows):
        for i in range(row * k, row * k + counts[row]):
            starts[units[i] + 2] += 1
    for unit in range(2, len(starts)):
        starts[unit] += starts[unit - 1]
    for row in range(rows):
        for i in range(row * k, row * k + counts[row]):
            place = starts[units[i] + 1]
            starts[units[i] + 1] += 1
            pair_rows[place] = row
            pair_values[place] = values[i]
            pair_delta2[place] = delta2[i]


@helper
def sums_of_strip(factors: Any, pair_rows: Any, starts: Any, strip: Any, found: Any, zeros: Any, wide: int) -> None:
    """found[unit] = sum over the pairs of the unit of factor strip[row], for one strip of columns, rows of `wide`."""
    registers = wide * zeros.itemsize * VECTORS // PANEL_BYTES
    for unit in range(len(starts) - 2):
        first, last = starts[unit], starts[unit + 1]
        sum_of_rows(
            at(zeros, 0), (at(factors, first), at(pair_rows, first), last - first), (at(strip, 0), wide),
            at(found, unit * wide), registers,
        )  # fmt: skip


@helper
def add_rows(found: Any, p: int, broad: int, live: int, out: Any, row_step: int, add: bool) -> None:
    """Add, or write, the first `live` columns of a strip (p, broad) to the first of the rows that `out` starts with."""
    sums, double, first = out
    size = 8 if double else 4
    for unit in range(p):
        place = first + unit * row_step
        fetch_bytes(moved(sums, (place + AHEAD * row_step) * size), live * size)
        add_numbers((at(found, unit * broad), 1, live), (sums, double, place), add)


@helper
def add_turned(found: Any, p: int, broad: int, live: int, out: Any, add: bool) -> None:
    """Add, or write, the first `live` columns of a strip (p, broad) to as many rows (p,) that `out` starts with."""
    sums, double, first = out
    side = PANEL_BYTES // VECTORS // found.itemsize
    for column in range(0, live, side):
        whole = p // side * side if column + side <= live else 0
        for unit in range(0, whole, side):
            square = at(found, unit * broad + column), broad
            put_turned(square, (sums, double, first + column * p + unit), p, add)
        for i in range(column, min(column + side, live)):
            rest = at(found, whole * broad + i), broad, p - whole
            add_numbers(rest, (sums, double, first + i * p + whole), add)


@helper
def row_sums(sizes: Any, block: Any, weights: Any, hidden: Any, s: Any, room: Any) -> Any:
    """Decode the rows, write delta3 and delta2; returns the squared error.

    room is (D, delta2, sum of D over the rows).
    """
    _, k, sigmoid = sizes
    x, target = block
    W2_back, b2 = weights
    units, values, counts = hidden
    D, delta2, total3 = room
    (m, n), wide, squares = x.shape, len(b2), 0.0
    clear(at(total3, 0), wide)
    for row in range(m):
        first, last = row * k, row * k + counts[row]
        if row + 1 < m:
            for i in range((row + 1) * k, (row + 1) * k + counts[row + 1]):
                fetch_bytes(at(W2_back, units[i] * wide), wide * D.itemsize)
        d = at_row(D, row, 0)
        decode_row((at(values, first), at(units, first), last - first), at(W2_back, 0), b2, d)
        squares += row_errors(d, at_row(target, row, 0), n, sigmoid)
        for i in range(wide):
            total3[i] += D[row, i]
        for i in range(first, last):
            delta2[i] = dot_product(d, at(W2_back, units[i] * wide), wide) + s[units[i]]
    return squares


@entry_point
def accumulate_topk(
    sizes: Any, block: Any, weights: Any, hidden: Any, s: Any, scratch: Any, pairs: Any, sums: Any
) -> None:
    """Add a block's sums to a vector that `layout` describes.

    sizes is (p, k, whether the output is sigmoid); scratch are D, delta2, a strip, sums of a strip, zeros of a strip,
    and the sum of D over the rows; pairs are starts (p + 2,), rows, values and delta2; sums are (bytes of the vector,
    whether it is of float64, whether there are sums in it, layout).
    """
    p, k, _ = sizes
    x, _ = block
    units, values, counts, total = hidden
    D, delta2, strip, found, zeros, total3 = scratch
    starts, pair_rows, pair_values, pair_delta2 = pairs
    vector, double, add, layout = sums
    at_rows, at_squares, at_hidden, at_fired, _, at_W1, at_W2, at_b1, at_b2, _, _, _, _ = layout
    m, n = x.shape
    lists, wide, out = (units, values, counts), len(total3), at(vector, 0)
    add_number(m, (out, double, at_rows))
    squares = row_sums(sizes, block, weights, lists, s, (D, delta2, total3))
    add_number(squares, (out, double, at_squares))
    add_numbers((at(total, 0), 1, p), (out, double, at_hidden), True)
    add_numbers((at(total3, 0), 1, n), (out, double, at_b2), True)
    sort_by_unit(m, k, lists, delta2, starts, (pair_rows, pair_values, pair_delta2))
    for unit in range(p):
        added = 0.0
        for i in range(starts[unit], starts[unit + 1]):
            added += pair_delta2[i]
        add_number(starts[unit + 1] - starts[unit], (out, double, at_fired + unit))
        add_number(added, (out, double, at_b1 + unit))
    for first in range(0, wide, len(zeros)):
        broad = min(len(zeros), wide - first)
        live = min(broad, n - first)
        copy_rows((at_row(x, 0, first), x.strides[0]), (m, live, broad), at(strip, 0))
        sums_of_strip(pair_delta2, pair_rows, starts, strip, found, zeros, broad)
        add_rows(found, p, broad, live, (out, double, at_W1 + first), n, add)
        copy_rows((at_row(D, 0, first), D.strides[0]), (m, broad, broad), at(strip, 0))
        sums_of_strip(pair_values, pair_rows, starts, strip, found, zeros, broad)
        add_turned(found, p, broad, live, (out, double, at_W2 + first * p), add)
