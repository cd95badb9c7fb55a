"""The k largest numbers of each row, without sorting: bounds by bisection, candidates, and bisection among them.

Positive floating-point numbers are in the order of their bits, read as signed integers, and all others are below 1.
So the k-th largest is found by halving an interval of integers, at most 31 or 63 times whatever the numbers are:
all equal, sorted, or with many ties.  To look at few numbers, units are taken in groups: the k-th largest of the
groups' maxima is a bound that at least k units of the row reach, and seldom many more.
Bounds and candidates of all rows of a panel are found at once, in the lanes of registers.

Imported by the constructor of the top-k kernel, since it imports numba.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsae_backends.numba.emit import INDEX, VECTORS, Emit, bits_of, call_shared, fields
from sparsae_backends.numba.sparse import Bits, larger

STEPS = 20  # of the first bisection, which only has to find a bound


@intrinsic
def bounds_of(typing: Any, maxima: Any, k: Any, low: Any) -> Any:
    """Set low (address) to bounds that at least k of each row's maxima (address of bits, how many) reach, or to 1."""
    signature = types.void(maxima, types.intp, low)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        call_shared(
            builder, "bounds_of", bits_of(signature.args[2]), [*fields(builder, args[0], 2), *args[1:]], _bounds_of
        )
        return context.get_dummy_value()

    return signature, codegen


def _bounds_of(floats: Emit, maxima: Any, groups: Any, k: Any, out: Any) -> None:
    builder, emit = floats.builder, Bits(floats.builder, floats.bits)
    one, many = emit.splat(1), emit.spread(k)
    lows = [cgutils.alloca_once_value(builder, one) for _ in range(VECTORS)]
    found = emit.fold(maxima, groups, [one] * VECTORS, lambda most, column: larger(builder, column, most))
    highs = [cgutils.alloca_once_value(builder, high) for high in found]
    steps = builder.select(builder.icmp_signed(">", groups, k), INDEX(STEPS), INDEX(0))
    with cgutils.for_range(builder, steps) as loop:
        ends = [(builder.load(low), builder.load(high)) for low, high in zip(lows, highs, strict=True)]
        middles = [emit.middle(*pair) for pair in ends]
        least = iter(middles * 2)

        def step(count: Any, column: Any) -> Any:
            return builder.sub(count, builder.sext(builder.icmp_signed(">=", column, next(least)), emit.vector))

        counts, open_ones = emit.fold(maxima, groups, [emit.splat(0)] * VECTORS, step), []
        for v, (count, middle, (low, high)) in enumerate(zip(counts, middles, ends, strict=True)):
            enough = builder.icmp_signed(">=", count, many)
            low = builder.select(enough, middle, low)
            high = builder.select(enough, high, builder.sub(middle, one))
            high = builder.select(builder.icmp_signed("==", count, many), low, high)
            builder.store(low, lows[v])
            builder.store(high, highs[v])
            open_ones.append(builder.icmp_signed(">", high, low))
        with builder.if_then(builder.icmp_signed("==", emit.mask(open_ones), INDEX(0))):
            loop.do_break()
    emit.store([builder.load(low) for low in lows], out)


@intrinsic
def collect(typing: Any, columns: Any, low: Any, lists: Any, counts: Any) -> Any:
    """List the units of each row that reach its bound, in ascending order, and their numbers.

    columns is (address of a panel's bits, how many units), low the address of the bounds, lists (units, numbers, places
    for each row), counts the address of the lengths of the lists.
    """
    signature = types.void(columns, low, lists, counts)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        columns, low, lists, counts = args
        operands = [*fields(builder, columns, 2), low, *fields(builder, lists, 3), counts]
        call_shared(builder, "collect", bits_of(signature.args[1]), operands, _collect)
        return context.get_dummy_value()

    return signature, codegen


def _collect(
    floats: Emit, z: Any, p: Any, low: Any, units: Any, numbers: Any, room: Any, counts: Any
) -> None:  # fmt: skip
    builder, emit = floats.builder, Bits(floats.builder, floats.bits)
    integer = emit.vector.element
    emit.store([emit.splat(0)] * VECTORS, counts)
    bounds = emit.load(low)
    with cgutils.for_range(builder, p) as loop:
        pairs = zip(emit.load(z, loop.index), bounds, strict=True)
        rows = emit.mask([builder.icmp_signed(">=", *pair) for pair in pairs])
        left = cgutils.alloca_once_value(builder, rows)
        column = builder.gep(z, [builder.mul(loop.index, INDEX(floats.panel))])
        with cgutils.for_range(builder, builder.ctpop(rows)):
            rows = builder.load(left)
            builder.store(builder.and_(rows, builder.sub(rows, INDEX(1))), left)
            lane = builder.cttz(rows, ir.IntType(1)(1))
            length = builder.gep(counts, [lane])
            count = builder.load(length)
            place = builder.add(builder.mul(lane, room), as_index(builder, count))
            builder.store(builder.trunc(loop.index, units.type.pointee), builder.gep(units, [place]))
            builder.store(builder.load(builder.gep(column, [lane])), builder.gep(numbers, [place]))
            builder.store(builder.add(count, integer(1)), length)


@intrinsic
def bound_of(typing: Any, values: Any, k: Any) -> Any:
    """Return a number that at least k of the values reach, and of which those above it are fewer than k, or all k.

    values is (address of bits, how many).
    """
    signature = values.types[0].dtype(values, types.intp)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _call_bound_of(builder, bits_of(signature.args[0].types[0]), *fields(builder, args[0], 2), args[1])

    return signature, codegen


def _call_bound_of(builder: Any, bits: int, *operands: Any) -> Any:
    return call_shared(builder, "bound_of", bits, operands, _bound_of, ir.IntType(bits))


def _bound_of(floats: Emit, values: Any, count: Any, k: Any) -> Any:
    builder, integer = floats.builder, ir.IntType(floats.bits)
    first = builder.load(values)
    low, high = (cgutils.alloca_once_value(builder, first) for _ in range(2))
    with cgutils.for_range(builder, count) as loop:
        value = builder.load(builder.gep(values, [loop.index]))
        for place, sign in ((low, "<"), (high, ">")):
            end = builder.load(place)
            builder.store(builder.select(builder.icmp_signed(sign, value, end), value, end), place)
    with cgutils.for_range(builder, INDEX(floats.bits)) as loop:  # at least k values reach low, fewer reach high + 1
        bottom, top = builder.load(low), builder.load(high)
        with builder.if_then(builder.icmp_signed(">=", bottom, top)):
            loop.do_break()
        half = builder.ashr(builder.add(builder.sub(top, bottom), integer(1)), integer(1))
        middle = builder.add(bottom, half)
        reaching = cgutils.alloca_once_value(builder, INDEX(0))
        with cgutils.for_range(builder, count) as inner:
            reaches = builder.icmp_signed(">=", builder.load(builder.gep(values, [inner.index])), middle)
            builder.store(builder.add(builder.load(reaching), builder.zext(reaches, INDEX)), reaching)
        found = builder.load(reaching)
        enough = builder.icmp_signed(">=", found, k)
        builder.store(builder.select(enough, middle, bottom), low)
        builder.store(builder.select(enough, top, builder.sub(middle, integer(1))), high)
        with builder.if_then(builder.icmp_signed("==", found, k)):
            loop.do_break()
    return builder.load(low)


@intrinsic
def keep_largest(typing: Any, found: Any, k: Any, z: Any, kept: Any) -> Any:
    """Write what a row keeps of its candidates, ties to the lower unit; returns how many units these are.

    found is (units in ascending order, their numbers as bits of at least 1, how many); z the address of the row's
    numbers in the panel; kept (units, values, total): places for k of them, and sums of the activations over the rows.
    """
    signature = types.intp(found, types.intp, z, kept)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        found, k, z, kept = args
        operands = [*fields(builder, found, 3), k, z, *fields(builder, kept, 3)]
        return call_shared(builder, "keep_largest", bits_of(signature.args[2]), operands, _keep_largest, INDEX)

    return signature, codegen


def _keep_largest(emit: Emit, units: Any, numbers: Any, count: Any, k: Any, z: Any, *kept: Any) -> Any:
    builder, integer = emit.builder, ir.IntType(emit.bits)
    kept_units, kept_values, total = kept
    bound, room, place = (cgutils.alloca_once_value(builder, kind(0)) for kind in (integer, INDEX, INDEX))
    with builder.if_then(builder.icmp_signed(">", count, k)):  # else all are above the bound
        low = _call_bound_of(builder, emit.bits, numbers, count, k)
        builder.store(low, bound)
        builder.store(k, room)
        with cgutils.for_range(builder, count) as loop:
            above = builder.icmp_signed(">", builder.load(builder.gep(numbers, [loop.index])), low)
            builder.store(builder.sub(builder.load(room), builder.zext(above, INDEX)), room)
    low = builder.load(bound)
    with cgutils.for_range(builder, count) as loop:
        number, left = builder.load(builder.gep(numbers, [loop.index])), builder.load(room)
        tied = builder.and_(builder.icmp_signed("==", number, low), builder.icmp_signed(">", left, INDEX(0)))
        builder.store(builder.sub(left, builder.zext(tied, INDEX)), room)
        with builder.if_then(builder.or_(builder.icmp_signed(">", number, low), tied)):
            unit, at = builder.load(builder.gep(units, [loop.index])), builder.load(place)
            index = as_index(builder, unit)
            value = builder.load(emit.step(z, builder.mul(index, INDEX(emit.panel))))
            builder.store(unit, builder.gep(kept_units, [at]))
            builder.store(value, builder.gep(kept_values, [at]))
            emit.put(value, builder.gep(total, [index]))
            builder.store(builder.add(at, INDEX(1)), place)
    return builder.load(place)


def as_index(builder: Any, number: Any) -> Any:
    """Return an integer that is not negative in the type of an index."""
    return number if number.type == INDEX else builder.zext(number, INDEX)


@intrinsic
def mark_bad(typing: Any, many: Any, bad: Any, kept: Any) -> Any:
    """Keep one unit whose activation is NaN, where `bad` is not 0; returns how many there are, at least `many`.

    kept is as in `keep_largest`.
    """
    signature = types.intp(types.intp, bad, kept)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        many, bad, kept = args
        units, values, _ = fields(builder, kept, 3)
        marked = builder.icmp_signed("!=", bad, bad.type(0))
        with builder.if_then(marked):
            builder.store(units.type.pointee(0), units)
            builder.store(values.type.pointee(math.nan), values)
        return builder.select(marked, larger(builder, many, INDEX(1)), many)

    return signature, codegen
