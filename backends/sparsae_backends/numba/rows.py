"""Vector code for rows of matrices as they lie: copies, errors, and what is added to sums of either dtype.

Sums are float64, or of the problem's dtype in large mini-batches; a pass that adds to either is compiled once.

Imported by the constructor of the top-k kernel, since it imports numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsae_backends.numba.activations import linear_delta, sigmoid_delta
from sparsae_backends.numba.emit import INDEX, Emit, bits_of, call_shared, fields

LOG2E = 1.4426950408889634


@intrinsic
def copy_rows(typing: Any, rows: Any, shape: Any, out: Any) -> Any:
    """Copy rows together: rows are (address, bytes from row to row), shape (how many, numbers, with zeros behind)."""
    signature = types.void(rows, shape, out)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = [*fields(builder, args[0], 2), *fields(builder, args[1], 3), args[2]]
        call_shared(builder, "copy_rows", bits_of(signature.args[2]), operands, _copy_rows)
        return context.get_dummy_value()

    return signature, codegen


def _copy_rows(emit: Emit, x: Any, row_bytes: Any, rows: Any, live: Any, wide: Any, out: Any) -> None:
    builder = emit.builder
    whole = builder.udiv(live, INDEX(emit.lanes))
    done = builder.mul(whole, INDEX(emit.lanes))
    with cgutils.for_range(builder, rows) as row:
        here, there = emit.row(x, row.index, row_bytes), emit.step(out, builder.mul(row.index, wide))
        with cgutils.for_range(builder, whole) as loop:
            place = builder.mul(loop.index, INDEX(emit.lanes))
            emit.store(emit.load(emit.step(here, place)), emit.step(there, place))
        with cgutils.for_range(builder, builder.sub(live, done)) as loop:
            place = builder.add(done, loop.index)
            builder.store(builder.load(emit.step(here, place)), emit.step(there, place))
        with cgutils.for_range(builder, builder.sub(wide, live)) as loop:
            builder.store(emit.number(0.0), emit.step(there, builder.add(live, loop.index)))


@intrinsic
def row_errors(typing: Any, d: Any, target: Any, count: Any, sigmoid: Any) -> Any:
    """From z, or a3 where the output is linear, to delta3 in one row of so many numbers; returns its squared error.

    d and target are addresses; d is padded to whole registers, which become 0 there.
    """
    signature = d.dtype(d, target, types.intp, types.boolean)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = bits_of(signature.args[0])
        return call_shared(builder, "row_errors", bits, args, _row_errors, Emit(builder, bits).number)

    return signature, codegen


def _row_errors(emit: Emit, d: Any, target: Any, count: Any, sigmoid: Any) -> Any:
    builder, lanes = emit.builder, emit.lanes
    whole = builder.udiv(count, INDEX(lanes))
    done = builder.mul(whole, INDEX(lanes))
    rest = builder.sub(count, done)
    spill, squares = cgutils.alloca_once(builder, emit.number, lanes), emit.accumulators(1, 1)[0][0]
    emit.store(emit.zeros, spill)
    with cgutils.for_range(builder, rest) as loop:
        number = builder.load(emit.step(target, builder.add(done, loop.index)))
        builder.store(number, emit.step(spill, loop.index))
    integers = ir.VectorType(ir.IntType(32), lanes)
    every_lane = ir.Constant(integers, list(range(lanes)))
    registers = builder.udiv(builder.add(count, INDEX(lanes - 1)), INDEX(lanes))

    def replace(delta: Callable[..., tuple[Any, Any]], scale: float) -> None:
        with cgutils.for_range(builder, registers) as loop:
            first = builder.mul(loop.index, INDEX(lanes))
            place = emit.step(d, first)
            filled = builder.icmp_signed("<", loop.index, whole)
            goal = emit.load(builder.select(filled, emit.step(target, first), spill))
            z = builder.fmul(emit.load(place), emit.constant(scale))
            left = emit.splat(builder.trunc(builder.sub(count, first), integers.element))
            live = builder.icmp_signed("<", every_lane, left)
            error, product = (builder.select(live, one, emit.zeros) for one in delta(emit, z, goal))
            emit.add_product(squares, error, error)
            emit.store(product, place)

    with builder.if_else(sigmoid) as (curved, straight):
        with curved:
            replace(sigmoid_delta, -LOG2E)
        with straight:
            replace(linear_delta, 1.0)
    return emit.total(builder.load(squares))


@intrinsic
def add_number(typing: Any, number: Any, out: Any) -> Any:
    """Add a number to one of the sums; out is as in `add_numbers`."""
    signature = types.void(types.float64, out)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        emit = Emit(builder, 64)
        in_either(emit, fields(builder, args[1], 3), lambda place: emit.put(args[0], place))
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def add_numbers(typing: Any, numbers: Any, out: Any, add: Any) -> Any:
    """Add numbers to sums, or write them where `add` is false.

    numbers is (address, elements from one to the next, how many); out is (address of the bytes of the sums, whether
    these are float64, index of the first).
    """
    signature = types.void(numbers, out, types.boolean)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = [*fields(builder, args[0], 3), *fields(builder, args[1], 3), args[2]]
        call_shared(builder, "add_numbers", bits_of(signature.args[0].types[0]), operands, _add_numbers)
        return context.get_dummy_value()

    return signature, codegen


def _add_numbers(emit: Emit, x: Any, step: Any, count: Any, *others: Any) -> None:
    builder, lanes = emit.builder, INDEX(emit.lanes)
    *out, add = others
    together = builder.icmp_signed("==", step, INDEX(1))
    whole = builder.select(together, builder.udiv(count, lanes), INDEX(0))

    def put(first: Any) -> None:
        with cgutils.for_range(builder, whole) as loop:
            place = builder.mul(loop.index, lanes)
            emit.put(emit.load(emit.step(x, place)), emit.step(first, place), add)
        done = builder.mul(whole, lanes)
        with cgutils.for_range(builder, builder.sub(count, done)) as loop:
            place = builder.add(done, loop.index)
            emit.put(builder.load(emit.step(x, builder.mul(place, step))), emit.step(first, place), add)

    in_either(emit, out, put)


@intrinsic
def put_turned(typing: Any, square: Any, out: Any, out_step: Any, add: Any) -> Any:
    """Transpose a square of as many rows and columns as a register has lanes; store it, or add it to sums.

    square is (address, elements from row to row), out as in `add_numbers`, with elements from row to row.
    """
    signature = types.void(square, out, types.intp, types.boolean)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        operands = [*fields(builder, args[0], 2), *fields(builder, args[1], 3), *args[2:]]
        call_shared(builder, "put_turned", bits_of(signature.args[0].types[0]), operands, _put_turned)
        return context.get_dummy_value()

    return signature, codegen


def _put_turned(emit: Emit, square: Any, row_step: Any, *others: Any) -> None:
    builder = emit.builder
    *out, out_step, add = others
    rows = [emit.load(emit.step(square, builder.mul(row_step, INDEX(i)))) for i in range(emit.lanes)]
    turned = emit.transposed(rows)

    def put(first: Any) -> None:
        for i, row in enumerate(turned):
            emit.put(row, emit.step(first, builder.mul(out_step, INDEX(i))), add)

    in_either(emit, out, put)


def in_either(emit: Emit, out: list[Any], body: Callable[[Any], None]) -> None:
    """Emit `body(address)` for sums of float64 and of float32, and the branch between; out is as in `add_numbers`."""
    builder = emit.builder
    place, double, first = out
    with builder.if_else(double) as branches:
        for branch, kind in zip(branches, (ir.DoubleType(), ir.FloatType()), strict=True):
            with branch:
                body(emit.step(builder.bitcast(place, kind.as_pointer()), first))
