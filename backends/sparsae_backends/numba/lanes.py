"""Rows into lanes, powers of two; `__init__.py` has the picture."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsae_backends.numba.emit import INDEX, Emit, bits_of, call_shared, fields
from sparsae_backends.numba.target import TARGET

TALL = TARGET.product_columns

# 2^f on [-1/2, 1/2], minimax for the relative error (Remez): 1.9e-9 and 3.1e-18.
EXP2 = {
    32: (1.0, 0.6931471824645996, 0.24022646248340607, 0.05550328642129898, 0.009618489071726799, 0.0013399930903688073,
         0.0001534581242594868),
    64: (1.0, 0.6931471805599453, 0.24022650695910155, 0.055504108664819925, 0.009618129107588335,
         0.001333355814678995, 0.00015403530462514614, 1.5252733489960805e-05, 1.321543308959463e-06,
         1.0178198033328528e-07, 7.074105626245659e-09, 4.4352809446103363e-10),
}  # fmt: skip
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
def fetch(typing: Any, x: Any, row: Any) -> Any:
    """Ask for the cache lines of one row of a matrix ahead of its use; the columns must follow each other in memory."""
    signature = types.void(x, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, row = args
        matrix = context.make_array(signature.args[0])(context, builder, x)
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        offset = builder.mul(row, builder.extract_value(matrix.strides, 0))
        start = builder.gep(builder.bitcast(matrix.data, byte), [offset])
        length = builder.mul(builder.extract_value(matrix.shape, 1), matrix.itemsize)
        lines = builder.udiv(builder.add(length, INDEX(63)), INDEX(64))
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        with cgutils.for_range(builder, lines) as loop:
            line = builder.gep(start, [builder.mul(loop.index, INDEX(64))])
            builder.call(function, [line, word(0), word(2), word(1)])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def power_of_two(typing: Any, x: Any) -> Any:
    """2^x, the exponent held where the result is a normal number; NaN stays NaN.  Loops over it vectorise."""
    signature = x(x)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        emit = Emit(builder, kind.bitwidth)
        mantissa, limit, rounding = SHAPE_OF_FLOAT[emit.bits]
        number, integer = emit.number, ir.IntType(emit.bits)
        x = args[0]
        for sign, bound in ((">", limit), ("<", -limit)):
            x = builder.select(builder.fcmp_ordered(sign, x, number(bound)), number(bound), x)
        shifted = builder.fadd(x, number(rounding))
        f = builder.fsub(x, builder.fsub(shifted, number(rounding)))
        value = number(EXP2[emit.bits][-1])
        for coefficient in EXP2[emit.bits][-2::-1]:
            value = emit.fma(value, f, number(coefficient))
        exponent = builder.shl(builder.bitcast(shifted, integer), integer(mantissa))
        return builder.bitcast(builder.add(builder.bitcast(value, integer), exponent), number)

    return signature, codegen


@intrinsic
def add_in_any_order(typing: Any, total: Any, x: Any) -> Any:
    """Total + x, which a loop may add up in the lanes of a register."""
    signature = total(total, total)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args, flags=("reassoc",))

    return signature, codegen
