"""The ways of writing the backpropagation: each function takes the inputs and returns a call that computes the sums.

Each is written anew as it was usual then.  Only the call is timed: a way that makes scratch once, or copies data into
another memory order, does so before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sparsae._types import Array
from sparsae.bench.inputs import BackpropInputs
from sparsae.model import Parameters

Call = Callable[[], Parameters]


class Variant(NamedTuple):
    """A way of writing the backpropagation."""

    label: str
    make: Callable[[BackpropInputs], Call]


def loop_as_asked(given: BackpropInputs) -> Call:
    """One sample at a time; the sparsity vector is computed again for each, although it never changes."""
    a1, a2, a3, W2 = given.a1, given.a2, given.a3, given.W2

    def call() -> Parameters:
        W1_sum, b1_sum, W2_sum, b2_sum = given.zeros()
        b1_column, b2_column = b1_sum[:, None], b2_sum[:, None]
        for i in range(len(a1)):
            delta3 = (-(a1[i, :] - a3[i, :]) * a3[i, :] * (1 - a3[i, :]))[:, None]  # (n, 1)
            s = (given.beta * (-given.rho / given.rho_hat + (1 - given.rho) / (1 - given.rho_hat)))[:, None]  # (p, 1)
            h = a2[i, :][:, None]  # (p, 1)
            delta2 = (np.dot(W2.T, delta3) + s) * h * (1 - h)  # (p, 1)
            W1_sum += np.dot(delta2, a1[i : i + 1, :])  # (p, n)
            W2_sum += np.dot(delta3, a2[i : i + 1, :])  # (n, p)
            b1_column += delta2
            b2_column += delta3
        return Parameters(W1_sum, b1_sum, W2_sum, b2_sum)

    return call


def loop_hoisted(given: BackpropInputs) -> Call:
    """One sample at a time; constants are computed before the loop, delta3 for all samples at once."""
    a1, a2, a3, W2 = given.a1, given.a2, given.a3, given.W2

    def call() -> Parameters:
        W1_sum, b1_sum, W2_sum, b2_sum = given.zeros()
        b1_column, b2_column = b1_sum[:, None], b2_sum[:, None]
        s = given.sparsity[:, None]  # (p, 1)
        all_delta3 = (-(a1 - a3) * a3 * (1 - a3)).T  # (n, m)
        W2T = W2.T
        for i in range(len(a1)):
            delta3 = all_delta3[:, i : i + 1]  # (n, 1)
            row = a2[i : i + 1, :]  # (1, p)
            h = row.T
            delta2 = (np.dot(W2T, delta3) + s) * h * (1 - h)  # (p, 1)
            W1_sum += np.dot(delta2, a1[i : i + 1, :])  # (p, n)
            W2_sum += np.dot(delta3, row)  # (n, p)
            b1_column += delta2
            b2_column += delta3
        return Parameters(W1_sum, b1_sum, W2_sum, b2_sum)

    return call


def vectorised(given: BackpropInputs) -> Call:
    """No loop: whole arrays, the samples in columns as in the published formulas."""
    a1, a2, a3, W2 = given.a1, given.a2, given.a3, given.W2

    def call() -> Parameters:
        delta3 = (-(a1 - a3) * a3 * (1 - a3)).T  # (n, m)
        delta2 = (np.dot(W2.T, delta3) + given.sparsity[:, None]) * a2.T * (1 - a2.T)  # (p, m)
        return Parameters(np.dot(delta2, a1), delta2.sum(axis=1), np.dot(delta3, a2), delta3.sum(axis=1))

    return call


def einsum(given: BackpropInputs, *, optimize: bool) -> Call:
    """No loop: the products as index expressions."""
    a1, a2, a3, W2 = given.a1, given.a2, given.a3, given.W2

    def call() -> Parameters:
        delta3 = (a3 - a1) * a3 * (1 - a3)  # (m, n)
        delta2 = (np.einsum("iv,vh->ih", delta3, W2, optimize=optimize) + given.sparsity) * a2 * (1 - a2)  # (m, p)
        return Parameters(
            np.einsum("ih,iv->hv", delta2, a1, optimize=optimize),
            np.einsum("ih->h", delta2),
            np.einsum("iv,ih->vh", delta3, a2, optimize=optimize),
            np.einsum("iv->v", delta3),
        )

    return call


class ScratchArrays(NamedTuple):
    """Arrays as long as the data, in C order, for intermediate results."""

    delta3: Array  # (m, n)
    slope3: Array  # (m, n)
    delta2: Array  # (m, p)
    slope2: Array  # (m, p)


def _in_place(given: BackpropInputs, get_scratch: Callable[[], ScratchArrays]) -> Call:
    """Write every result into the arrays of `get_scratch()`; operands of products are in C order, or transposed."""
    a1, a2, a3, W2 = (np.ascontiguousarray(a) for a in (given.a1, given.a2, given.a3, given.W2))

    def call() -> Parameters:
        delta3, slope3, delta2, slope2 = get_scratch()
        np.subtract(a3, a1, out=delta3)  # (m, n)
        np.subtract(1, a3, out=slope3)
        slope3 *= a3
        delta3 *= slope3
        np.subtract(1, a2, out=slope2)  # (m, p)
        slope2 *= a2
        np.dot(delta3, W2, out=delta2)
        delta2 += given.sparsity
        delta2 *= slope2
        return Parameters(np.dot(delta2.T, a1), delta2.sum(axis=0), np.dot(delta3.T, a2), delta3.sum(axis=0))

    return call


def memory_order(given: BackpropInputs) -> Call:
    """Whole arrays in the memory order that suits the products, and scratch made once."""
    scratch = _make_scratch(given, np.zeros)
    return _in_place(given, lambda: scratch)


def zeros_per_call(given: BackpropInputs) -> Call:
    """The same, the scratch made by `np.zeros` in each call."""
    return _in_place(given, lambda: _make_scratch(given, np.zeros))


def empty_per_call(given: BackpropInputs) -> Call:
    """The same, the scratch made by `np.empty` in each call."""
    return _in_place(given, lambda: _make_scratch(given, np.empty))


def _make_scratch(given: BackpropInputs, make: Callable[..., Array]) -> ScratchArrays:
    """Four arrays in C order."""
    return ScratchArrays(*(make(like.shape) for like in (given.a3, given.a3, given.a2, given.a2)))


VARIANTS = {
    "asked": Variant("NumPy, one sample at a time, as asked", loop_as_asked),
    "hoisted": Variant("NumPy, the loop with constants hoisted", loop_hoisted),
    "einsum": Variant("NumPy, einsum", lambda given: einsum(given, optimize=False)),
    "einsum-optimized": Variant("NumPy, einsum with optimize=True", lambda given: einsum(given, optimize=True)),
    "vectorised": Variant("NumPy, vectorised, as answered", vectorised),
    "order": Variant("NumPy, memory order chosen, scratch made once", memory_order),
    "empty": Variant("NumPy, memory order chosen, np.empty in each call", empty_per_call),
    "zeros": Variant("NumPy, memory order chosen, np.zeros in each call", zeros_per_call),
}
