"""Vector code for sparse activations: which rows of a panel reach a bound, and sums of few rows of a matrix.

Imported by the constructor of the top-k kernel, since it imports numba.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsae_backends.numba.emit import INDEX, VECTORS, Emit, bits_of, call_shared, fields
from sparsae_backends.numba.target import TARGET

BROAD = 8  # registers of a strip of columns: as many sums, and the factor
FOLDS = 4  # registers of sums of a scalar product


class Bits:
    """Instructions on the bits of a panel's columns, read as signed integers: `VECTORS` registers each."""

    def __init__(self, builder: Any, bits: int) -> None:
        self.builder, self.bits = builder, bits
        self.lanes = TARGET.register_bytes * 8 // bits
        self.vector = ir.VectorType(ir.IntType(bits), self.lanes)

    def splat(self, number: int) -> Any:
        """Return a register of one number."""
        return ir.Constant(self.vector, [number] * self.lanes)

    def spread(self, number: Any) -> Any:
        """Return a register of one number, an index."""
        given = number if self.bits == 64 else self.builder.trunc(number, self.vector.element)
        undefined = ir.Constant(self.vector, ir.Undefined)
        first = self.builder.insert_element(undefined, given, ir.IntType(32)(0))
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), None)
        return self.builder.shuffle_vector(first, undefined, mask)

    def middle(self, low: Any, high: Any) -> Any:
        """Return low + (high - low + 1) / 2."""
        room = self.builder.add(self.builder.sub(high, low), self.splat(1))
        return self.builder.add(low, self.builder.ashr(room, self.splat(1)))

    def load(self, first: Any, column: Any = 0) -> list[Any]:
        """Load a column, from the address of the first."""
        start = INDEX(column) if isinstance(column, int) else column
        start = self.builder.mul(start, INDEX(VECTORS * self.lanes))
        return [self.builder.load(self._place(first, start, v), align=self.bits // 8) for v in range(VECTORS)]

    def store(self, column: list[Any], first: Any) -> None:
        """Store the registers of a column at an address."""
        for v, register in enumerate(column):
            self.builder.store(register, self._place(first, INDEX(0), v), align=self.bits // 8)

    def mask(self, truths: list[Any]) -> Any:
        """Return an integer with a bit for each row, from registers of truth values."""
        found = INDEX(0)
        for v, truth in enumerate(truths):
            one = self.builder.zext(self.builder.bitcast(truth, ir.IntType(self.lanes)), INDEX)
            found = self.builder.or_(found, self.builder.shl(one, INDEX(v * self.lanes)))
        return found

    def fold(self, first: Any, columns: Any, start: list[Any], step: Callable[[Any, Any], Any]) -> list[Any]:
        """Return registers that are `start`, then step(result, column) for each column."""
        places = [cgutils.alloca_once_value(self.builder, one) for one in start]
        with cgutils.for_range(self.builder, columns) as loop:
            for place, one in zip(places, self.load(first, loop.index), strict=True):
                self.builder.store(step(self.builder.load(place), one), place)
        return [self.builder.load(place) for place in places]

    def _place(self, first: Any, start: Any, v: int) -> Any:
        there = self.builder.gep(first, [self.builder.add(start, INDEX(v * self.lanes))])
        return self.builder.bitcast(there, self.vector.as_pointer())


def larger(builder: Any, number: Any, other: Any) -> Any:
    """Return the larger of two signed integers, or of each two in registers."""
    return builder.select(builder.icmp_signed(">", number, other), number, other)


def _bits(builder: Any, pointer: Any) -> Bits:
    return Bits(builder, int(pointer.dtype.bitwidth))


@intrinsic
def raise_maxima(typing: Any, columns: Any, maxima: Any) -> Any:
    """Raise maxima (address) to the largest number of each row in the columns (address, how many)."""
    signature = types.void(columns, maxima)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _bits(builder, signature.args[1])
        first, many = fields(builder, args[0], 2)

        emit.store(emit.fold(first, many, emit.load(args[1]), partial(larger, builder)), args[1])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def mark_negative_nan(typing: Any, columns: Any, minus_infinity: Any, marks: Any) -> Any:
    """Set marks (address) to -1 for rows in which a column (address, how many) is NaN with a sign.

    Its bits lie between those of -infinity, which are given, and 0.
    """
    signature = types.void(columns, types.intp, marks)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = _bits(builder, signature.args[2])
        first, many = fields(builder, args[0], 2)
        lowest = emit.spread(args[1])

        def step(marked: Any, column: Any) -> Any:
            between = builder.icmp_unsigned(">", column, lowest)
            return builder.or_(marked, builder.sext(between, emit.vector))

        emit.store(emit.fold(first, many, emit.load(args[2]), step), args[2])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def sum_of_rows(typing: Any, start: Any, terms: Any, matrix: Any, out: Any, registers: Any) -> Any:
    """Out = start + sum_i factor_i Y[row_i], for at most `BROAD` registers of columns.

    terms is (factors, row numbers, how many), matrix (Y, elements from row to row); start and out are addresses.
    """
    signature = types.void(start, terms, matrix, out, registers)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        start, terms, matrix, out, registers = args
        operands = [start, *fields(builder, terms, 3), *fields(builder, matrix, 2), out, registers]
        call_shared(builder, "sum_of_rows", bits_of(signature.args[0]), operands, _sum_of_rows)
        return context.get_dummy_value()

    return signature, codegen


def _sum_of_rows(emit: Emit, *operands: Any) -> None:
    builder = emit.builder
    start, factors, numbers, count, Y, row_step, out, registers = operands

    def tile(broad: int) -> None:
        steps = range(0, broad * emit.lanes, emit.lanes)
        sums = emit.accumulators(1, broad)[0]
        for one, step in zip(sums, steps, strict=True):
            builder.store(emit.load(emit.step(start, step)), one)
        with cgutils.for_range(builder, count) as loop:
            factor = emit.splat(builder.load(emit.step(factors, loop.index)))
            number = builder.zext(builder.load(builder.gep(numbers, [loop.index])), INDEX)
            row = emit.step(Y, builder.mul(number, row_step))
            for one, step in zip(sums, steps, strict=True):
                emit.add_product(one, factor, emit.load(emit.step(row, step)))
        for one, step in zip(sums, steps, strict=True):
            emit.store(builder.load(one), emit.step(out, step))

    emit.each_case(registers, range(1, BROAD + 1), tile)


@intrinsic
def fetch_bytes(typing: Any, place: Any, size: Any) -> Any:
    """Ask for the cache lines of so many bytes from an address on, for the second level of cache."""
    signature = types.void(place, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        Emit(builder, bits_of(signature.args[0])).fetch(args[0], args[1], 2)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def dot_product(typing: Any, x: Any, y: Any, count: Any) -> Any:
    """Sum of the products of so many numbers at two addresses, always in the same order."""
    signature = x.dtype(x, y, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(builder, bits_of(signature.args[0]))
        out = cgutils.alloca_once(builder, emit.number)
        call_shared(builder, "dot_product", emit.bits, [*args, out], _dot_product)
        return builder.load(out)

    return signature, codegen


def _dot_product(emit: Emit, x: Any, y: Any, count: Any, out: Any) -> None:
    builder, sums = emit.builder, emit.accumulators(1, FOLDS)[0]
    done = INDEX(0)
    for broad in (FOLDS, 1):
        step = INDEX(broad * emit.lanes)
        many = builder.udiv(builder.sub(count, done), step)
        with cgutils.for_range(builder, many) as loop:
            first = builder.add(done, builder.mul(loop.index, step))
            for v in range(broad):
                place = builder.add(first, INDEX(v * emit.lanes))
                emit.add_product(sums[v], emit.load(emit.step(x, place)), emit.load(emit.step(y, place)))
        done = builder.add(done, builder.mul(many, step))
    total = builder.load(sums[0])
    for one in sums[1:]:
        total = builder.fadd(total, builder.load(one))
    builder.store(emit.total(total), out)
    with cgutils.for_range(builder, builder.sub(count, done)) as loop:
        place = builder.add(done, loop.index)
        emit.add_product(out, builder.load(emit.step(x, place)), builder.load(emit.step(y, place)))
