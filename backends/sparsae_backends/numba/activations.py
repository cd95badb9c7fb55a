"""Sigmoids, their slopes and errors in whole registers: what is done with a panel while it is in the first-level cache.

A sigmoid 1 / (1 + 2^z) needs a division, so 2^z may be a fraction as well: with z = k + f, k whole and |f| <= 1/2,

    2^f = (1 + t) / (1 - t)   where   t = tanh(f log(2) / 2) = f P(f^2) / Q(f^2)

    2^z = 2^k (Q + f P) / (Q - f P)

That takes five products (three in float32) where a polynomial as accurate takes eleven (six), and they wait less for
each other: a processor holds too few instructions to do much else meanwhile.

Imported by the kernel's constructor, since it imports numba.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from sparsae_backends.numba.emit import INDEX, VECTORS, Emit, bits_of, call_shared
from sparsae_backends.numba.lanes import SHAPE_OF_FLOAT

# P and Q, minimax for the relative error of 2^f (Remez): 9e-11 and 8e-19.
TANH = {
    32: ((0.3465735896356537, 0.0027710489683976857), (1.0, 0.04803324850998693)),
    64: (
        (0.34657359027997264, 0.0046247916706282375, 5.286688376695191e-06),
        (1.0, 0.053382079176567884, 0.00022892673919638125),
    ),
}


def power_of_two(emit: Emit, x: Any) -> tuple[Any, Any]:
    """Emit numerator and denominator of 2^x, the exponent held where both and their inverses are normal numbers.

    The denominator is within 0.8 and 1.2; NaN makes both of them NaN.
    """
    builder = emit.builder
    mantissa, limit, rounding = SHAPE_OF_FLOAT[emit.bits]
    for sign, bound in ((">", limit), ("<", -limit)):
        held = emit.constant(bound)
        x = builder.select(builder.fcmp_ordered(sign, x, held), held, x)
    shifted = builder.fadd(x, emit.constant(rounding))
    f = builder.fsub(x, builder.fsub(shifted, emit.constant(rounding)))
    square = builder.fmul(f, f)
    P, Q = ([emit.constant(term) for term in terms] for terms in TANH[emit.bits])
    for terms in (P, Q):
        while len(terms) > 1:
            highest = terms.pop()
            terms[-1] = emit.fma(highest, square, terms[-1])
    odd = builder.fmul(f, P[0])
    integers = ir.VectorType(ir.IntType(emit.bits), emit.lanes)
    exponent = builder.shl(builder.bitcast(shifted, integers), integers([mantissa] * emit.lanes))
    numerator = builder.add(builder.bitcast(builder.fadd(Q[0], odd), integers), exponent)
    return builder.bitcast(numerator, emit.vector), builder.fsub(Q[0], odd)


@intrinsic
def sigmoids(typing: Any, z: Any, columns: Any) -> Any:
    """1 / (1 + 2^z) for z, so many columns of one panel."""
    return types.void(z, types.intp), _shared("sigmoids", _sigmoids)


def _sigmoids(emit: Emit, z: Any, columns: Any) -> None:
    builder = emit.builder
    with cgutils.for_range(builder, columns) as loop:
        column = emit.step(z, builder.mul(loop.index, INDEX(emit.panel)))
        for place in (emit.step(column, v * emit.lanes) for v in range(VECTORS)):
            above, below = power_of_two(emit, emit.load(place))
            emit.store(builder.fdiv(below, builder.fadd(below, above)), place)


@intrinsic
def sigmoid_errors(typing: Any, d: Any, target: Any, columns: Any, totals: Any) -> Any:
    """From z to delta3 = (a3 - target) a3 (1 - a3) in so many columns of one panel; returns the squared error.

    Both are exactly 0 where the target is 0 and z is `NOTHING`: in lanes without a row.
    The sum of each column is added to a register of `totals`.
    """
    return _errors_signature(d, target, columns, totals), _shared("sigmoid_errors", _sigmoid_errors, returns=True)


@intrinsic
def linear_errors(typing: Any, d: Any, target: Any, columns: Any, totals: Any) -> Any:
    """As `sigmoid_errors`, for delta3 = z - target."""
    return _errors_signature(d, target, columns, totals), _shared("linear_errors", _linear_errors, returns=True)


@intrinsic
def sigmoid_slopes(typing: Any, delta2: Any, a2: Any, columns: Any, totals: Any) -> Any:
    """delta2 = (delta3 W2 + s) a2 (1 - a2) in so many columns of one panel; the bracket is given.

    The sum of each column is added to a register of `totals`.
    """
    return types.void(delta2, a2, types.intp, totals), _shared("sigmoid_slopes", _sigmoid_slopes)


@intrinsic
def active_slopes(typing: Any, delta2: Any, a2: Any, columns: Any, totals: Any) -> Any:
    """As `sigmoid_slopes`, for delta2 = (delta3 W2 + s) where a2 is not 0, else 0."""
    return types.void(delta2, a2, types.intp, totals), _shared("active_slopes", _active_slopes)


def _errors_signature(d: Any, target: Any, columns: Any, totals: Any) -> Any:
    return d.dtype(d, target, types.intp, totals)


def _shared(name: str, body: Callable[..., Any], returns: bool = False) -> Callable[..., Any]:
    """Return the code generator of an intrinsic that calls a function which the module holds once."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        bits = bits_of(signature.args[0])
        found = call_shared(builder, name, bits, args, body, Emit(builder, bits).number if returns else None)
        return found if returns else context.get_dummy_value()

    return codegen


def sigmoid_delta(emit: Emit, z: Any, goal: Any) -> tuple[Any, Any]:
    """Emit the error a3 - goal of a3 = 1 / (1 + 2^z), and delta3."""
    builder = emit.builder
    above, below = power_of_two(emit, z)
    inverse = builder.fdiv(emit.constant(1.0), builder.fadd(below, above))
    a3, rest = builder.fmul(below, inverse), builder.fmul(above, inverse)
    error = builder.fsub(a3, goal)
    return error, builder.fmul(error, builder.fmul(a3, rest))


def linear_delta(emit: Emit, z: Any, goal: Any) -> tuple[Any, Any]:
    """As `sigmoid_delta`, for a linear output: both are z - goal."""
    error = emit.builder.fsub(z, goal)
    return error, error


def _sigmoid_errors(emit: Emit, *operands: Any) -> Any:
    return _errors(emit, sigmoid_delta, *operands)


def _linear_errors(emit: Emit, *operands: Any) -> Any:
    return _errors(emit, linear_delta, *operands)


def _errors(emit: Emit, delta: Callable[..., tuple[Any, Any]], d: Any, target: Any, columns: Any, totals: Any) -> Any:
    """Replace z by the second of what `delta` gives; returns the sum of squares of the first."""
    squares = emit.accumulators(1, 1)[0][0]

    def one(z: Any, goal: Any) -> Any:
        error, product = delta(emit, z, goal)
        emit.add_product(squares, error, error)
        return product

    _replace(emit, d, target, columns, totals, one)
    return emit.total(emit.builder.load(squares))


def _sigmoid_slopes(emit: Emit, delta2: Any, a2: Any, columns: Any, totals: Any) -> None:
    builder = emit.builder

    def one(bracket: Any, a: Any) -> Any:
        return builder.fmul(bracket, builder.fmul(a, builder.fsub(emit.constant(1.0), a)))

    _replace(emit, delta2, a2, columns, totals, one)


def _active_slopes(emit: Emit, delta2: Any, a2: Any, columns: Any, totals: Any) -> None:
    builder = emit.builder

    def one(bracket: Any, a: Any) -> Any:
        return builder.select(builder.fcmp_unordered("!=", a, emit.zeros), bracket, emit.zeros)

    _replace(emit, delta2, a2, columns, totals, one)


def _replace(emit: Emit, panel: Any, other: Any, columns: Any, totals: Any, one: Callable[[Any, Any], Any]) -> None:
    """Replace the registers of a panel by a function of them and of those of another; adds up columns."""
    builder = emit.builder
    with cgutils.for_range(builder, columns) as loop:
        column = builder.mul(loop.index, INDEX(emit.panel))
        here, there = emit.step(panel, column), emit.step(other, column)
        place = emit.step(totals, builder.mul(loop.index, INDEX(emit.lanes)))
        total = emit.load(place)
        for v in range(VECTORS):
            register = emit.step(here, v * emit.lanes)
            found = one(emit.load(register), emit.load(emit.step(there, v * emit.lanes)))
            emit.store(found, register)
            total = builder.fadd(total, found)
        emit.store(total, place)


@intrinsic
def add_totals(typing: Any, totals: Any, columns: Any, out: Any) -> Any:
    """Add the sum of each of so many registers to a number."""
    signature = types.void(totals, types.intp, out)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        name = f"add_totals.to_f{bits_of(signature.args[2])}"
        call_shared(builder, name, bits_of(signature.args[0]), args, _add_totals)
        return context.get_dummy_value()

    return signature, codegen


def _add_totals(emit: Emit, totals: Any, columns: Any, out: Any) -> None:
    with cgutils.for_range(emit.builder, columns) as loop:
        register = emit.load(emit.step(totals, emit.builder.mul(loop.index, INDEX(emit.lanes))))
        emit.put(emit.total(register), emit.step(out, loop.index))
