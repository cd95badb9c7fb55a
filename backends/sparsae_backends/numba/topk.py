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

from sparsae_backends.numba.compilation import entry_point, helper
from sparsae_backends.numba.emit import PANEL_BYTES, VECTORS, at, at_row
from sparsae_backends.numba.helpers import to_panel
from sparsae_backends.numba.lanes import add_in_any_order, power_of_two, turn
from sparsae_backends.numba.select import bounds_of, collect, keep_row
from sparsae_backends.numba.sparse import (
    BROAD,
    dot_product,
    fetch_bytes,
    mark_negative_nan,
    put_turned,
    raise_maxima,
    sum_of_rows,
)
from sparsae_backends.numba.tiles import TALL, multiply

AHEAD = 8  # units whose sums are asked for ahead
LOG2E = 1.4426950408889634


@entry_point
def encode_topk(sizes: Any, x: Any, weights: Any, hidden: Any, scratch: Any, lists: Any) -> None:
    """Units, values and numbers of active units of each row, and the sum of the activations over the rows.

    sizes is (p, k, tiles in a group, bits of -infinity); scratch are z, its bits, maxima (0: the units themselves),
    one panel of x, and five vectors (width,); lists are candidates: units, values as bits.
    """
    p, k, grouped, minus_infinity = sizes
    W1, b1 = weights
    units, values, counts, total = hidden
    z, z_bits, maxima, x_panel, low, high, middle, count, bad = scratch
    found, found_bits = lists
    m, n = x.shape
    width = PANEL_BYTES // z.itemsize
    tiles, room = (p + TALL - 1) // TALL, len(found) // width
    total[:] = 0
    for first in range(0, m, width):
        to_panel(x, first, x_panel)
        bad[:] = 0
        maxima[:] = 0
        for tile in range(tiles):
            start, stop = tile * p // tiles, (tile + 1) * p // tiles
            multiply(
                (at(W1, start * n), at(b1, start)),
                (at(x_panel, 0), n, at(x_panel, 0)),
                (at(z, start * width), stop - start),
            )
            columns, group = (at(z_bits, start * width), stop - start), tile // grouped
            raise_maxima(columns, at(maxima, group * width))
            mark_negative_nan(columns, minus_infinity, at(bad, 0))
        looked_at, many_of_them = at(maxima, 0), len(maxima) // width
        if grouped == tiles:
            looked_at, many_of_them = at(z_bits, 0), p
        bounds_of(looked_at, many_of_them, k, low, high, middle, count)
        collect(z_bits, low, found, found_bits, count)
        for lane in range(min(width, m - first)):
            row, start = first + lane, lane * room
            many = count[lane]
            stop, panel, kept = start + many, (z, width, lane), (units, values, total)
            many = keep_row(row, k, found[start:stop], found_bits[start:stop], panel, kept)
            if bad[lane] != 0:
                units[row * k], many = 0, max(many, 1)
                values[row * k] = z.dtype.type(1) - z.dtype.type(1) / z.dtype.type(0)
            counts[row] = many


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
    """Write b2 + sum of a2 W2'[unit], padded, to `d`; terms are (units, values)."""
    units, values = terms
    lanes = PANEL_BYTES // VECTORS // d.itemsize
    wide = len(d)
    registers = wide // lanes
    strips = (registers + BROAD - 1) // BROAD
    for strip in range(strips):
        first, last = strip * registers // strips, (strip + 1) * registers // strips
        sum_of_rows(
            at(b2, first * lanes), (at(values, 0), at(units, 0), len(units)), (at(W2_back, first * lanes), wide),
            at(d, first * lanes), last - first,
        )  # fmt: skip


@helper
def row_error(d: Any, target: Any, sigmoid: bool) -> Any:
    """From z (or a3, where linear) to delta3 in one row; returns its squared error."""
    one, squares = d.dtype.type(1), d.dtype.type(0)
    if sigmoid:
        for i in range(len(target)):
            e = power_of_two(d[i] * d.dtype.type(-LOG2E))
            a3 = one / (one + e)
            error = a3 - target[i]
            d[i] = error * (e * a3 * a3)
            squares = add_in_any_order(squares, error * error)
    else:
        for i in range(len(target)):
            error = d[i] - target[i]
            d[i] = error
            squares = add_in_any_order(squares, error * error)
    for i in range(len(target), len(d)):
        d[i] = 0
    return squares


@helper
def sort_by_unit(rows: int, k: int, hidden: Any, delta2: Any, starts: Any, pairs: Any) -> None:
    """Counting sort of a block's pairs: those of unit j are starts[j] to starts[j + 1], rows ascending."""
    units, values, counts = hidden
    pair_rows, pair_values, pair_delta2 = pairs
    starts[:] = 0
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
def copy_strip(matrix: Any, first: int, live: int, wide: int, strip: Any) -> None:
    """Copy `live` columns of a matrix together, padded with zeros to `wide`."""
    for row in range(len(matrix)):
        here, given = strip[row * wide : (row + 1) * wide], matrix[row, first : first + live]
        for i in range(live):
            here[i] = given[i]
        for i in range(live, wide):
            here[i] = 0


@helper
def sums_of_strip(factors: Any, pair_rows: Any, starts: Any, strip: Any, out: Any, zeros: Any) -> None:
    """out[unit] = sum over the pairs of the unit of factor strip[row], for one strip of columns, rows of `wide`."""
    wide = len(zeros)
    registers = wide * zeros.itemsize * VECTORS // PANEL_BYTES
    for unit in range(len(starts) - 2):
        first, last = starts[unit], starts[unit + 1]
        sum_of_rows(
            at(zeros, 0), (at(factors, first), at(pair_rows, first), last - first), (at(strip, 0), wide),
            at(out, unit * wide), registers,
        )  # fmt: skip


@helper
def add_rows(found: Any, p: int, broad: int, live: int, out: Any, row_step: int, add: bool) -> None:
    """Add, or write, the first `live` columns of a strip (p, broad) to the first of the rows that `out` starts with."""
    for unit in range(p):
        into, here = out[unit * row_step : unit * row_step + live], found[unit * broad : unit * broad + live]
        fetch_bytes(at(out, (unit + AHEAD) * row_step), live * out.itemsize)
        if add:
            for i in range(live):
                into[i] += here[i]
        else:
            for i in range(live):
                into[i] = here[i]


@helper
def add_turned(found: Any, p: int, broad: int, live: int, out: Any, add: bool) -> None:
    """Add, or write, the first `live` columns of a strip (p, broad) to as many rows (p,) that `out` starts with."""
    side = PANEL_BYTES // VECTORS // found.itemsize
    for column in range(0, live, side):
        whole = p // side * side if column + side <= live else 0
        for unit in range(0, whole, side):
            put_turned((at(found, unit * broad + column), broad), (at(out, column * p + unit), p), add)
        for i in range(column, min(column + side, live)):
            for unit in range(whole, p):
                before = out[i * p + unit] if add else out.dtype.type(0)
                out[i * p + unit] = before + found[unit * broad + i]


@helper
def add_row_errors(sizes: Any, block: Any, weights: Any, hidden: Any, s: Any, room: Any, out: Any) -> Any:
    """Decode the rows, write delta3 and delta2, and add what these give to the biases; returns the squared error.

    room is (D, delta2, sum of D over the rows), out (fired, b1).
    """
    _, k, sigmoid = sizes
    x, target = block
    W2_back, b2 = weights
    units, values, counts = hidden
    D, delta2, total3 = room
    fired, out_b1 = out
    m, wide, squares = len(x), len(b2), 0.0
    total3[:] = 0
    for row in range(m):
        first, last = row * k, row * k + counts[row]
        if row + 1 < m:
            for i in range((row + 1) * k, (row + 1) * k + counts[row + 1]):
                fetch_bytes(at(W2_back, units[i] * wide), wide * D.itemsize)
        d = D[row]
        decode_row((units[first:last], values[first:last]), W2_back, b2, d)
        squares += row_error(d, target[row], sigmoid)
        for i in range(wide):
            total3[i] += d[i]
        for i in range(first, last):
            unit = units[i]
            delta2[i] = dot_product(at(d, 0), at(W2_back, unit * wide), wide) + s[unit]
            fired[unit] += 1
            out_b1[unit] += delta2[i]
    return squares


@entry_point
def accumulate_topk(
    sizes: Any, block: Any, weights: Any, hidden: Any, s: Any, scratch: Any, pairs: Any, sums: Any
) -> None:
    """Add a block's sums to a vector that `layout` describes.

    sizes is (p, k, whether the output is sigmoid); scratch are D, delta2, a strip, sums of a strip, zeros of a strip,
    and the sum of D over the rows; pairs are starts (p + 2,), rows, values and delta2.
    """
    p, k, _ = sizes
    x, _ = block
    units, values, counts, total = hidden
    D, delta2, strip, found, zeros, total3 = scratch
    starts, pair_rows, pair_values, pair_delta2 = pairs
    out, layout = sums
    at_rows, at_squares, at_hidden, at_fired, _, at_W1, at_W2, at_b1, at_b2, _, _, _, _ = layout
    m, n = x.shape
    lists, wide, add = (units, values, counts), len(total3), out[at_rows] > 0
    per_unit = out[at_fired : at_fired + p], out[at_b1 : at_b1 + p]
    out[at_rows] += m
    out[at_squares] += add_row_errors(sizes, block, weights, lists, s, (D, delta2, total3), per_unit)
    for unit in range(p):
        out[at_hidden + unit] += total[unit]
    for i in range(n):
        out[at_b2 + i] += total3[i]
    sort_by_unit(m, k, lists, delta2, starts, (pair_rows, pair_values, pair_delta2))
    for first in range(0, wide, len(zeros)):
        broad = min(len(zeros), wide - first)
        live = min(broad, n - first)
        copy_strip(x, first, live, broad, strip)
        sums_of_strip(pair_delta2, pair_rows, starts, strip, found, zeros[:broad])
        add_rows(found, p, broad, live, out[at_W1 + first :], n, add)
        copy_strip(D[:m], first, broad, broad, strip)
        sums_of_strip(pair_values, pair_rows, starts, strip, found, zeros[:broad])
        add_turned(found, p, broad, live, out[at_W2 + first * p :], add)
