"""Rows into lanes; `__init__.py` has the picture."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsae_backends.numba.emit import INDEX, Emit, bits_of, call_shared, fields
from sparsae_backends.numba.target import TARGET

TALL = TARGET.product_columns

SHAPE_OF_FLOAT = {32: (23, 126.0, 1.5 * 2.0**23), 64: (52, 1022.0, 1.5 * 2.0**52)}  # mantissa, exponents, rounding


@intrinsic
def turn(typing: Any, x: Any, out: Any) -> Any:
    """Transpose a square of a matrix, as many rows and columns as a register has lanes.

    `x` is the address of its first element and the bytes from row to row, `out` likewise with elements from row to row;
    in a panel those of a column are its rows.
    """
    signature = types.void(x, out)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = [*fields(builder, args[0], 2), *fields(builder, args[1], 2)]
        call_shared(builder, "turn", bits_of(signature.args[1].types[0]), operands, _turn)
        return context.get_dummy_value()

    return signature, codegen


def _turn(emit: Emit, x: Any, row_bytes: Any, out: Any, row_step: Any) -> None:
    rows = [emit.load(emit.row(x, INDEX(i), row_bytes)) for i in range(emit.lanes)]
    for i, turned in enumerate(emit.transposed(rows)):
        emit.store(turned, emit.step(out, emit.builder.mul(row_step, INDEX(i))))


@intrinsic
def pack_square(typing: Any, x: Any, height: Any, scale: Any, out: Any) -> Any:
    """Write as many columns as a register has lanes, of `height` rows each, one after the other, scaled.

    `x` is the address of the first and the bytes from row to row; `height` is at most the height of a tile.
    Columns are stored as whole registers, which the next one overwrites in part: there must be room behind the last.
    """
    signature = types.void(x, height, scale, out)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = [*fields(builder, args[0], 2), *args[1:]]
        call_shared(builder, "pack_square", bits_of(signature.args[3]), operands, _pack_square)
        return context.get_dummy_value()

    return signature, codegen


def _pack_square(emit: Emit, x: Any, row_bytes: Any, height: Any, scale: Any, out: Any) -> None:
    builder = emit.builder
    factor, last = emit.splat(scale), builder.sub(height, INDEX(1))
    rows = []
    for i in range(TALL):
        number = builder.select(builder.icmp_signed("<", INDEX(i), last), INDEX(i), last)
        rows.append(builder.fmul(emit.load(emit.row(x, number, row_bytes)), factor))
    rows += [emit.zeros] * (-TALL % emit.lanes)
    parts = [emit.transposed(rows[i : i + emit.lanes]) for i in range(0, TALL, emit.lanes)]
    for i, registers in enumerate(zip(*parts, strict=True)):
        place = emit.step(out, builder.mul(height, INDEX(i)))
        for part, register in enumerate(registers):
            emit.store(register, emit.step(place, part * emit.lanes))


@intrinsic
def copy_column(typing: Any, x: Any, scale: Any, out: Any) -> Any:
    """Copy the height of a tile, rounded up to whole registers, from one address to another, scaled."""
    signature = types.void(x, scale, out)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(builder, bits_of(signature.args[0]))
        factor = emit.splat(args[1])
        for i in range(0, TALL, emit.lanes):
            emit.store(builder.fmul(emit.load(emit.step(args[0], i)), factor), emit.step(args[2], i))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def turn_error(typing: Any, a3: Any, target: Any, sigmoid: Any, out: Any, totals: Any) -> Any:
    """As `turn`, for delta3 = (a3 - target) a3 (1 - a3), or a3 - target for a linear output.

    The sum of each column is added to a number of `totals`.
    """
    signature = types.void(a3, target, types.boolean, out, totals)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = [*fields(builder, args[0], 2), *fields(builder, args[1], 2), *args[2:]]
        call_shared(builder, "turn_error", bits_of(signature.args[3]), operands, _turn_error)
        return context.get_dummy_value()

    return signature, codegen


def _turn_error(
    emit: Emit, a3: Any, a3_bytes: Any, target: Any, target_bytes: Any, sigmoid: Any, out: Any, totals: Any
) -> None:
    builder, total = emit.builder, emit.load(totals)
    ones = emit.constant(1.0)
    rows = []
    for i in range(emit.lanes):
        a = emit.load(emit.row(a3, INDEX(i), a3_bytes))
        error = builder.fsub(a, emit.load(emit.row(target, INDEX(i), target_bytes)))
        delta = builder.fmul(error, builder.fmul(a, builder.fsub(ones, a)))
        rows.append(builder.select(sigmoid, delta, error))
        total = builder.fadd(total, rows[-1])
    emit.store(total, totals)
    for i, turned in enumerate(emit.transposed(rows)):
        emit.store(turned, emit.step(out, i * emit.panel))


@intrinsic
def to_panel(typing: Any, x: Any, first: Any, out: Any) -> Any:
    """Put the rows of a matrix from `first` on in the lanes of the panel at an address; asks for those two panels on.

    Lanes without a row become 0.
    """
    signature = types.void(x, types.intp, out)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        matrix = context.make_array(signature.args[0])(context, builder, args[0])
        shape, strides = (cgutils.unpack_tuple(builder, part, 2) for part in (matrix.shape, matrix.strides))
        operands = [matrix.data, *shape, *strides, *args[1:]]
        call_shared(builder, "to_panel", bits_of(signature.args[2]), operands, _to_panel)
        return context.get_dummy_value()

    return signature, codegen


def _to_panel(
    emit: Emit, x: Any, m: Any, n: Any, row_bytes: Any, column_bytes: Any, first: Any, out: Any
) -> None:  # fmt: skip
    builder, lanes, panel, side = emit.builder, INDEX(emit.lanes), INDEX(emit.panel), emit.bits // 8
    rest = builder.sub(m, first)
    live = builder.select(builder.icmp_signed("<", rest, panel), rest, panel)
    in_order = builder.icmp_signed("==", column_bytes, INDEX(side))
    groups = builder.select(in_order, builder.udiv(live, lanes), INDEX(0))  # of rows, filled a register at a time
    filled, squares = builder.mul(groups, lanes), builder.udiv(n, lanes)
    with cgutils.for_range(builder, groups) as group:
        lane = builder.mul(group.index, lanes)
        row = builder.add(first, lane)
        ahead = builder.add(row, INDEX(2 * emit.panel))  # 10^6 x 64 float32: 26 instead of 41 ms
        left = builder.sub(m, ahead)
        with cgutils.for_range(builder, builder.select(builder.icmp_signed("<", left, lanes), left, lanes)) as loop:
            there = emit.row(x, builder.add(ahead, loop.index), row_bytes)
            emit.fetch(there, builder.mul(n, INDEX(side)), 2)
        with cgutils.for_range(builder, squares) as square:
            column = builder.mul(square.index, lanes)
            given = emit.step(emit.row(x, row, row_bytes), column)
            place = emit.step(out, builder.add(builder.mul(column, panel), lane))
            call_shared(builder, "turn", emit.bits, [given, row_bytes, place, panel], _turn)
    turned = builder.mul(squares, lanes)
    with cgutils.for_range(builder, n) as column:
        there = emit.step(out, builder.mul(column.index, panel))
        start = builder.select(builder.icmp_signed("<", column.index, turned), filled, INDEX(0))
        with cgutils.for_range(builder, live, start) as lane:
            given = emit.row(emit.row(x, builder.add(first, lane.index), row_bytes), column.index, column_bytes)
            builder.store(builder.load(given), emit.step(there, lane.index))
        with cgutils.for_range(builder, panel, live) as lane:
            builder.store(emit.number(0.0), emit.step(there, lane.index))


@intrinsic
def set_lanes(typing: Any, panel: Any, columns: Any, live: Any, number: Any) -> Any:
    """Set the lanes of a panel (address) from `live` on, those that have no row, to a number."""
    signature = types.void(panel, types.intp, types.intp, panel.dtype)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        call_shared(builder, "set_lanes", bits_of(signature.args[0]), args, _set_lanes)
        return context.get_dummy_value()

    return signature, codegen


def _set_lanes(emit: Emit, panel: Any, columns: Any, live: Any, number: Any) -> None:
    builder = emit.builder
    with cgutils.for_range(builder, columns) as column:
        there = emit.step(panel, builder.mul(column.index, INDEX(emit.panel)))
        with cgutils.for_range(builder, INDEX(emit.panel), live) as lane:
            builder.store(number, emit.step(there, lane.index))


@intrinsic
def fetch(typing: Any, x: Any, row: Any) -> Any:
    """Ask for the cache lines of one row of a matrix ahead of its use; the columns must follow each other in memory."""
    signature = types.void(x, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        matrix = context.make_array(signature.args[0])(context, builder, args[0])
        emit = Emit(builder, signature.args[0].dtype.bitwidth)
        row = emit.row(matrix.data, args[1], builder.extract_value(matrix.strides, 0))
        emit.fetch(row, builder.mul(builder.extract_value(matrix.shape, 1), matrix.itemsize), 2)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_in_any_order(typing: Any, total: Any, x: Any) -> Any:
    """Total + x, which a loop may add up in the lanes of a register."""
    signature = total(total, total)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args, flags=("reassoc",))

    return signature, codegen
