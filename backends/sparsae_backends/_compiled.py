"""The passes of the `numba` backend, compiled; `_emit.py` tells of panels, `_tiles.py` of tiles.

Imported by the kernel's constructor, since it imports numba.
Arrays are flat and contiguous; `width` is the number of rows in a panel, n and p the numbers of units.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types

from sparsae_backends._emit import BROAD, HIGH, SQUARE, TALL, VECTORS
from sparsae_backends._lanes import add_in_any_order, column_sum, fetch, power_of_two, turn, turn_error
from sparsae_backends._tiles import gram, gram_of_rows, product


def _compile(function: Callable[..., Any]) -> Any:
    """Compile when first called; fast, without the GIL, NaN kept, and remembered on disk where that can be written.

    numba remembers beside this file or, where that is read-only, in the user's cache folder or ``NUMBA_CACHE_DIR``.
    """
    options = {"nogil": True, "error_model": "numpy", "fastmath": {"contract"}}
    try:
        return njit(cache=True, **options)(function)
    except RuntimeError:  # no folder can be written: compile anew in each process
        return njit(**options)(function)


@_compile
def multiply(A: Any, B: Any, b0: int, depth: int, bias: Any, C: Any, c0: int, rows: int, width: int) -> None:
    """C = bias + A B for one panel: `rows` columns of C from `depth` columns of B."""
    tiles = (rows + TALL - 1) // TALL
    i0 = 0
    for tile in range(tiles):
        i1 = (tile + 1) * rows // tiles
        product(A, i0 * depth, i1 - i0, B, b0, depth, bias, i0, C, c0 + i0 * width)
        i0 = i1


@_compile
def add_gram(
    A: Any, rows: int, B: Any, columns: int, panels: int, C: Any, c0: int, c_rows: int, c_columns: int, width: int
) -> None:
    """C[i, k] += sum over all rows of A[i] B[k]; B is taken in chunks of columns that stay in cache."""
    chunks = (columns + 20 * SQUARE - 1) // (20 * SQUARE)
    row_tiles = (rows + SQUARE - 1) // SQUARE
    start = 0
    for chunk in range(chunks):
        stop = (chunk + 1) * columns // chunks
        tiles = (stop - start + SQUARE - 1) // SQUARE
        i0 = 0
        for row_tile in range(row_tiles):
            i1 = (row_tile + 1) * rows // row_tiles
            k0 = start
            for tile in range(tiles):
                k1 = start + (tile + 1) * (stop - start) // tiles
                corner = c0 + i0 * c_rows + k0 * c_columns
                a_step, b_step = rows * width, columns * width
                gram(
                    A, i0 * width, i1 - i0, a_step, B, k0 * width, k1 - k0, b_step, panels, C, corner, c_rows, c_columns
                )
                k0 = k1
            i0 = i1
        start = stop


@_compile
def add_gram_of_rows(A: Any, rows: int, x: Any, first: int, live: int, C: Any, c0: int, width: int) -> None:
    """C[i, k] += sum over `live` rows of x of A[i] x[:, k]; the columns of x fill whole registers."""
    columns, side = x.shape[1], width // VECTORS
    row_tiles, tiles = (rows + HIGH - 1) // HIGH, (columns // side + BROAD - 1) // BROAD
    i0 = 0
    for row_tile in range(row_tiles):
        i1 = (row_tile + 1) * rows // row_tiles
        v0 = 0
        for tile in range(tiles):
            v1 = (tile + 1) * (columns // side) // tiles
            corner = c0 + i0 * columns
            gram_of_rows(A, i0 * width, i1 - i0, rows * width, x, first, live, v0 * side, v1 - v0, C, corner, columns)
            v0 = v1
        i0 = i1


@_compile
def to_panels(x: Any, out: Any, width: int) -> None:
    """Put the rows of a matrix in the lanes of panels; lanes without a row are 0."""
    m, n = x.shape
    for panel in range((m + width - 1) // width):
        to_panel(x, panel * width, out, panel * width * n, width)


@_compile
def to_panel(x: Any, first: int, out: Any, base: int, width: int) -> None:
    """Put the rows from `first` on in the lanes of one panel."""
    m, n = x.shape
    live, side, k0 = min(width, m - first), width // VECTORS, 0
    if live == width and x.strides[1] == x.itemsize:
        k0 = n // side * side
        for k in range(0, k0, side):
            for lane in range(0, width, side):
                turn(x, first + lane, k, out, base + k * width + lane)
    for k in range(k0, n):
        for lane in range(live):
            out[base + k * width + lane] = x[first + lane, k]
        for lane in range(live, width):
            out[base + k * width + lane] = 0


@_compile
def clear_lanes(a: Any, start: int, columns: int, live: int, width: int) -> None:
    """Set the lanes of a panel that have no row to 0."""
    for column in range(columns):
        for lane in range(live, width):
            a[start + column * width + lane] = 0


@_compile
def add_sums(A: Any, columns: int, panels: int, out: Any, start: int, width: int) -> None:
    """Add the sum of each column over all rows to out[start:]."""
    for column in range(columns):
        out[start + column] += column_sum(A, column * width, columns * width, panels)


@_compile
def encode(x: Any, m: int, weights: Any, a2: Any, total: Any, n: int, p: int, width: int) -> None:
    """a2 = 1 / (1 + 2^z) with z folded, and its sum over the rows."""
    one = a2.dtype.type(1)
    panels, wide, narrow = (m + width - 1) // width, n * width, p * width
    W1, b1 = weights[: p * n], weights[p * n : p * n + p]
    for panel in range(panels):
        multiply(W1, x, panel * wide, n, b1, a2, panel * narrow, p, width)
        here = a2[panel * narrow : (panel + 1) * narrow]  # indices without an offset are what lets loops vectorise
        for i in range(len(here)):
            here[i] = one / (one + power_of_two(here[i]))
    if m < panels * width:
        clear_lanes(a2, (panels - 1) * narrow, p, m - (panels - 1) * width, width)
    total[:] = 0
    add_sums(a2, p, panels, total, 0, width)


@_compile
def output_error(d: Any, target: Any, sigmoid: bool) -> Any:
    """From z to delta3 in one panel; returns the squared error of all its lanes."""
    one, squares = d.dtype.type(1), d.dtype.type(0)
    if sigmoid:
        for i in range(len(d)):
            e = power_of_two(d[i])
            a3 = one / (one + e)
            error = a3 - target[i]
            d[i] = error * (e * a3 * a3)
            squares = add_in_any_order(squares, error * error)
    else:
        for i in range(len(d)):
            error = d[i] - target[i]
            d[i] = error
            squares = add_in_any_order(squares, error * error)
    return squares


@_compile
def squares_alive(d: Any, target: Any, live: int, width: int, sigmoid: bool) -> float:
    """Squared error of the lanes that have a row, from z in one panel."""
    one, squares = d.dtype.type(1), 0.0
    for i in range(len(d)):
        if i % width < live:
            a3 = one / (one + power_of_two(d[i])) if sigmoid else d[i]
            squares += (a3 - target[i]) ** 2
    return squares


@_compile
def error_to_panel(a3: Any, target: Any, first: int, stop: int, sigmoid: bool, out: Any, base: int, width: int) -> None:
    """Put delta3 of the rows from `first` to `stop` in the lanes of one panel, as `to_panel` does.

    Rows two panels on are asked for meanwhile, one after the other: many requests at once would have to queue.
    """
    m, n = a3.shape
    one = out.dtype.type(1)
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
                    place = base + step * side * width + lane
                    turn_error(a3, target, first + lane, step * side, sigmoid, out, place)
    for k in range(k0, n):
        for lane in range(live):
            a = a3[first + lane, k]
            error = a - target[first + lane, k]
            out[base + k * width + lane] = error * (a * (one - a)) if sigmoid else error
        for lane in range(live, width):
            out[base + k * width + lane] = 0


@_compile
def hidden_error(delta2: Any, a2: Any) -> None:
    """delta2 = (delta3 W2 + s) a2 (1 - a2) in one panel; the bracket is given."""
    one = a2.dtype.type(1)
    for i in range(len(a2)):
        delta2[i] *= a2[i] * (one - a2[i])


@_compile
def slopes(q: Any, a2: Any) -> None:
    """Q = a2 (1 - a2)."""
    one = a2.dtype.type(1)
    for i in range(len(q)):
        q[i] = a2[i] * (one - a2[i])


@_compile
def accumulate(
    x: Any, target: Any, m: int, weights: Any, a2: Any, total: Any, s: Any, scratch: Any, out: Any,
    n: int, p: int, width: int, sigmoid: bool, one_pass: bool,
) -> None:  # fmt: skip
    """Add a block's sums to `out`, a vector laid out like `Sums`."""
    w, panels, wide, narrow = p * n, (m + width - 1) // width, n * width, p * width
    W2, b2, W2_back = weights[w + p : 2 * w + p], weights[2 * w + p : 2 * w + p + n], weights[2 * w + p + n :]
    d, delta2, q = scratch[: panels * wide], scratch[panels * wide :], scratch[panels * (wide + narrow) :]
    for panel in range(panels):
        multiply(W2, a2, panel * narrow, p, b2, d, panel * wide, n, width)
        live = m - panel * width
        here, goal = d[panel * wide : (panel + 1) * wide], target[panel * wide : (panel + 1) * wide]
        if live >= width:
            out[1] += output_error(here, goal, sigmoid)
        else:
            out[1] += squares_alive(here, goal, live, width, sigmoid)
            output_error(here, goal, sigmoid)
            clear_lanes(here, 0, n, live, width)
        multiply(W2_back, d, panel * wide, n, s, delta2, panel * narrow, p, width)
        hidden_error(delta2[panel * narrow : (panel + 1) * narrow], a2[panel * narrow : (panel + 1) * narrow])
    out[0] += m
    for j in range(p):
        out[2 + j] += total[j]
    gradients(x, a2, d, delta2, panels, out, n, p, width)
    if one_pass:
        q = q[: panels * narrow]
        slopes(q, a2)
        start = 2 + 2 * p + 2 * w + n
        add_gram(q, p, x, n, panels, out, start, n, 1, width)
        add_sums(q, p, panels, out, start + w, width)


@_compile
def gradients(x: Any, a2: Any, d: Any, delta2: Any, panels: int, out: Any, n: int, p: int, width: int) -> None:
    """Add the gradient sums of some panels to `out`, a vector laid out like `Sums`."""
    add_gram(delta2, p, x, n, panels, out, 2 + p, n, 1, width)
    other_gradients(a2, d, delta2, panels, out, n, p, width)


@_compile
def other_gradients(a2: Any, d: Any, delta2: Any, panels: int, out: Any, n: int, p: int, width: int) -> None:
    """Add the gradient sums but that of W1."""
    w = p * n
    add_sums(delta2, p, panels, out, 2 + p + w, width)
    add_gram(a2, p, d, n, panels, out, 2 + p + w + p, 1, p, width)
    add_sums(d, n, panels, out, 2 + p + w + p + w, width)


@_compile
def backprop(
    a1: Any, a2: Any, a3: Any, target: Any, W2_back: Any, s: Any, scratch: Any, out: Any,
    n: int, p: int, width: int, rows: int, sigmoid: bool,
) -> None:  # fmt: skip
    """Add the gradient sums for given activations to a vector laid out like `Sums`, `rows` rows at a time."""
    wide, narrow = n * width, p * width
    as_they_are = n % (width // VECTORS) == 0 and a1.strides[1] == a1.itemsize
    for start in range(0, len(a1), rows):
        stop = min(start + rows, len(a1))
        panels = (stop - start + width - 1) // width
        d, h, delta2 = scratch[: panels * wide], scratch[panels * wide :], scratch[panels * (wide + narrow) :]
        for panel in range(panels):
            first, to_wide, to_narrow = panel * width, panel * wide, panel * narrow
            for row in range(min(start + first + 2 * width, len(a1)), min(start + first + 3 * width, len(a1))):
                fetch(a2, row)
            to_panel(a2[start:stop], first, h, to_narrow, width)
            error_to_panel(a3, target, start + first, stop, sigmoid, d, to_wide, width)
            multiply(W2_back, d, to_wide, n, s, delta2, to_narrow, p, width)
            hidden_error(delta2[to_narrow : to_narrow + narrow], h[to_narrow : to_narrow + narrow])
        if as_they_are:
            add_gram_of_rows(delta2, p, a1, start, stop - start, out, 2 + p, width)
        else:
            x = scratch[panels * (wide + 2 * narrow) :]
            to_panels(a1[start:stop], x, width)
            add_gram(delta2, p, x, n, panels, out, 2 + p, n, 1, width)
        other_gradients(h, d, delta2, panels, out, n, p, width)


def compile_for(dtype: np.dtype[Any]) -> float:
    """Compile, or load from the cache, what the kernel calls for this dtype; returns the seconds it took."""
    number = types.float64 if dtype == np.float64 else types.float32
    flat, sums, integer, truth = number[::1], types.float64[::1], types.intp, types.boolean
    matrix = types.Array(number, 2, "A", readonly=True)
    started = time.perf_counter()
    to_panels.compile((matrix, flat, integer))
    encode.compile((flat, integer, flat, flat, sums, *[integer] * 3))
    accumulate.compile((flat, flat, integer, flat, flat, sums, flat, flat, sums, *[integer] * 3, truth, truth))
    backprop.compile((*[matrix] * 4, *[flat] * 3, sums, *[integer] * 4, truth))
    return time.perf_counter() - started
