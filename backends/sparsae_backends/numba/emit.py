"""Vector code emitted as LLVM: addresses, loads, sums, and functions that a module holds once.

Rows stand in the lanes of vector registers; `__init__.py` has the picture.
Imported by the kernel's constructor, since it imports numba.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array

from sparsae_backends.numba.target import TARGET

VECTORS = 3  # registers in a panel
PANEL_BYTES = VECTORS * TARGET.register_bytes  # of one column of a panel
INDEX = ir.IntType(64)
LINE = 64  # bytes of a cache line


def lanes(dtype: Any) -> int:
    """Numbers in a vector register."""
    return TARGET.register_bytes // int(dtype.itemsize)


def width(dtype: Any) -> int:
    """Rows in a panel."""
    return VECTORS * lanes(dtype)


class Emit:
    """Instructions on vectors of one floating-point type."""

    def __init__(self, builder: Any, bits: int) -> None:
        self.builder, self.bits = builder, bits
        self.number = ir.DoubleType() if bits == 64 else ir.FloatType()
        self.lanes = TARGET.register_bytes * 8 // bits
        self.panel = VECTORS * self.lanes
        self.vector = ir.VectorType(self.number, self.lanes)
        self.zeros = ir.Constant(self.vector, None)

    def constant(self, number: float) -> Any:
        """A register of one number."""
        return ir.Constant(self.vector, [self.number(number)] * self.lanes)

    def step(self, pointer: Any, elements: Any) -> Any:
        """Address so many elements further on; a number or a value."""
        return self.builder.gep(pointer, [INDEX(elements) if isinstance(elements, int) else elements])

    def row(self, first: Any, number: Any, stride: Any) -> Any:
        """Address of a row of a matrix, from the address of the first and the bytes between two."""
        byte = ir.IntType(8).as_pointer()
        start = self.builder.gep(self.builder.bitcast(first, byte), [self.builder.mul(number, stride)])
        return self.builder.bitcast(start, self.number.as_pointer())

    def load(self, pointer: Any) -> Any:
        """Load a vector from an address that need not be aligned."""
        loaded = self.builder.load(self.builder.bitcast(pointer, self.vector.as_pointer()))
        loaded.align = self.bits // 8
        return loaded

    def store(self, vector: Any, pointer: Any) -> None:
        """Store a vector at an address that need not be aligned."""
        self.builder.store(vector, self.builder.bitcast(pointer, vector.type.as_pointer()), align=self.bits // 8)

    def prefetch(self, pointer: Any, level: int = 3) -> None:
        """Ask for the cache line at an address; `level` 3 is the first of the caches, 2 the second."""
        byte, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = cgutils.get_or_insert_function(self.builder.module, kind, "llvm.prefetch.p0i8")
        place = self.builder.bitcast(pointer, byte)
        self.builder.call(function, [place, word(0), word(level), word(1)])  # to be read; data

    def fetch(self, first: Any, size: Any, level: int) -> None:
        """Ask for the cache lines of so many bytes from an address on."""
        start = self.builder.bitcast(first, ir.IntType(8).as_pointer())
        lines = self.builder.udiv(self.builder.add(size, INDEX(LINE - 1)), INDEX(LINE))
        with cgutils.for_range(self.builder, lines) as loop:
            self.prefetch(self.builder.gep(start, [self.builder.mul(loop.index, INDEX(LINE))]), level)

    def splat(self, number: Any) -> Any:
        """Return a vector of one number."""
        undefined = ir.Constant(ir.VectorType(number.type, self.lanes), ir.Undefined)
        first = self.builder.insert_element(undefined, number, ir.IntType(32)(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return self.builder.shuffle_vector(first, undefined, mask)

    def fma(self, x: Any, y: Any, z: Any) -> Any:
        """X y + z, rounded once where the processor can."""
        kind = x.type
        name = f"llvm.fmuladd.f{self.bits}" if kind == self.number else f"llvm.fmuladd.v{self.lanes}f{self.bits}"
        function = cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(kind, [kind] * 3), name)
        return self.builder.call(function, [x, y, z])

    def total(self, vector: Any) -> Any:
        """Sum of the lanes; in an order of the processor's choice, always the same."""
        name = f"llvm.vector.reduce.fadd.v{self.lanes}f{self.bits}"
        kind = ir.FunctionType(self.number, [self.number, self.vector])
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        return self.builder.call(function, [self.number(0.0), vector], fastmath=("reassoc",))

    def totals(self, vectors: Sequence[Any]) -> Any:
        """Return a register with the sum of the lanes of each of at most as many; in the order of `total` on x86."""
        rows, part = [*vectors, *[self.zeros] * (self.lanes - len(vectors))], self.lanes
        while part > 1:  # `part` numbers of each sum are left: two registers become one, of half as many of each
            part //= 2
            lows = [lane for lane in range(2 * self.lanes) if not lane & part]
            masks = [
                ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), [lane + up for lane in lows]) for up in (0, part)
            ]
            pairs = zip(rows[::2], rows[1::2], strict=True)
            rows = [self.builder.fadd(*[self.builder.shuffle_vector(*pair, mask) for mask in masks]) for pair in pairs]
        return rows[0]

    def accumulators(self, rows: int, columns: int, start: Any = None) -> list[list[Any]]:
        """Return rows x columns of vectors that stay in registers; they start as `start`, or 0."""
        made = [[cgutils.alloca_once(self.builder, self.vector) for _ in range(columns)] for _ in range(rows)]
        for row in made:
            for one in row:
                self.builder.store(self.zeros if start is None else start, one)
        return made

    def add_product(self, accumulator: Any, x: Any, y: Any) -> None:
        """Accumulator += x y."""
        self.builder.store(self.fma(x, y, self.builder.load(accumulator)), accumulator)

    def put(self, value: Any, pointer: Any, add: Any = None) -> None:
        """Add a number, or a vector, to as many in memory, of either dtype; where `add` is false, store it."""
        out, wide = pointer.type.pointee, isinstance(value.type, ir.VectorType)
        kind = ir.VectorType(out, self.lanes) if wide else out
        place = self.builder.bitcast(pointer, kind.as_pointer())
        align = 8 if out == ir.DoubleType() else 4
        narrow = out == ir.FloatType() and self.number == ir.DoubleType()  # is added in double precision
        before = self.builder.load(place, align=align)
        if narrow:
            before = self.builder.fpext(before, value.type)
        elif value.type != kind:
            value = self.builder.fpext(value, kind)
        if add is not None:
            zero = value.type.element(-0.0) if wide else value.type(-0.0)
            nothing = ir.Constant(value.type, [zero] * self.lanes) if wide else zero  # added, it changes no bit
            before = self.builder.select(add, before, nothing)
        found = self.builder.fadd(before, value)
        self.builder.store(self.builder.fptrunc(found, kind) if narrow else found, place, align=align)

    def transposed(self, rows: list[Any]) -> list[Any]:
        """Return the columns of a square of registers."""
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


def call_shared(
    builder: Any, name: str, bits: int, operands: Sequence[Any], body: Callable[..., Any], result: Any = None
) -> Any:
    """Call a function that the module holds once: `body(emit, *operands)` emits it at its first call.

    `result` is the LLVM type of what the body returns, where it returns something.
    A tile has up to 25 cases.  Inlined at each place that uses it, and in each function above that one, it took most
    of the time of compiling.
    """
    full = f"sparsae.{name}.f{bits}"
    function = builder.module.globals.get(full)
    if function is None:
        kind = ir.FunctionType(result or ir.VoidType(), [operand.type for operand in operands])
        function = ir.Function(builder.module, kind, full)
        function.linkage = "internal"
        function.attributes.add("noinline")
        inner = ir.IRBuilder(function.append_basic_block("entry"))
        returned = body(Emit(inner, bits), *function.args)
        if result is None:
            inner.ret_void()
        else:
            inner.ret(returned)
    return builder.call(function, operands)


def bits_of(pointer: Any) -> int:
    """Return the size of the numbers that a numba pointer type points to."""
    return int(pointer.dtype.bitwidth)


def fields(builder: Any, operands: Any, count: int) -> list[Any]:
    """Return the values in a tuple."""
    return [builder.extract_value(operands, i) for i in range(count)]


@intrinsic
def at(typing: Any, array: Any, index: Any) -> Any:
    """Address of an element of a flat array: a pointer, which costs no reference count as an array would."""
    signature = types.CPointer(array.dtype)(array, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        return builder.gep(data, [args[1]])

    return signature, codegen


@intrinsic
def part(typing: Any, array: Any, start: Any, count: Any) -> Any:
    """So many elements of a flat array, as ``array[start : start + count]`` where all are there.

    numba's slice takes 170 instructions, since it allows for any numbers.
    """
    signature = array(array, types.intp, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        whole = context.make_array(signature.args[0])(context, builder, args[0])
        made = context.make_array(signature.return_type)(context, builder)
        populate_array(
            made, data=builder.gep(whole.data, [args[1]]), shape=[args[2]], strides=whole.strides,
            itemsize=whole.itemsize, meminfo=None,
        )  # fmt: skip
        return made._getvalue()

    return signature, codegen


@intrinsic
def clear(typing: Any, place: Any, count: Any) -> Any:
    """Set so many numbers from an address on to 0."""
    signature = types.void(place, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        size = builder.mul(args[1], INDEX(bits_of(signature.args[0]) // 8))
        cgutils.memset(builder, args[0], size, 0)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def moved(typing: Any, pointer: Any, elements: Any) -> Any:
    """Address so many elements further on."""
    signature = pointer(pointer, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.gep(args[0], [args[1]])

    return signature, codegen


@intrinsic
def at_row(typing: Any, matrix: Any, row: Any, column: Any) -> Any:
    """Address of an element of a matrix whose columns follow each other."""
    signature = types.CPointer(matrix.dtype)(matrix, types.intp, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, args[0])
        emit = Emit(builder, signature.args[0].dtype.bitwidth)
        return emit.step(emit.row(made.data, args[1], builder.extract_value(made.strides, 0)), args[2])

    return signature, codegen


@intrinsic
def at_column(typing: Any, matrix: Any, row: Any, column: Any) -> Any:
    """Address of an element of a matrix whose rows follow each other: one that is transposed."""
    signature = types.CPointer(matrix.dtype)(matrix, types.intp, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        made = context.make_array(signature.args[0])(context, builder, args[0])
        emit = Emit(builder, signature.args[0].dtype.bitwidth)
        return emit.step(emit.row(made.data, args[2], builder.extract_value(made.strides, 1)), args[1])

    return signature, codegen
