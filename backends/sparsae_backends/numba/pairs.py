"""Vector code for pairs of bfloat16 numbers: rounding to them, and products of them.

A register holds twice as many as float32 numbers, and one instruction multiplies and adds all of them, so that a
product takes half the time.  A *word* is a pair in the place of a float32 number: word i of a row of n numbers holds
numbers i and (n + 1) // 2 + i.  Words are moved, never computed with.

Imported by the constructor of the top-k kernel, since it imports numba.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsae_backends.numba.emit import INDEX, VECTORS, Emit, call_shared, fields
from sparsae_backends.numba.tiles import product_tiles

HALF, ODD = 0x7FFF, 1 << 16  # of the last place that is kept, less one; the last place
MULTIPLY = "llvm.x86.avx512bf16.dpbf16ps.512"


@intrinsic
def multiply_pairs(typing: Any, weights: Any, inputs: Any, outputs: Any) -> Any:
    """C = start + length slack' + A B for one panel, A and B of words.

    weights is (A packed, start, length), inputs (B, columns, slack of each row), outputs (C, columns).
    """
    signature = types.void(weights, inputs, outputs)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = [*fields(builder, args[0], 3), *fields(builder, args[1], 3), *fields(builder, args[2], 2)]
        call_shared(builder, "multiply_pairs", 32, operands, _multiply_pairs)
        return context.get_dummy_value()

    return signature, codegen


def _multiply_pairs(emit: Emit, *operands: Any) -> None:
    A, start, length, B, depth, slack, C, count = operands
    builder = emit.builder
    words = ir.VectorType(ir.IntType(32), emit.lanes)
    kind = ir.FunctionType(emit.vector, [emit.vector, words, words])
    instruction = cgutils.get_or_insert_function(builder.module, kind, MULTIPLY)

    def started(column: Any) -> list[Any]:
        first = emit.splat(builder.load(emit.step(start, column)))
        factor = emit.splat(builder.load(emit.step(length, column)))
        return [emit.fma(factor, emit.load(emit.step(slack, v * emit.lanes)), first) for v in range(VECTORS)]

    def add_product(total: Any, x: Any, y: Any) -> None:
        pairs = builder.bitcast(x, words), builder.bitcast(y, words)
        builder.store(builder.call(instruction, [builder.load(total), *pairs]), total)

    product_tiles(emit, A, started, (B, depth, None), C, count, add_product)


@intrinsic
def round_to_pairs(typing: Any, row: Any, n: Any, out: Any, sums: Any) -> Any:
    """Write the words of n numbers at `row` to `out`; the squares of the numbers and of their errors to `sums` (2,)."""
    signature = types.void(row, types.intp, out, sums)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        call_shared(builder, "round_to_pairs", 32, args, _round_to_pairs)
        return context.get_dummy_value()

    return signature, codegen


def _round_to_pairs(emit: Emit, row: Any, n: Any, out: Any, sums: Any) -> None:
    builder, lanes = emit.builder, emit.lanes
    half = builder.udiv(builder.add(n, INDEX(1)), INDEX(2))
    last = builder.sub(n, half)
    spill = cgutils.alloca_once(builder, emit.number, 2 * lanes)
    totals = emit.accumulators(1, 2)[0]
    whole = builder.udiv(last, INDEX(lanes))
    with cgutils.for_range(builder, whole) as loop:
        i = builder.mul(loop.index, INDEX(lanes))
        low, high = emit.load(emit.step(row, i)), emit.load(emit.step(row, builder.add(half, i)))
        emit.store(_words(emit, low, high, totals), emit.step(out, i))
    first = builder.mul(whole, INDEX(lanes))
    rest = builder.sub(half, first)
    for part, (begin, count) in enumerate(((first, rest), (builder.add(half, first), builder.sub(last, first)))):
        emit.store(emit.zeros, emit.step(spill, part * lanes))
        _copy(emit, emit.step(row, begin), emit.step(spill, part * lanes), count)
    emit.store(_words(emit, emit.load(spill), emit.load(emit.step(spill, lanes)), totals), spill)
    _copy(emit, spill, emit.step(out, first), rest)
    for i, one in enumerate(totals):
        builder.store(emit.total(builder.load(one)), emit.step(sums, i))


def _words(emit: Emit, low: Any, high: Any, totals: list[Any]) -> Any:
    """Return the words of two registers; their squares, and those of the errors of rounding, are added to `totals`."""
    builder = emit.builder
    words = ir.VectorType(ir.IntType(32), emit.lanes)

    def every(number: int) -> Any:
        return ir.Constant(words, [number] * emit.lanes)

    def rounded(numbers: Any) -> Any:
        """Round to nearest, ties to even, in the upper half of each number."""
        bits = builder.bitcast(numbers, words)
        odd = builder.and_(builder.lshr(bits, every(16)), every(1))
        kept = builder.and_(builder.add(bits, builder.add(odd, every(HALF))), every(-ODD))
        error = builder.fsub(numbers, builder.bitcast(kept, emit.vector))
        emit.add_product(totals[0], numbers, numbers)
        emit.add_product(totals[1], error, error)
        return kept

    return builder.bitcast(builder.or_(builder.lshr(rounded(low), every(16)), rounded(high)), emit.vector)


def _copy(emit: Emit, source: Any, out: Any, count: Any) -> None:
    """Copy so many numbers."""
    with cgutils.for_range(emit.builder, count) as loop:
        emit.builder.store(emit.builder.load(emit.step(source, loop.index)), emit.step(out, loop.index))


@intrinsic
def raise_lower_bounds(typing: Any, columns: Any, slack: Any, maxima: Any) -> Any:
    """Raise maxima (address of bits) to a bound that some column of a row reaches, less what is uncertain.

    columns is (address, how many), slack (address of each row's, twice the largest length, twice the largest shift).
    """
    signature = types.void(columns, slack, maxima)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = [*fields(builder, args[0], 2), *fields(builder, args[1], 3), args[2]]
        call_shared(builder, "raise_lower_bounds", 32, operands, _raise_lower_bounds)
        return context.get_dummy_value()

    return signature, codegen


def _raise_lower_bounds(emit: Emit, *operands: Any) -> None:
    first, columns, slack, length, shift, maxima = operands
    builder = emit.builder
    words = ir.VectorType(ir.IntType(32), emit.lanes)

    def larger(bits: Any, other: Any) -> Any:
        return builder.select(builder.icmp_signed(">", bits, other), bits, other)

    most = emit.accumulators(1, VECTORS)[0]
    with cgutils.for_range(builder, columns) as loop:
        here = emit.step(first, builder.mul(loop.index, INDEX(emit.panel)))
        for v, one in enumerate(most):
            bits = [builder.bitcast(a, words) for a in (emit.load(emit.step(here, v * emit.lanes)), builder.load(one))]
            builder.store(builder.bitcast(larger(*bits), emit.vector), one)
    factor, constant = emit.splat(length), emit.splat(shift)
    for v, one in enumerate(most):
        width = emit.fma(factor, emit.load(emit.step(slack, v * emit.lanes)), constant)
        lower = builder.bitcast(builder.fsub(builder.load(one), width), words)
        place = builder.bitcast(builder.gep(maxima, [INDEX(v * emit.lanes)]), words.as_pointer())
        builder.store(larger(lower, builder.load(place, align=4)), place, align=4)
