"""Products: loops of fused multiply-adds on a *tile* of accumulators that never leave the registers.

No number of columns leaves a register part filled.  Columns are cut in equal parts of at most so many as the registers
hold; a tile is emitted in all its sizes, and a switch chooses.  `__init__.py` has the picture.

Operands are addresses (`at` in `emit.py`).  A pair (A, rows) is that of the first column of panels and the number of
columns, a triple (C, row step, column step) that of the first of the numbers that sums are added to, often doubles, and
the elements from row to row and from column to column.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsae_backends.numba.emit import INDEX, LINE, VECTORS, Emit, bits_of, call_shared, fields
from sparsae_backends.numba.target import TARGET

TALL = TARGET.product_columns
SINGLY = 2 if TALL >= 8 else 1  # registers of a column: a tile of one each takes less time than of all three
GRAM_ROWS, GRAM_COLUMNS = TARGET.gram_shape
HIGH, BROAD = TARGET.row_gram_shape
AHEAD = (
    4096  # bytes of weights asked for ahead: 784 x 4,096 at 115 instead of 104 GFLOP/s, 55 for 39 in float64 (Zen 4)
)
SECOND_LEVEL = 2  # of cache, for `Emit.prefetch`
CHUNK = 100  # columns of the right-hand side of `add_gram` that stay in cache
PANELS = 36  # of both sides, whose columns stay in the first-level cache: 60 instead of 63 us, 864 x 64/25, AVX2


@contextmanager
def parts(emit: Emit, count: Any, most: int) -> Iterator[tuple[Any, Any]]:
    """Loop over equal parts of `count` columns, of at most so many; gives the first column of a part and how many."""
    builder = emit.builder
    many = builder.udiv(builder.add(count, INDEX(most - 1)), INDEX(most))
    with cgutils.for_range(builder, many) as loop:
        start = builder.udiv(builder.mul(loop.index, count), many)
        stop = builder.udiv(builder.mul(builder.add(loop.index, INDEX(1)), count), many)
        yield start, builder.sub(stop, start)


@intrinsic
def multiply(typing: Any, weights: Any, inputs: Any, outputs: Any) -> Any:
    """C = bias + A B for one panel: weights (A, bias), A packed; inputs (B, columns, next), outputs (C, columns).

    As many columns from the address `next` on are asked for meanwhile: 10,000 x 64/25, whose rows are in a cache that
    all cores share, in 4.67 instead of 5.01 ms (Zen 4, float64; to the first level: 4.70).
    """
    signature = types.void(weights, inputs, outputs)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = [*fields(builder, args[0], 2), *fields(builder, args[1], 3), *fields(builder, args[2], 2)]
        call_shared(builder, "multiply", bits_of(signature.args[0].types[0]), operands, _multiply)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def multiply_rows(typing: Any, weights: Any, inputs: Any, outputs: Any, rows: Any) -> Any:
    """As `multiply`, for a panel whose first lanes alone have rows, `rows` of them; the others may become anything.

    128 rows of 784/196 are two panels and two registers of a third: 0.37 for 0.43 ms in the hidden layer (Zen 4).
    """
    signature = types.void(weights, inputs, outputs, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = [*fields(builder, args[0], 2), *fields(builder, args[1], 3), *fields(builder, args[2], 2)]
        bits = bits_of(signature.args[0].types[0])
        few = builder.icmp_signed("<=", args[3], INDEX(SINGLY * Emit(builder, bits).lanes))
        with builder.if_else(few) as (some, most):
            with some:
                call_shared(builder, "multiply_registers", bits, [*operands, args[3]], _multiply_registers)
            with most:
                call_shared(builder, "multiply", bits, operands, _multiply)
        return context.get_dummy_value()

    return signature, codegen


def _multiply(emit: Emit, A: Any, bias: Any, B: Any, depth: Any, ahead: Any, C: Any, count: Any) -> None:
    def start(column: Any) -> list[Any]:
        return [emit.splat(emit.builder.load(emit.step(bias, column)))] * VECTORS

    product_tiles(emit, A, start, (B, depth, ahead), C, count, emit.add_product)


def _multiply_registers(
    emit: Emit, A: Any, bias: Any, B: Any, depth: Any, ahead: Any, C: Any, count: Any, rows: Any
) -> None:
    """As `_multiply`, register by register of a column: so few are filled that this is faster."""
    builder = emit.builder

    def start(column: Any) -> list[Any]:
        return [emit.splat(builder.load(emit.step(bias, column)))]

    filled = builder.udiv(builder.add(rows, INDEX(emit.lanes - 1)), INDEX(emit.lanes))
    with cgutils.for_range(builder, filled) as loop:
        lane = builder.mul(loop.index, INDEX(emit.lanes))
        inputs = emit.step(B, lane), depth, None
        product_tiles(emit, A, start, inputs, emit.step(C, lane), count, emit.add_product, vectors=1)


def product_tiles(
    emit: Emit, A: Any, start: Callable[[Any], list[Any]], inputs: tuple[Any, Any, Any | None], C: Any, count: Any,
    add_product: Callable[[Any, Any, Any], None], vectors: int = VECTORS,
) -> None:  # fmt: skip
    """Emit C = start + A B for one panel, tile by tile; `start` gives the registers of a column of C.

    inputs is (B, columns, address of what is asked for meanwhile, or None); so many `vectors` of a column are read.
    """
    builder = emit.builder
    B, depth, ahead = inputs
    with parts(emit, count, TALL) as (first, height):
        packed = emit.step(A, builder.mul(first, depth))
        out = emit.step(C, builder.mul(first, INDEX(emit.panel)))

        def tile(height: int) -> None:
            starts = [start(builder.add(first, INDEX(i))) for i in range(height)]
            sums = [[emit.accumulators(1, 1, one)[0][0] for one in column] for column in starts]
            with cgutils.for_range(builder, depth) as loop:
                column = builder.mul(loop.index, INDEX(emit.panel))
                here = emit.step(B, column)
                if ahead is not None:
                    for line in range(0, emit.panel, LINE * 8 // emit.bits):
                        emit.prefetch(emit.step(emit.step(ahead, column), line), SECOND_LEVEL)
                weights = emit.step(packed, builder.mul(loop.index, INDEX(height)))
                emit.prefetch(emit.step(weights, AHEAD * 8 // emit.bits))
                columns = [emit.load(emit.step(here, v * emit.lanes)) for v in range(vectors)]
                for i in range(height):
                    weight = emit.splat(builder.load(emit.step(weights, i)))
                    for v in range(vectors):
                        add_product(sums[i][v], weight, columns[v])
            for i in range(height):
                for v in range(vectors):
                    emit.store(builder.load(sums[i][v]), emit.step(out, i * emit.panel + v * emit.lanes))

        emit.each_case(height, range(1, TALL + 1), tile)


@intrinsic
def add_gram(typing: Any, left: Any, right: Any, panels: Any, out: Any, add: Any) -> Any:
    """C[i, k] += sum over the rows of so many panels of A[i] B[k]: left (A, rows), right (B, columns), out a triple.

    Where `add` is false, C is written.  B is taken in chunks of columns that stay in cache.
    """
    signature = types.void(left, right, types.intp, out, types.boolean)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        left, right, panels, out, add = args
        operands = [*fields(builder, left, 2), *fields(builder, right, 2), panels, *fields(builder, out, 3), add]
        name = f"add_gram.to_f{bits_of(signature.args[3].types[0])}"
        call_shared(builder, name, bits_of(signature.args[0].types[0]), operands, _add_gram)
        return context.get_dummy_value()

    return signature, codegen


def _add_gram(emit: Emit, *operands: Any) -> None:
    builder = emit.builder
    A, rows, B, columns, all_panels, C, row_step, column_step, add = operands
    panel = INDEX(emit.panel)
    a_step, b_step = builder.mul(rows, panel), builder.mul(columns, panel)
    with (
        parts(emit, all_panels, PANELS) as (first_panel, panels),
        parts(emit, columns, CHUNK) as (chunk, chunk_columns),
        parts(emit, rows, GRAM_ROWS) as (row, height),
        parts(emit, chunk_columns, GRAM_COLUMNS) as (column_in_chunk, breadth),
    ):
        column = builder.add(chunk, column_in_chunk)
        a_first = emit.step(emit.step(A, builder.mul(first_panel, a_step)), builder.mul(row, panel))
        b_first = emit.step(emit.step(B, builder.mul(first_panel, b_step)), builder.mul(column, panel))
        corner = emit.step(C, builder.add(builder.mul(row, row_step), builder.mul(column, column_step)))

        def tile(shape: int) -> None:
            height, breadth = divmod(shape, GRAM_COLUMNS + 1)
            sums = emit.accumulators(height, breadth)
            with cgutils.for_range(builder, panels) as loop:
                a_here = emit.step(a_first, builder.mul(loop.index, a_step))
                b_here = emit.step(b_first, builder.mul(loop.index, b_step))
                for v in range(VECTORS):
                    right = [emit.load(emit.step(b_here, k * emit.panel + v * emit.lanes)) for k in range(breadth)]
                    for i in range(height):
                        left = emit.load(emit.step(a_here, i * emit.panel + v * emit.lanes))
                        for k in range(breadth):
                            emit.add_product(sums[i][k], left, right[k])
            flat = [builder.load(one) for row in sums for one in row]
            found = [emit.totals(flat[first : first + emit.lanes]) for first in range(0, len(flat), emit.lanes)]
            columns = [builder.mul(column_step, INDEX(k)) for k in range(breadth)]
            for i in range(height):
                line = emit.step(corner, builder.mul(row_step, INDEX(i)))
                for k in range(breadth):
                    register, lane = divmod(i * breadth + k, emit.lanes)
                    number = builder.extract_element(found[register], ir.IntType(32)(lane))
                    emit.put(number, emit.step(line, columns[k]), adds)

        adds = builder.or_(add, builder.icmp_signed("!=", first_panel, INDEX(0)))  # to the sums of panels before
        shape = builder.add(builder.mul(height, INDEX(GRAM_COLUMNS + 1)), breadth)
        cases = [h * (GRAM_COLUMNS + 1) + b for h in range(1, GRAM_ROWS + 1) for b in range(1, GRAM_COLUMNS + 1)]
        emit.each_case(shape, cases, tile)


@intrinsic
def add_gram_of_rows(typing: Any, left: Any, right: Any, out: Any, add: Any) -> Any:
    """C[i, k] += sum over rows of A[i] x[:, k]: left (A, rows), right (x, rows, bytes of a row, columns).

    Rows of x are as a matrix has them; its columns follow each other and fill whole registers.
    out is (C, row step, columns that there are), C[i, k] and C[i, k + 1] follow each other.  Where `add` is false, C is
    written.
    """
    signature = types.void(left, right, out, types.boolean)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        left, right, out, add = args
        operands = [*fields(builder, left, 2), *fields(builder, right, 4), *fields(builder, out, 3), add]
        name = f"add_gram_of_rows.to_f{bits_of(signature.args[2].types[0])}"
        call_shared(builder, name, bits_of(signature.args[0].types[0]), operands, _add_gram_of_rows)
        return context.get_dummy_value()

    return signature, codegen


def _add_gram_of_rows(emit: Emit, *operands: Any) -> None:
    builder = emit.builder
    A, rows, x, live, row_bytes, columns, C, row_step, there, add = operands
    panel, lanes = INDEX(emit.panel), INDEX(emit.lanes)
    panels = builder.udiv(builder.add(live, builder.sub(panel, INDEX(1))), panel)
    spill = cgutils.alloca_once(builder, emit.number, HIGH * BROAD * emit.lanes)
    with (
        parts(emit, rows, HIGH) as (row, height),
        parts(emit, builder.udiv(columns, lanes), BROAD) as (vector, breadth),
    ):
        a_first, column = emit.step(A, builder.mul(row, panel)), builder.mul(vector, lanes)
        x_first = emit.step(x, column)
        corner = emit.step(C, builder.add(builder.mul(row, row_step), column))
        left = builder.sub(there, column)

        def tile(shape: int) -> None:
            height, breadth = divmod(shape, BROAD + 1)
            sums = emit.accumulators(height, breadth)
            with cgutils.for_range(builder, panels) as outer:
                before = builder.mul(outer.index, panel)
                a_here = emit.step(a_first, builder.mul(before, rows))
                rest = builder.sub(live, before)
                count = builder.select(builder.icmp_signed("<", rest, panel), rest, panel)
                with cgutils.for_range(builder, count) as inner:
                    here = emit.row(x_first, builder.add(before, inner.index), row_bytes)
                    following = builder.mul(builder.add(inner.index, panel), INDEX(height))
                    emit.prefetch(emit.step(a_here, following))  # A of the next tile: 103 GFLOP/s for 56, 4,096 x 784
                    right = [emit.load(emit.step(here, v * emit.lanes)) for v in range(breadth)]
                    for i in range(height):
                        place = builder.add(inner.index, builder.mul(panel, INDEX(i)))
                        left_side = emit.splat(builder.load(emit.step(a_here, place)))
                        for v in range(breadth):
                            emit.add_product(sums[i][v], left_side, right[v])
            for i in range(height):
                for v in range(breadth):
                    emit.store(builder.load(sums[i][v]), emit.step(spill, (i * BROAD + v) * emit.lanes))

        shape = builder.add(builder.mul(height, INDEX(BROAD + 1)), breadth)
        cases = [h * (BROAD + 1) + b for h in range(1, HIGH + 1) for b in range(1, BROAD + 1)]
        emit.each_case(shape, cases, tile)
        _put_lines(emit, spill, (corner, row_step, left), (height, breadth), add)


def _put_lines(emit: Emit, spill: Any, out: Any, shape: Any, add: Any) -> None:
    """Write the lines of a tile, each `BROAD` registers apart, or add them: register by register where all fit.

    out is (C, row step, columns that are left), shape is (lines, registers).
    """
    builder = emit.builder
    (corner, row_step, left), (height, breadth) = out, shape
    lanes, line_step = INDEX(emit.lanes), INDEX(BROAD * emit.lanes)
    whole = builder.icmp_signed(">=", left, builder.mul(breadth, lanes))
    with cgutils.for_range(builder, height) as i:
        found, line = emit.step(spill, builder.mul(line_step, i.index)), builder.mul(row_step, i.index)
        with builder.if_else(whole) as (all_there, some_there):
            with all_there, cgutils.for_range(builder, breadth) as v:
                place = builder.mul(v.index, lanes)
                emit.put(emit.load(emit.step(found, place)), emit.step(corner, builder.add(line, place)), add)
            with some_there, cgutils.for_range(builder, left) as k:
                number = builder.load(emit.step(found, k.index))
                emit.put(number, emit.step(corner, builder.add(line, k.index)), add)


@intrinsic
def add_sums(typing: Any, columns: Any, panels: Any, out: Any) -> Any:
    """Add the sum of each column over the rows of so many panels to numbers: columns (A, how many)."""
    signature = types.void(columns, types.intp, out)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = [*fields(builder, args[0], 2), args[1], args[2]]
        name = f"add_sums.to_f{bits_of(signature.args[2])}"
        call_shared(builder, name, bits_of(signature.args[0].types[0]), operands, _add_sums)
        return context.get_dummy_value()

    return signature, codegen


def _add_sums(emit: Emit, A: Any, columns: Any, panels: Any, out: Any) -> None:
    builder, panel = emit.builder, INDEX(emit.panel)
    with cgutils.for_range(builder, columns) as column:
        first = emit.step(A, builder.mul(column.index, panel))
        sums = emit.accumulators(1, VECTORS)[0]
        with cgutils.for_range(builder, panels) as loop:
            here = emit.step(first, builder.mul(builder.mul(loop.index, columns), panel))
            for v, one in enumerate(sums):
                builder.store(builder.fadd(builder.load(one), emit.load(emit.step(here, v * emit.lanes))), one)
        total = builder.load(sums[0])
        for one in sums[1:]:
            total = builder.fadd(total, builder.load(one))
        emit.put(emit.total(total), emit.step(out, column.index))
