"""The passes of the `numba` backend, compiled; `_tiles.py` tells of panels and tiles.

Imported by the kernel's constructor, since it imports numba.
Arrays are flat and contiguous; `width` is the number of rows in a panel, n and p the numbers of units.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit, types

from sparsae_backends._tiles import SQUARE, TALL, VECTORS, gram, power_of_two, product, turn


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
def add_lanes(lanes: Any, out: Any, start: int, columns: int, width: int) -> None:
    """Add the lanes of each column to out[start:], in double precision."""
    for column in range(columns):
        total = 0.0
        for lane in range(width):
            total += lanes[column * width + lane]
        out[start + column] += total


@_compile
def encode(x: Any, m: int, weights: Any, a2: Any, lanes: Any, total: Any, n: int, p: int, width: int) -> None:
    """a2 = 1 / (1 + 2^z) with z folded, and its sum over the rows, added to `total`."""
    one = a2.dtype.type(1)
    panels = (m + width - 1) // width
    W1, b1 = weights[: p * n], weights[p * n : p * n + p]
    lanes[: p * width] = 0
    for panel in range(panels):
        base = panel * p * width
        multiply(W1, x, panel * n * width, n, b1, a2, base, p, width)
        here = a2[base : base + p * width]  # a slice: indices without an offset are what lets loops vectorise
        for i in range(len(here)):
            here[i] = one / (one + power_of_two(here[i]))
        if m < (panel + 1) * width:
            clear_lanes(a2, base, p, m - panel * width, width)
        for i in range(len(here)):
            lanes[i] += here[i]
    add_lanes(lanes, total, 0, p, width)


@_compile
def output_error(d: Any, target: Any, base: int, b2: Any, squares: Any, count: int, sigmoid: bool) -> None:
    """From z to delta3 in one panel, all lanes alive; adds delta3 and the squared error to lanes."""
    one = d.dtype.type(1)
    d, target = d[base : base + count], target[base : base + count]
    if sigmoid:
        for i in range(count):
            e = power_of_two(d[i])
            a3 = one / (one + e)
            error = a3 - target[i]
            delta3 = error * (e * a3 * a3)
            d[i] = delta3
            b2[i] += delta3
            squares[i] += error * error
    else:
        for i in range(count):
            error = d[i] - target[i]
            d[i] = error
            b2[i] += error
            squares[i] += error * error


@_compile
def given_error(a3: Any, target: Any, b2: Any, sigmoid: bool) -> None:
    """From a3 to delta3 in one panel; adds delta3 to lanes."""
    one = a3.dtype.type(1)
    if sigmoid:
        for i in range(len(a3)):
            delta3 = (a3[i] - target[i]) * (a3[i] * (one - a3[i]))
            a3[i] = delta3
            b2[i] += delta3
    else:
        for i in range(len(a3)):
            error = a3[i] - target[i]
            a3[i] = error
            b2[i] += error


@_compile
def hidden_error(
    delta2: Any, a2: Any, base: int, q: Any, b1: Any, b1_sparsity: Any, count: int, one_pass: bool
) -> None:
    """delta2 = (delta3 W2 + s) q in one panel; adds it, and q where it is asked for, to lanes."""
    one = a2.dtype.type(1)
    a2, delta2 = a2[base : base + count], delta2[base : base + count]
    for i in range(count):
        d = delta2[i] * (a2[i] * (one - a2[i]))
        delta2[i] = d
        b1[i] += d
    if one_pass:
        q = q[base : base + count]
        for i in range(count):
            slope = a2[i] * (one - a2[i])
            q[i] = slope
            b1_sparsity[i] += slope


@_compile
def accumulate(
    x: Any,
    target: Any,
    m: int,
    weights: Any,
    a2: Any,
    total: Any,
    s: Any,
    scratch: Any,
    lanes: Any,
    out: Any,
    n: int,
    p: int,
    width: int,
    sigmoid: bool,
    one_pass: bool,
) -> None:
    """Add a block's sums to `out`, a vector laid out like `Sums`."""
    w, panels = p * n, (m + width - 1) // width
    size, to_b2 = panels * width, 2 + p + w + p + w
    W2, b2, W2_back = weights[w + p : 2 * w + p], weights[2 * w + p : 2 * w + p + n], weights[2 * w + p + n :]
    d, delta2, q = scratch[: n * size], scratch[n * size : (n + p) * size], scratch[(n + p) * size :]
    lanes[:] = 0
    in_b2, squares, rest = lanes[: n * width], lanes[n * width : 2 * n * width], lanes[2 * n * width :]
    for panel in range(panels):
        wide, narrow, live = panel * n * width, panel * p * width, m - panel * width
        multiply(W2, a2, narrow, p, b2, d, wide, n, width)
        if live < width:  # the last panel: what was summed until now is right in all lanes
            flush(in_b2, squares, out, to_b2, n, width)
        output_error(d, target, wide, in_b2, squares, n * width, sigmoid)
        if live < width:
            for columns, start in ((in_b2, 0), (squares, 0), (d, wide)):
                clear_lanes(columns, start, n, live, width)
        multiply(W2_back, d, wide, n, s, delta2, narrow, p, width)
        hidden_error(delta2, a2, narrow, q, rest[: p * width], rest[p * width :], p * width, one_pass)
    flush(in_b2, squares, out, to_b2, n, width)
    hidden_sums(x, delta2, q, total, rest, m, panels, out, n, p, width, one_pass)
    add_gram(a2, p, d, n, panels, out, to_b2 - w, 1, p, width)


@_compile
def flush(in_b2: Any, squares: Any, out: Any, to_b2: int, n: int, width: int) -> None:
    """Move what the lanes have summed to the total."""
    add_lanes(in_b2, out, to_b2, n, width)
    total = 0.0
    for i in range(n * width):
        total += squares[i]
    out[1] += total
    in_b2[:] = 0
    squares[:] = 0


@_compile
def hidden_sums(
    x: Any,
    delta2: Any,
    q: Any,
    total: Any,
    lanes: Any,
    m: int,
    panels: int,
    out: Any,
    n: int,
    p: int,
    width: int,
    one_pass: bool,
) -> None:
    """Add what is summed over the hidden units' slopes, and the number of rows."""
    w = p * n
    out[0] += m
    for j in range(p):
        out[2 + j] += total[j]
    add_lanes(lanes, out, 2 + p + w, p, width)
    add_gram(delta2, p, x, n, panels, out, 2 + p, n, 1, width)
    if one_pass:
        start = 2 + 2 * p + 2 * w + n
        add_gram(q, p, x, n, panels, out, start, n, 1, width)
        add_lanes(lanes[p * width :], out, start + w, p, width)


@_compile
def backprop(
    a1: Any,
    a2: Any,
    a3: Any,
    target: Any,
    same: bool,
    W2_back: Any,
    s: Any,
    scratch: Any,
    lanes: Any,
    out: Any,
    n: int,
    p: int,
    width: int,
    rows: int,
    sigmoid: bool,
) -> None:
    """Add the gradient sums for given activations to a vector laid out like `Sums`, `rows` rows at a time."""
    w, none = p * n, np.zeros(p)
    for start in range(0, len(a1), rows):
        stop = min(start + rows, len(a1))
        panels = (stop - start + width - 1) // width
        size = panels * width
        x, y, d = scratch[: n * size], scratch[n * size : 2 * n * size], scratch[2 * n * size : 3 * n * size]
        h, delta2 = scratch[3 * n * size : (3 * n + p) * size], scratch[(3 * n + p) * size :]
        goal = x if same else y
        lanes[:] = 0
        in_b2, in_b1 = lanes[: n * width], lanes[2 * n * width :]
        for panel in range(panels):
            first, wide, narrow = panel * width, panel * n * width, panel * p * width
            to_panel(a1[start:stop], first, x, wide, width)
            to_panel(a2[start:stop], first, h, narrow, width)
            to_panel(a3[start:stop], first, d, wide, width)
            if not same:
                to_panel(target[start:stop], first, y, wide, width)
            given_error(d[wide : wide + n * width], goal[wide : wide + n * width], in_b2, sigmoid)
            multiply(W2_back, d, wide, n, s, delta2, narrow, p, width)
            hidden_error(delta2, h, narrow, delta2, in_b1, in_b1, p * width, False)
        add_lanes(in_b2, out, 2 + p + w + p + w, n, width)
        hidden_sums(x, delta2, delta2, none, in_b1, stop - start, panels, out, n, p, width, False)
        add_gram(h, p, d, n, panels, out, 2 + p + w + p, 1, p, width)


def compile_for(dtype: np.dtype[Any]) -> float:
    """Compile, or load from the cache, what the kernel calls for this dtype; returns the seconds it took."""
    number = types.float64 if dtype == np.float64 else types.float32
    flat, sums, integer, truth = number[::1], types.float64[::1], types.intp, types.boolean
    matrix = types.Array(number, 2, "A", readonly=True)
    started = time.perf_counter()
    to_panels.compile((matrix, flat, integer))
    encode.compile((flat, integer, flat, flat, flat, sums, *[integer] * 3))
    accumulate.compile((flat, flat, integer, flat, flat, sums, flat, flat, flat, sums, *[integer] * 3, truth, truth))
    backprop.compile((*[matrix] * 4, truth, *[flat] * 4, sums, *[integer] * 4, truth))
    return time.perf_counter() - started
