"""The methods one by one, on blocks: sums are added to what is there, in float64 and in the problem's dtype."""

from __future__ import annotations

from itertools import product
from typing import Any, NamedTuple, final

import numpy as np

from sparsae._types import Array, Output
from sparsae.model import Parameters
from sparsae.plugins.sums import Sums
from sparsae.reference import gradient_sums
from sparsae.reference.units import activate, logistic
from sparsae.testing.harness import CountingKernel, Harness, NotOffered

N, P = 6, 4
LONG = 1200  # rows of a block in which loops over tiles, panels and chunks come round more than once


@final
class ReferenceSums(NamedTuple):
    """Sums over the rows of a block in float64, and the sums of the absolute values of the terms."""

    rows: int
    squared_error: float
    hidden: Array  # (p,)
    fired: Array  # (p,)
    near: Array  # (p,)
    threshold: Array  # (p,)
    gradient: Parameters
    terms: Parameters
    back: float  # the largest |delta3 W2|, each term by itself


def block_sums(kit: Harness, given: Parameters, x: Array, y: Array, s: Array, output: Output) -> ReferenceSums:
    """Compute the sums that a kernel should add for a block, in float64."""
    rows, (W1, b1, W2, b2, *_) = x.astype(np.float64), given.astype(np.float64)
    unit, threshold = kit.problem(x.shape[1], len(b1)), given.astype(np.float64).threshold
    z = rows @ W1.T + b1  # (m, p)
    a2 = activate(z, unit.activation, unit.k, threshold)  # (m, p)
    z3 = a2 @ W2.T + b2  # (m, n)
    a3 = logistic(z3) if output == "sigmoid" else z3  # (m, n)
    gradient, terms = gradient_sums(x, a2, a3, W2, s, y, output, kit.activation)
    delta3 = (a3 - y) * (a3 * (1 - a3) if output == "sigmoid" else 1)  # (m, n)
    near = np.zeros_like(z)
    if unit.bandwidth is not None and threshold is not None:
        near = (abs(z - threshold) < unit.bandwidth / 2).astype(np.float64)  # (m, p)
    fired = np.count_nonzero(a2, axis=0) if kit.activation != "sigmoid" else np.zeros(len(b1))
    return ReferenceSums(
        rows=len(x),
        squared_error=float(np.square(a3 - y).sum()),
        hidden=a2.sum(axis=0),
        fired=fired,
        near=near.sum(axis=0),
        threshold=(near * (delta3 @ W2)).sum(axis=0),
        gradient=gradient,
        terms=terms,
        back=float((abs(delta3) @ abs(W2)).max(initial=0.0)),
    )


def compare_sums(kit: Harness, into: Sums, true: ReferenceSums, *, times: int = 1, eps: float) -> None:
    """Fail unless the sums are `times` those of the block."""
    m, n = times * true.rows, into.n_visible
    largest = 1 + np.sqrt(true.squared_error) + abs(true.hidden).max()
    kit.close("rows", into.rows, m, 0)
    kit.close("the sum of activations", into.hidden, times * true.hidden, eps * (m + times * true.hidden))
    kit.close("squared_error", into.squared_error, times * true.squared_error, eps * m * n * largest**2)
    kit.close("fired, the number of rows in which units are active,", into.fired, times * true.fired, 0)
    kit.close("near, the number of rows near the threshold,", into.near, times * true.near, 0)
    kit.close("the sum threshold", into.threshold, times * true.threshold, eps * m * (1 + true.back))
    for name, part, terms in zip(true.gradient.names, true.gradient, true.terms, strict=True):
        kit.close(f"the sum {name}", getattr(into, name), times * part, times * eps * (terms + m))


def one_block(kit: Harness) -> None:
    """The methods one by one: sums are added to `into`, rows and activations too; `accumulate` agrees with formulas."""
    for m, output in product((31, 64, LONG), kit.outputs):
        kit.label = f"accumulate by hand, twice, m={m} n={N} p={P} output={output}"
        kernel, made = kit.kernel(N, P, output=output, block_rows=max(m, 64)), kit.parameters(N, P)
        X, given = kit.rows(made, m), kit.given(made)
        weights, s = kernel.begin(given), np.linspace(-1, 2, P).astype(kit.dtype)
        block, into = kernel.prepare(X, X, True), Sums(N, P)
        for _ in range(2):
            a2, total = kernel.encode(weights, block)
            kernel.accumulate(weights, block, a2, s, into)
        kernel.finish(weights, into)
        true, eps = block_sums(kit, given, X, X, s, output), _eps(kit, m)
        kit.close("the sum of activations from encode", np.asarray(total, np.float64), true.hidden, eps * m)
        compare_sums(kit, into, true, times=2, eps=eps)
        kit.label = f"accumulate without encode, with a separate target, m={m} n={N} p={P} output={output}"
        Y, into = kit.data(m, N, seed=3), Sums(N, P)
        kernel.accumulate(weights, kernel.prepare(X, Y, False), None, s, into)
        kernel.finish(weights, into)
        compare_sums(kit, into, block_sums(kit, given, X, Y, s, output), eps=eps)


def direct_sums(kit: Harness) -> None:
    """With `direct_sums`: sums of the problem's dtype; W1 and W2 are written where there are no rows yet."""
    for output in kit.outputs:
        kernel, made = kit.kernel(N, P, output=output), kit.parameters(N, P)
        if not kernel.direct_sums:
            raise NotOffered("its kernel has no direct_sums")
        X, given, s = kit.rows(made, 57), kit.given(made), np.linspace(-1, 2, P).astype(kit.dtype)
        weights, eps = kernel.begin(given), _eps(kit, len(X))
        for cuts, dtype in product(([57], [40, 17]), dict.fromkeys((kit.dtype, np.dtype(np.float64)))):
            kit.label = f"direct sums of {dtype} over blocks of {cuts} rows, n={N} p={P} output={output}"
            into = Sums(N, P, np.zeros(Sums(N, P).vector.size, dtype))
            into.W1[...] = into.W2[...] = np.nan  # memory that is used again: anything may stand there
            _add_blocks(kernel, weights, X, cuts, s, into)
            kernel.finish(weights, into)
            compare_sums(kit, into, block_sums(kit, given, X, X, s, output), eps=2 * eps)
        if kernel.adds_blocks:
            kit.label = f"direct sums of two blocks, one after the other and added, n={N} p={P} output={output}"
            _same_bits_of_blocks(kit, kernel, weights, X, s)


def _same_bits_of_blocks(kit: Harness, kernel: CountingKernel, weights: Any, X: Array, s: Array) -> None:
    """With `adds_blocks`: the sums of two blocks have the bits of the sum of two vectors."""
    size = Sums(N, P).vector.size
    both, first, second = (Sums(N, P, np.zeros(size, kit.dtype)) for _ in range(3))
    _add_blocks(kernel, weights, X, [40, 17], s, both)
    _add_blocks(kernel, weights, X[:40], [40], s, first)
    _add_blocks(kernel, weights, X[40:], [17], s, second)
    kit.same_bits("sums of two blocks are not those of each, added", both.head, first.head + second.head)


def _add_blocks(kernel: CountingKernel, weights: Any, X: Array, cuts: list[int], s: Array, into: Sums) -> None:
    start = 0
    for rows in cuts:
        x = X[start : start + rows]
        kernel.accumulate(weights, kernel.prepare(x, x, False), None, s, into)
        start += rows


def _eps(kit: Harness, m: int) -> float:
    """Relative accuracy of a sum over m rows of n products."""
    return float(32 * np.finfo(kit.dtype).eps * (np.sqrt(m) + np.sqrt(N)))
