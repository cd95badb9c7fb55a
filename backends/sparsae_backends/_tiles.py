"""Vector arithmetic for the `numba` backend: LLVM code for the parts that decide its speed.

Rows stand in the lanes of vector registers.  Arrays are cut into *panels* of `WIDTH` rows: a panel of an (m, c) array
is c groups of `WIDTH` numbers, one for each column.  A product then is a loop of fused multiply-adds on a *tile* of
accumulators that never leave the registers, and no number of columns leaves a register part filled.

Imported by the kernel's constructor, since it imports numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_WIDE = binding.get_host_cpu_features().get("avx512f", False)
BYTES = 64 if _WIDE else 32  # of a vector register
VECTORS = 3  # in a panel
TALL = 9 if _WIDE else 4  # columns of a result tile of `product`: TALL * VECTORS accumulators
SQUARE = 5 if _WIDE else 3  # side of a result tile of `gram`
INDEX = ir.IntType(64)

# 2^f on [-1/2, 1/2], minimax for the relative error (Remez): 1.9e-9 and 3.1e-18.
EXP2 = {
    32: (1.0, 0.6931471824645996, 0.24022646248340607, 0.05550328642129898, 0.009618489071726799, 0.0013399930903688073,
         0.0001534581242594868),
    64: (1.0, 0.6931471805599453, 0.24022650695910155, 0.055504108664819925, 0.009618129107588335,
         0.001333355814678995, 0.00015403530462514614, 1.5252733489960805e-05, 1.321543308959463e-06,
         1.0178198033328528e-07, 7.074105626245659e-09, 4.4352809446103363e-10),
}  # fmt: skip
SHAPE_OF_FLOAT = {32: (23, 126.0, 1.5 * 2.0**23), 64: (52, 1022.0, 1.5 * 2.0**52)}  # mantissa, exponents, rounding


def lanes(dtype: Any) -> int:
    """Numbers in a vector register."""
    return BYTES // int(dtype.itemsize)


def width(dtype: Any) -> int:
    """Rows in a panel."""
    return VECTORS * lanes(dtype)


class _Emit:
    """The LLVM code of one tile, for one floating-point type."""

    def __init__(self, context: Any, builder: Any, array: Any) -> None:
        self.context, self.builder = context, builder
        self.number = context.get_value_type(array.dtype)
        self.bits = array.dtype.bitwidth
        self.lanes = BYTES * 8 // self.bits
        self.vector = ir.VectorType(self.number, self.lanes)

    def pointer(self, array: Any, value: Any, offset: Any) -> Any:
        """Address of an element of an array."""
        data = self.context.make_array(array)(self.context, self.builder, value).data
        return self.builder.gep(data, [offset])

    def step(self, pointer: Any, elements: Any) -> Any:
        """Address so many elements further on; a number or a value."""
        return self.builder.gep(pointer, [INDEX(elements) if isinstance(elements, int) else elements])

    def load(self, pointer: Any) -> Any:
        loaded = self.builder.load(self.builder.bitcast(pointer, self.vector.as_pointer()))
        loaded.align = self.bits // 8
        return loaded

    def store(self, vector: Any, pointer: Any) -> None:
        self.builder.store(vector, self.builder.bitcast(pointer, vector.type.as_pointer()), align=self.bits // 8)

    def splat(self, number: Any) -> Any:
        """A vector of one number."""
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.IntType(32)(0))
        return self.builder.shuffle_vector(
            first, undefined, ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        )

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """X y + z, rounded once where the processor can."""
        kind = x.type
        name = f"llvm.fmuladd.f{self.bits}" if kind == self.number else f"llvm.fmuladd.v{self.lanes}f{self.bits}"
        function = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return self.builder.call(function, [x, y, z])

    def total(self, vector: Any) -> Any:
        """Sum of the lanes, as a double; in an order of the processor's choice, always the same."""
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f{self.bits}"
        kind = ir.FunctionType(self.number, [self.number, self.vector])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        number = self.builder.call(function, [self.number(0.0), vector], fastmath=("reassoc",))
        return number if self.bits == 64 else self.builder.fpext(number, ir.DoubleType())

    def accumulators(self, rows: int, columns: int) -> list[list[Any]]:
        return [[cgutils.alloca_once(self.builder, self.vector) for _ in range(columns)] for _ in range(rows)]

    def add_product(self, accumulator: Any, x: Any, y: Any) -> None:
        self.builder.store(self.fma(x, y, self.builder.load(accumulator)), accumulator)

    def each_case(self, value: Any, cases: Sequence[int], emit: Callable[[int], None]) -> None:
        """Emit the code for each value of a small integer, and the jump between them."""
        after = self.builder.append_basic_block("done")
        nowhere = self.builder.append_basic_block("never")
        switch = self.builder.switch(value, nowhere)
        for case in cases:
            block = self.builder.append_basic_block(f"case{case}")
            switch.add_case(INDEX(case), block)
            self.builder.position_at_end(block)
            emit(case)
            self.builder.branch(after)
        self.builder.position_at_end(nowhere)
        self.builder.unreachable()
        self.builder.position_at_end(after)


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
        emit = _Emit(context, builder, kinds[0])
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
        emit = _Emit(context, builder, kinds[0])
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
def column_sum(typing: Any, A: Any, a0: Any, a_step: Any, panels: Any) -> Any:
    """Sum over all rows of one column of panels, as a double."""
    signature = types.float64(A, types.intp, types.intp, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        A, a0, a_step, panels = args
        emit = _Emit(context, builder, signature.args[0])
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


@intrinsic
def turn(typing: Any, x: Any, row: Any, column: Any, out: Any, start: Any) -> Any:
    """Put a square of a matrix, as many rows and columns as a register has lanes, in the lanes of a panel.

    The columns must follow each other in memory.
    """
    signature = types.void(x, types.intp, types.intp, out, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        x, row, column, out, start = args
        kinds = signature.args
        emit = _Emit(context, builder, kinds[3])
        matrix = context.make_array(kinds[0])(context, builder, x)
        stride = builder.extract_value(matrix.strides, 0)
        byte = ir.IntType(8).as_pointer()
        lanes, panel = emit.lanes, emit.lanes * VECTORS
        first = builder.gep(builder.bitcast(matrix.data, byte), [builder.mul(row, stride)])
        rows = []
        for i in range(lanes):
            here = builder.bitcast(builder.gep(first, [builder.mul(stride, INDEX(i))]), emit.number.as_pointer())
            rows.append(emit.load(emit.step(here, column)))
        step = 1
        while step < lanes:  # swap the off-diagonal blocks of squares twice as large in each round
            low = [lane if not lane & step else lanes + lane - step for lane in range(lanes)]
            high = [lane + step if not lane & step else lanes + lane for lane in range(lanes)]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), lanes), mask) for mask in (low, high)]
            for i in range(lanes):
                if not i & step:
                    pair = rows[i], rows[i + step]
                    rows[i], rows[i + step] = (builder.shuffle_vector(*pair, mask) for mask in masks)
            step *= 2
        place = emit.pointer(kinds[3], out, start)
        for i in range(lanes):
            emit.store(rows[i], emit.step(place, i * panel))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def power_of_two(typing: Any, x: Any) -> Any:
    """2^x, the exponent held where the result is a normal number; NaN stays NaN.  Loops over it vectorise."""
    signature = x(x)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = signature.args[0]
        emit = _Emit(context, builder, types.Array(kind, 1, "C"))
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
