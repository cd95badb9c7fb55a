"""Is it right?  The reference, differences of the cost, closed forms, invariants, and `backprop` on its own."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from sparsae.cost import sparsity_terms
from sparsae.model import Parameters
from sparsae.plugins.sums import Sums
from sparsae.reference import evaluate_reference
from sparsae.testing.harness import SETTINGS, Subject, Unverified


def reference(s: Subject) -> None:
    """Agrees with reference.py: shapes, both outputs, either number of passes, with a separate target, short blocks."""
    shapes = [(203, 9, 5, 64), (97, 6, 6, 16)] + ([] if s.quick else [(411, 40, 23, 100), (640, 16, 64, 37)])
    for (m, n, p, rows), output, passes, denoise in product(shapes, s.outputs, (2, 1), (False, True)):
        s.label = f"m={m} n={n} p={p} block_rows={rows} output={output} passes={passes} separate target={denoise}"
        target = s.data(m, n, seed=1) if denoise else None
        options: dict[str, Any] = {"output": output, "passes": passes, "block_rows": rows, "target": target}
        s.agrees(s.parameters(n, p), s.data(m, n), **options)


def small_shapes(s: Subject) -> None:
    """One row, one input, one hidden unit, as many hidden units as inputs, blocks of one row."""
    for (m, n, p, rows), output, passes in product(
        [(1, 1, 1, 1), (1, 7, 3, 64), (20, 1, 4, 7), (20, 5, 1, 7), (33, 4, 4, 16), (5, 3, 2, 1), (17, 3, 2, 16)],
        s.outputs,
        (2, 1),
    ):
        s.label = f"m={m} n={n} p={p} block_rows={rows} output={output} passes={passes}"
        s.agrees(s.parameters(n, p), s.data(m, n), block_rows=rows, passes=passes, output=output)


def gradient(s: Subject) -> None:
    """The gradient is the derivative of the cost: central differences, by component and in random directions."""
    double = s.dtype == np.float64
    h = 1e-4 if double else 1e-2
    m, n, p = 40, 4, 3
    X, made = s.data(m, n), s.parameters(n, p)
    theta = made.flatten()
    rng = np.random.default_rng(0)
    directions = [*np.eye(theta.size)] if double else []
    directions += [d / np.linalg.norm(d) for d in rng.normal(size=(4, theta.size))]
    for output, passes in product(s.outputs, (2, 1)):
        slope = s.evaluate(made, X, output=output, passes=passes, block_rows=16).gradient
        noise = evaluate_reference(made, X, output=output, **SETTINGS).bound(s.dtype, 16)[0] / h
        for number, d in enumerate(directions):
            s.label = f"m={m} n={n} p={p} output={output} passes={passes} direction {number}, step {h:g}"
            up, down = (
                s.evaluate(
                    Parameters.from_flat(theta + sign * h * d, n, p), X, output=output, passes=passes, block_rows=16
                ).cost
                for sign in (1, -1)
            )
            rounded = 0.0 if double else float(np.finfo(np.float32).eps) * np.abs(slope).sum() * np.abs(theta).max() / h
            s.close("directional derivative", slope @ d, (up - down) / (2 * h), 100 * h**2 + noise + rounded)


def closed_forms(s: Subject) -> None:
    """Parameters of zero: activations of one half, and cost and gradient that can be written down."""
    m, n, p = 50, 6, 4
    X = s.data(m, n)
    x = X.astype(np.float64)
    zero = Parameters.from_flat(np.zeros(2 * n * p + n + p), n, p)
    kl, slope = sparsity_terms(np.full(p, 0.5), SETTINGS["rho"], SETTINGS["beta"])
    eps = 300 * float(np.finfo(s.dtype).eps)
    for output, passes in product(s.outputs, (2, 1)):
        s.label = f"all parameters zero, m={m} n={n} p={p} output={output} passes={passes}"
        found = s.evaluate(zero, X, output=output, passes=passes, block_rows=16)
        a3, slope3 = (0.5, 0.25) if output == "sigmoid" else (0.0, 1.0)
        delta3 = (a3 - x) * slope3
        got = Parameters.from_flat(found.gradient, n, p)
        s.close("cost", found.cost, np.square(a3 - x).sum() / (2 * m) + kl, eps * (1 + kl))
        s.close("gradient of b2", got.b2, delta3.mean(axis=0), eps)
        s.close("gradient of W2", got.W2, np.repeat(delta3.mean(axis=0)[:, None] / 2, p, axis=1), eps)
        s.close("gradient of b1", got.b1, slope / 4, eps * (1 + abs(slope)))
        s.close("gradient of W1", got.W1, np.outer(slope / 4, x.mean(axis=0)), eps * (1 + abs(slope))[:, None])


def invariants(s: Subject) -> None:
    """Rows in another order, rows twice, no sparsity term, no weight decay, any split: nothing beyond rounding."""
    m, n, p = 150, 7, 4
    X, made = s.data(m, n), s.parameters(n, p)
    order = np.random.default_rng(1).permutation(m)
    for passes in (2, 1):
        for name, rows in (("rows permuted", X[order]), ("every row twice", np.concatenate([X, X]))):
            s.label = f"{name}, m={m} n={n} p={p} passes={passes}"
            s.agrees(made, rows, of=X, passes=passes, block_rows=37)
        for name in ("beta", "weight_decay"):
            s.label = f"{name}=0, m={m} n={n} p={p} passes={passes}"
            s.agrees(made, X, passes=passes, block_rows=37, **{name: 0.0})
        for block_rows in (1, 13, 149, 150):
            s.label = f"block_rows={block_rows}, m={m} n={n} p={p} passes={passes}"
            s.agrees(made, X, passes=passes, block_rows=block_rows)


def backprop(s: Subject) -> None:
    """`backprop` on given activations: the formulas, with a sparsity vector of either sign, in any memory order."""
    for (m, n, p), output, denoise in product([(61, 8, 5), (1, 3, 2), (64, 4, 4)], s.outputs, (False, True)):
        kernel = s.kernel(n, p, output=output)
        if not kernel.has_backprop:
            raise Unverified("its kernel defines no backprop; sparsae.backprop declines it")
        rng = np.random.default_rng(m)
        a1, a3, y = (rng.random((m, n)).astype(s.dtype) for _ in range(3))
        a2, W2 = rng.random((m, p)).astype(s.dtype), rng.normal(size=(n, p)).astype(s.dtype)
        sparsity = rng.normal(0, 3, p).astype(s.dtype)
        for order in ("C", "F"):
            s.label = f"backprop m={m} n={n} p={p} output={output} separate target={denoise} order={order}"
            b1, b2, b3, v = (np.asarray(a, order=order) for a in (a1, a2, a3, W2))
            got = kernel.backprop(b1, b2, b3, v, sparsity, np.asarray(y, order=order) if denoise else b1)
            expected, scale = formulas(a1, a2, a3, W2, sparsity, y if denoise else a1, output)
            eps = 8 * float(np.finfo(s.dtype).eps) * (np.sqrt(m) + np.sqrt(n))
            if len(got) != 4:
                s.fail(f"backprop returned {len(got)} arrays; expected Parameters(W1, b1, W2, b2)")
            for name, g, true, terms in zip(Parameters._fields, got, expected, scale, strict=True):
                s.close(f"backprop's {name}", np.asarray(g, dtype=np.float64), true, eps * terms)


def one_block(s: Subject) -> None:
    """The methods one by one: sums are added to `into`, rows and activations too; `accumulate` agrees with formulas."""
    n, p = 6, 4
    for m, output in product((31, 64), s.outputs):
        s.label = f"accumulate by hand, twice, m={m} n={n} p={p} output={output}"
        kernel, X, made = s.kernel(n, p, output=output), s.data(m, n), s.parameters(n, p).astype(s.dtype)
        weights, vector = kernel.begin(made), np.linspace(-1, 2, p).astype(s.dtype)
        block = kernel.prepare(X, X, True)
        into = Sums(n, p)
        for _ in range(2):
            a2, total = kernel.encode(weights, block)
            kernel.accumulate(weights, block, a2, vector, into)
        kernel.finish(weights, into)
        x = X.astype(np.float64)
        W1, b1, W2, b2 = made.astype(np.float64)
        h = 1 / (1 + np.exp(-(x @ W1.T + b1)))
        z = h @ W2.T + b2
        o = 1 / (1 + np.exp(-z)) if output == "sigmoid" else z
        expected, scale = formulas(x, h, o, W2, vector, x, output)
        eps = 32 * float(np.finfo(s.dtype).eps) * (np.sqrt(m) + np.sqrt(n))
        s.close("rows", into.rows, 2 * m, 0)
        s.close("the sum of activations from encode", np.asarray(total, np.float64), h.sum(axis=0), eps * m)
        s.close("the sum of activations", into.hidden, 2 * h.sum(axis=0), eps * m)
        s.close("squared_error", into.squared_error, 2 * np.square(o - x).sum(), eps * m * n * (1 + abs(o).max() ** 2))
        for name, true, terms in zip(Parameters._fields, expected, scale, strict=True):
            s.close(f"the sum {name}", getattr(into, name), 2 * true, eps * (terms + m))


def formulas(
    a1: Any, a2: Any, a3: Any, W2: Any, sparsity: Any, target: Any, output: str
) -> tuple[Parameters, Parameters]:
    """Gradient sums in float64, and the sums of the absolute values of their terms."""
    x, h, o, v, sv, y = (np.asarray(a, dtype=np.float64) for a in (a1, a2, a3, W2, sparsity, target))
    slope3 = o * (1 - o) if output == "sigmoid" else np.ones_like(o)
    delta3, size3 = (o - y) * slope3, (abs(o) + abs(y)) * abs(slope3)
    q = h * (1 - h)
    delta2, size2 = (delta3 @ v + sv) * q, (size3 @ abs(v) + abs(sv)) * abs(h)
    true = Parameters(delta2.T @ x, delta2.sum(0), delta3.T @ h, delta3.sum(0))
    return true, Parameters(size2.T @ abs(x), size2.sum(0), size3.T @ abs(h), size3.sum(0))
