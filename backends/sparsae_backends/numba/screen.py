"""Top-k units in float32 with half the product: bfloat16 numbers tell which units may be kept, float32 numbers decide.

Rounded to bfloat16, row x and weights w_j of a unit become x~ and w~_j, and by Cauchy and Schwarz

    |w_j x - w~_j x~|  <=  |w_j| |x - x~| + |w_j - w~_j| |x~|  <=  |w_j| (|x - x~| + rho |x~|)

with rho the largest |w_j - w~_j| / |w_j|.  With what rounding in the sums adds, z_j lies between the product of the
rounded numbers less and plus e_j = |w_j| slack + `ROUNDING` n |b_j|.  At least k units of a row reach the k-th largest
lower bound, so a unit whose upper bound is below it is not among the k largest.  The others, about 50 for k = 32 of
4,096, are computed from the numbers themselves, and the k largest of these are kept.

The errors of a row are in proportion to its length, so b2 is subtracted first and W1 b2 added to the biases: with a
pre-bias rows are short then, however far from 0 the data are.

The panel holds upper bounds: a tile's sums start at the unit's bias plus e_j.
Numbers that are not finite, and rows in which too many units may be kept (activations that differ by less than what is
uncertain), are computed whole: all of the block, so that results depend on the block alone.

Imported by the constructor of the top-k kernel, since it imports numba.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sparsae_backends.numba.compilation import entry_point, helper
from sparsae_backends.numba.emit import PANEL_BYTES, at, at_row, clear
from sparsae_backends.numba.lanes import to_panel
from sparsae_backends.numba.pairs import multiply_pairs, raise_lower_bounds, round_to_pairs
from sparsae_backends.numba.select import bound_of, bounds_of, collect, keep_largest, mark_bad
from sparsae_backends.numba.sparse import dot_product, fetch_bytes
from sparsae_backends.numba.topk import multiply_panel

ROUNDING = 2.0**-22  # times n: both sums round each of their terms at most twice, by at most 2^-24
LEAST_LENGTH = 2.0**-40  # with the next one: a product that is flushed to zero is less than what is uncertain anyway
LEAST_ERROR = 2.0**-50
CAREFUL = 1 + 2.0**-10  # lengths are rounded too
NEXT = 6  # units whose weights are asked for ahead


@entry_point
def round_weights(W1: Any, b1: Any, b2: Any, out: Any, word: Any, bounds: Any, tiles: Any) -> Any:
    """Pack the words of the weights in the order of the product; returns rho, which is NaN where not all are finite.

    bounds are start and length (p,) of `multiply_pairs`, tiles the largest length and shift of each tile.
    """
    p, n = W1.shape
    half = (n + 1) // 2
    starts, lengths, sums = bounds
    tile_lengths, tile_shifts = tiles
    rho, check = 0.0, 0.0
    for tile in range(len(tile_lengths)):
        start, stop = tile * p // len(tile_lengths), (tile + 1) * p // len(tile_lengths)
        height, most, shift = stop - start, 0.0, 0.0
        for unit in range(start, stop):
            round_to_pairs(at_row(W1, unit, 0), n, at(word, 0), at(sums, 0))
            place = start * half + unit - start
            for i in range(half):
                out[place + i * height] = word[i]
            length = max(math.sqrt(sums[0]) * CAREFUL, LEAST_LENGTH)
            rho = max(rho, (math.sqrt(sums[1]) * CAREFUL + LEAST_ERROR) / length)
            uncertain = abs(b1[unit]) * (ROUNDING * n)
            starts[unit] = b1[unit] + dot_product(at_row(W1, unit, 0), at(b2, 0), n) + uncertain
            lengths[unit] = length
            most, shift = max(most, length), max(shift, uncertain)
            check += (sums[0] + sums[1] + starts[unit]) * 0.0
        tile_lengths[tile], tile_shifts[tile] = 2 * CAREFUL * most, 2 * CAREFUL * shift
    return rho + check


@helper
def keep_possible(found: Any, lower: Any, unsure: Any, k: int) -> Any:
    """Keep the candidates of a row whose upper bound reaches the k-th largest lower bound; returns how many there are.

    found is (units, bits of upper bounds, place of the first, how many); lower is room for the lower bounds, and its
    bits; `unsure` are the row's slack, the units' lengths and biases, and what rounding adds to these.
    """
    units, upper, first, several = found
    lower, lower_bits = lower
    slack, lengths, b1, rounding = unsure
    many = first
    for i in range(several):
        unit = units[first + i]
        uncertain = lengths[unit] * slack + abs(b1[unit]) * rounding
        lower_bits[i] = upper[first + i]
        lower[i] -= (uncertain + uncertain) * CAREFUL
    bound = bound_of((at(lower_bits, 0), several), k)
    for i in range(first, first + several):
        units[many], upper[many] = units[i], upper[i]
        many += upper[i] >= bound
    return many - first


@helper
def round_rows(x: Any, first: int, live: int, b2: Any, margin: Any, room: Any) -> Any:
    """Write the words of a panel's rows, less b2, and their slack; returns 0, or NaN where not all are finite.

    room is (rows of words, slack, one row, two sums).
    """
    rho, far = margin
    rows, slack, shifted, sums = room
    n, check = x.shape[1], 0.0
    for lane in range(live):
        for i in range(n):
            shifted[i] = x[first + lane, i] - b2[i]
        round_to_pairs(at(shifted, 0), n, at_row(rows, lane, 0), at(sums, 0))
        length, error = math.sqrt(sums[0]) * CAREFUL, math.sqrt(sums[1]) * CAREFUL + LEAST_ERROR
        slack[lane] = CAREFUL * CAREFUL * (error + rho * (length + error) + ROUNDING * n * length + far)
        check += slack[lane] * 0.0
    return check


@helper
def bound_panel(words: Any, inputs: Any, z: Any, maxima: Any, grouped: int) -> None:
    """Write upper bounds of a panel's pre-activations, and of each group of units a lower bound that one reaches.

    inputs is (panel of words, how many columns, slack).
    """
    packed, starts, lengths, tile_lengths, tile_shifts = words
    x_panel, half, slack = inputs
    p, tiles, width = len(starts), len(tile_lengths), len(slack)
    clear(at(maxima, 0), len(maxima))
    for tile in range(tiles):
        start, stop = tile * p // tiles, (tile + 1) * p // tiles
        columns = at(z, start * width), stop - start
        tile_weights = at(packed, start * half), at(starts, start), at(lengths, start)
        multiply_pairs(tile_weights, (at(x_panel, 0), half, at(slack, 0)), columns)
        uncertain = at(slack, 0), tile_lengths[tile], tile_shifts[tile]
        raise_lower_bounds(columns, uncertain, at(maxima, tile // grouped * width))


@helper
def compute_possible(found: Any, exact: Any, x: Any, row: int, panel: Any) -> Any:
    """Compute the pre-activations of a row's candidates and keep those above 0; returns how many there are.

    found is as in `keep_possible`, exact are W1 and b1, panel is (z, its bits, place of the row in it).
    """
    units, bits, first, several = found
    W1, b1 = exact
    z, z_bits, lane = panel
    width, n, many, last = PANEL_BYTES // z.itemsize, x.shape[1], first, first + several
    for i in range(first, last):
        unit = units[i]
        if i + NEXT < last:
            fetch_bytes(at_row(W1, units[i + NEXT], 0), n * z.itemsize)
        place = unit * width + lane
        z[place] = b1[unit] + dot_product(at_row(W1, unit, 0), at_row(x, row, 0), n)
        units[many], bits[many] = unit, z_bits[place]
        many += z_bits[place] > 0
    return many - first


@entry_point
def encode_screened(
    sizes: Any, margin: Any, x: Any, weights: Any, words: Any, hidden: Any, scratch: Any, lists: Any
) -> Any:
    """As `encode_topk`; returns whether it could: otherwise what it wrote is to be written anew, without screening.

    sizes is (p, k, tiles in a group, how many units of a row may be looked at, on average over a panel, bits of
    -infinity); margin is (whether units are screened, rho, what rounding adds because of b2 for each length of
    weights); weights are W1, b1, b2 and, where units are not screened, packed W1; words are packed words of W1, start,
    length, and length and shift of tiles; scratch are z, its bits, maxima, rows of words of one panel, the panel, their
    slack, one row, two sums and three vectors (width,); lists are candidates, units and values as bits, and numbers of
    one row, also as bits.
    """
    p, k, grouped, most, minus_infinity = sizes
    screened, rho, far = margin
    W1, b1, b2, packed = weights
    lengths = words[2]
    units, values, counts, total = hidden
    z, z_bits, maxima, rows, x_panel, slack, shifted, sums, low, count, bad = scratch
    found, found_bits, lower, lower_bits = lists
    m, n = x.shape
    rounding = z.dtype.type(ROUNDING * n)
    width = PANEL_BYTES // z.itemsize
    room = len(found) // width
    clear(at(total, 0), p)
    for first in range(0, m, width):
        live = min(width, m - first)
        clear(at(bad, 0), width)
        if screened and round_rows(x, first, live, b2, (rho, far), (rows, slack, shifted, sums)) != 0:  # NaN
            return False
        to_panel(rows[:live] if screened else x[first : first + live], 0, at(x_panel, 0))
        if screened:
            bound_panel(words, (x_panel, (n + 1) // 2, slack), z, maxima, grouped)
        else:
            multiply_panel((packed, b1), x_panel, n, (z, z_bits, maxima), grouped, minus_infinity, bad)
        bounds_of((at(maxima, 0), len(maxima) // width), k, at(low, 0))
        for lane in range(live, width):
            low[lane] = 0x7FFFFFFF  # there is no row
        collect((at(z_bits, 0), p), at(low, 0), (at(found, 0), at(found_bits, 0), room), at(count, 0))
        candidates = 0
        for lane in range(live):
            candidates += count[lane]
        if screened and candidates > most * live:
            return False
        for lane in range(live):
            row, start, many = first + lane, lane * room, np.intp(count[lane])
            if screened:
                unsure = slack[lane], lengths, b1, rounding
                if many > k:
                    many = keep_possible((found, found_bits, start, many), (lower, lower_bits), unsure, k)
                many = compute_possible((found, found_bits, start, many), (W1, b1), x, row, (z, z_bits, lane))
            kept = at(units, row * k), at(values, row * k), at(total, 0)
            many = keep_largest((at(found, start), at(found_bits, start), many), k, at(z, lane), kept)
            counts[row] = mark_bad(many, bad[lane], kept)
    return True
