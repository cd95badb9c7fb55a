"""Products for the `numba` backend.

A product is a loop of fused multiply-adds on a *tile* of accumulators that never leave the registers,
and no number of columns leaves a register part filled.  `_emit.py` tells of panels.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsae_backends._emit import BROAD, HIGH, INDEX, SQUARE, TALL, VECTORS, Emit


@intrinsic
def product(
    typing: Any, A: Any, a0: Any, rows: Any, B: Any, b0: Any, depth: Any, bias: Any, i0: Any, C: Any, c0: Any
) -> Any:
    """C[i] = bias[i] + sum_k A[k, i] B[k] for `rows` <= TALL columns of a panel; A is packed, B and C are panels."""
    index = types.intp
    signature = types.void(A, index, index, B, index, index, bias, index, C, index)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        A, a0, rows, B, b0, depth, bias, i0, C, c0 = args
        kinds = signature.args
        emit = Emit(context, builder, kinds[0])
        pa, pb = emit.pointer(kinds[0], A, a0), emit.pointer(kinds[3], B, b0)
        pbias, pc = emit.pointer(kinds[6], bias, i0), emit.pointer(kinds[8], C, c0)
        lanes, panel = emit.lanes, emit.lanes * VECTORS

        def tile(height: int) -> None:
            sums = emit.accumulators(height, VECTORS)
            for i in range(height):
                start = emit.splat(builder.load(emit.step(pbias, i)))
                for v in range(VECTORS):
                    builder.store(start, sums[i][v])
            with cgutils.for_range(builder, depth) as loop:
                here = emit.step(pb, builder.mul(loop.index, INDEX(panel)))
                weights = emit.step(pa, builder.mul(loop.index, INDEX(height)))
                columns = [emit.load(emit.step(here, v * lanes)) for v in range(VECTORS)]
                for i in range(height):
                    weight = emit.splat(builder.load(emit.step(weights, i)))
                    for v in range(VECTORS):
                        emit.add_product(sums[i][v], weight, columns[v])
            for i in range(height):
                for v in range(VECTORS):
                    emit.store(builder.load(sums[i][v]), emit.step(pc, i * panel + v * lanes))

        emit.each_case(rows, range(1, TALL + 1), tile)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def gram(
    typing: Any,
    A: Any,
    a0: Any,
    rows: Any,
    a_step: Any,
    B: Any,
    b0: Any,
    columns: Any,
    b_step: Any,
    panels: Any,
    C: Any,
    c0: Any,
    c_rows: Any,
    c_columns: Any,
) -> Any:
    """C[i, k] += sum over rows of A[i] B[k], for `rows` x `columns` <= SQUARE^2 columns of panels."""
    index = types.intp
    signature = types.void(A, *[index] * 3, B, *[index] * 4, C, *[index] * 3)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        A, a0, rows, a_step, B, b0, columns, b_step, panels, C, c0, c_rows, c_columns = args
        kinds = signature.args
        emit = Emit(context, builder, kinds[0])
        pa, pb = emit.pointer(kinds[0], A, a0), emit.pointer(kinds[4], B, b0)
        pc = emit.pointer(kinds[9], C, c0)
        lanes, panel = emit.lanes, emit.lanes * VECTORS

        def tile(shape: int) -> None:
            height, breadth = divmod(shape, SQUARE + 1)
            sums = emit.accumulators(height, breadth)
            for row in sums:
                for one in row:
                    builder.store(ir.Constant(emit.vector, None), one)
            with cgutils.for_range(builder, panels) as loop:
                a_here = emit.step(pa, builder.mul(loop.index, a_step))
                b_here = emit.step(pb, builder.mul(loop.index, b_step))
                for v in range(VECTORS):
                    right = [emit.load(emit.step(b_here, k * panel + v * lanes)) for k in range(breadth)]
                    for i in range(height):
                        left = emit.load(emit.step(a_here, i * panel + v * lanes))
                        for k in range(breadth):
                            emit.add_product(sums[i][k], left, right[k])
            for i in range(height):
                for k in range(breadth):
                    place = builder.add(builder.mul(c_rows, INDEX(i)), builder.mul(c_columns, INDEX(k)))
                    cell = emit.step(pc, place)
                    builder.store(builder.fadd(builder.load(cell), emit.total(builder.load(sums[i][k]))), cell)

        sides = range(1, SQUARE + 1)
        shape = builder.add(builder.mul(rows, INDEX(SQUARE + 1)), columns)
        emit.each_case(shape, [h * (SQUARE + 1) + b for h in sides for b in sides], tile)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def gram_of_rows(
    typing: Any, A: Any, a0: Any, rows: Any, a_step: Any, x: Any, first: Any, live: Any, k0: Any, vectors: Any,
    C: Any, c0: Any, c_rows: Any,
) -> Any:  # fmt: skip
    """C[i, k] += sum over `live` rows of A[i] x[:, k]: A in panels, x a matrix whose columns follow each other.

    A tile of `rows` <= HIGH by `vectors` <= BROAD registers of columns, from `k0` on; C holds doubles.
    """
    index = types.intp
    signature = types.void(A, *[index] * 3, x, *[index] * 4, C, index, index)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        A, a0, rows, a_step, x, first, live, k0, vectors, C, c0, c_rows = args
        kinds = signature.args
        emit = Emit(context, builder, kinds[0])
        pa, pc = emit.pointer(kinds[0], A, a0), emit.pointer(kinds[9], C, builder.add(c0, k0))
        matrix = context.make_array(kinds[4])(context, builder, x)
        panel = INDEX(emit.lanes * VECTORS)
        panels = builder.udiv(builder.add(live, builder.sub(panel, INDEX(1))), panel)

        def tile(shape: int) -> None:
            height, breadth = divmod(shape, BROAD + 1)
            sums = emit.accumulators(height, breadth)
            for line in sums:
                for one in line:
                    builder.store(ir.Constant(emit.vector, None), one)
            with cgutils.for_range(builder, panels) as outer:
                before = builder.mul(outer.index, panel)
                a_here = emit.step(pa, builder.mul(outer.index, a_step))
                left = builder.sub(live, before)
                count = builder.select(builder.icmp_signed("<", left, panel), left, panel)
                with cgutils.for_range(builder, count) as inner:
                    number = builder.add(builder.add(first, before), inner.index)
                    here = emit.row(matrix, number, k0)
                    right = [emit.load(emit.step(here, v * emit.lanes)) for v in range(breadth)]
                    for i in range(height):
                        place = builder.add(inner.index, builder.mul(panel, INDEX(i)))
                        left_side = emit.splat(builder.load(emit.step(a_here, place)))
                        for v in range(breadth):
                            emit.add_product(sums[i][v], left_side, right[v])
            for i in range(height):
                corner = emit.step(pc, builder.mul(c_rows, INDEX(i)))
                for v in range(breadth):
                    emit.add_to_doubles(builder.load(sums[i][v]), emit.step(corner, v * emit.lanes))

        shape = builder.add(builder.mul(rows, INDEX(BROAD + 1)), vectors)
        cases = [h * (BROAD + 1) + b for h in range(1, HIGH + 1) for b in range(1, BROAD + 1)]
        emit.each_case(shape, cases, tile)
        return context.get_dummy_value()

    return signature, codegen
