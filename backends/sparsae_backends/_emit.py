"""Vector code for the `numba` backend, emitted as LLVM: sizes of panels and tiles, and the instructions they share.

Rows stand in the lanes of vector registers.  Arrays are cut into *panels* of `width` rows: a panel of an (m, c) array
is c groups of `width` numbers, one for each column.

Imported by the kernel's constructor, since it imports numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import binding, ir
from numba.core import cgutils

_WIDE = binding.get_host_cpu_features().get("avx512f", False)
BYTES = 64 if _WIDE else 32  # of a vector register
VECTORS = 3  # in a panel
TALL = 9 if _WIDE else 4  # columns of a result tile of `product`: TALL * VECTORS accumulators
SQUARE = 5 if _WIDE else 3  # side of a result tile of `gram`
HIGH, BROAD = (6, 4) if _WIDE else (3, 3)  # rows, and vectors of columns, of a result tile of `gram_of_rows`
INDEX = ir.IntType(64)


def lanes(dtype: Any) -> int:
    """Numbers in a vector register."""
    return BYTES // int(dtype.itemsize)


def width(dtype: Any) -> int:
    """Rows in a panel."""
    return VECTORS * lanes(dtype)


class Emit:
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

    def row(self, matrix: Any, number: Any, column: Any) -> Any:
        """Address of an element of a matrix whose columns follow each other."""
        offset = self.builder.mul(number, self.builder.extract_value(matrix.strides, 0))
        byte = ir.IntType(8).as_pointer()
        start = self.builder.gep(self.builder.bitcast(matrix.data, byte), [offset])
        return self.step(self.builder.bitcast(start, self.number.as_pointer()), column)

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

    def add_to_doubles(self, vector: Any, pointer: Any) -> None:
        """Add a vector to as many doubles in memory."""
        doubles = ir.VectorType(ir.DoubleType(), self.lanes)
        place = self.builder.bitcast(pointer, doubles.as_pointer())
        before = self.builder.load(place)
        before.align = 8
        addend = vector if self.bits == 64 else self.builder.fpext(vector, doubles)
        self.builder.store(self.builder.fadd(before, addend), place, align=8)

    def transposed(self, rows: list[Any]) -> list[Any]:
        """The columns of a square of registers."""
        rows, lanes, step = list(rows), self.lanes, 1
        while step < lanes:  # swap the off-diagonal blocks of squares twice as large in each round
            low = [lane if not lane & step else lanes + lane - step for lane in range(lanes)]
            high = [lane + step if not lane & step else lanes + lane for lane in range(lanes)]
            masks = [ir.Constant(ir.VectorType(ir.IntType(32), lanes), mask) for mask in (low, high)]
            for i in range(lanes):
                if not i & step:
                    pair = rows[i], rows[i + step]
                    rows[i], rows[i + step] = (self.builder.shuffle_vector(*pair, mask) for mask in masks)
            step *= 2
        return rows

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
