"""Elements for the `numba` backend: rows into lanes, powers, sums; `_emit.py` tells of panels."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsae_backends._emit import INDEX, VECTORS, Emit

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
def turn(typing: Any, x: Any, row: Any, column: Any, out: Any, start: Any) -> Any:
    """Put a square of a matrix, as many rows and columns as a register has lanes, in the lanes of a panel.

    The columns must follow each other in memory.
    """
    signature = types.void(x, types.intp, types.intp, out, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, row, column, out, start = args
        kinds = signature.args
        emit = Emit(context, builder, kinds[3])
        matrix = context.make_array(kinds[0])(context, builder, x)
        rows = [emit.load(emit.row(matrix, builder.add(row, INDEX(i)), column)) for i in range(emit.lanes)]
        place = emit.pointer(kinds[3], out, start)
        for i, turned in enumerate(emit.transposed(rows)):
            emit.store(turned, emit.step(place, i * emit.lanes * VECTORS))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def turn_error(typing: Any, a3: Any, target: Any, row: Any, column: Any, sigmoid: Any, out: Any, start: Any) -> Any:
    """As `turn`, for delta3 = (a3 - target) a3 (1 - a3), or a3 - target for a linear output."""
    signature = types.void(a3, target, types.intp, types.intp, types.boolean, out, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a3, target, row, column, sigmoid, out, start = args
        kinds = signature.args
        emit = Emit(context, builder, kinds[5])
        outputs = context.make_array(kinds[0])(context, builder, a3)
        goals = context.make_array(kinds[1])(context, builder, target)
        ones = ir.Constant(emit.vector, [emit.number(1.0)] * emit.lanes)
        rows = []
        for i in range(emit.lanes):
            number = builder.add(row, INDEX(i))
            a = emit.load(emit.row(outputs, number, column))
            error = builder.fsub(a, emit.load(emit.row(goals, number, column)))
            delta = builder.fmul(error, builder.fmul(a, builder.fsub(ones, a)))
            rows.append(builder.select(sigmoid, delta, error))
        place = emit.pointer(kinds[5], out, start)
        for i, turned in enumerate(emit.transposed(rows)):
            emit.store(turned, emit.step(place, i * emit.lanes * VECTORS))
        return context.get_dummy_value()

    return signature, codegen


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
        lines = builder.udiv(
            builder.add(builder.mul(builder.extract_value(matrix.shape, 1), matrix.itemsize), INDEX(63)), INDEX(64)
        )
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
        emit = Emit(context, builder, types.Array(kind, 1, "C"))
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
def column_sum(typing: Any, A: Any, a0: Any, a_step: Any, panels: Any) -> Any:
    """Sum over all rows of one column of panels, as a double."""
    signature = types.float64(A, types.intp, types.intp, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        A, a0, a_step, panels = args
        emit = Emit(context, builder, signature.args[0])
        pa = emit.pointer(signature.args[0], A, a0)
        sums = emit.accumulators(1, VECTORS)[0]
        for one in sums:
            builder.store(ir.Constant(emit.vector, None), one)
        with cgutils.for_range(builder, panels) as loop:
            here = emit.step(pa, builder.mul(loop.index, a_step))
            for v, one in enumerate(sums):
                builder.store(builder.fadd(builder.load(one), emit.load(emit.step(here, v * emit.lanes))), one)
        total = builder.load(sums[0])
        for one in sums[1:]:
            total = builder.fadd(total, builder.load(one))
        return emit.total(total)

    return signature, codegen


@intrinsic
def add_in_any_order(typing: Any, total: Any, x: Any) -> Any:
    """Total + x, which a loop may add up in the lanes of a register."""
    signature = total(total, total)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args, flags=("reassoc",))

    return signature, codegen
