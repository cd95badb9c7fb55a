"""Is it right?  The reference, differences of the cost, closed forms, invariants, and `backprop` on its own."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from sparsae.model import Parameters
from sparsae.plugins.sums import Sums
from sparsae.reference import compare_gradient_sums, evaluate_reference, gradient_sums
from sparsae.testing.harness import SETTINGS, CannotVerify, Harness


def reference(kit: Harness) -> None:
    """Agrees with reference.py: shapes, both outputs, either number of passes, with a separate target, short blocks."""
    shapes = [(203, 9, 5, 64), (97, 6, 6, 16), (4100, 3, 2, 4096)]
    if not kit.quick:
        shapes += [(411, 40, 23, 100), (640, 16, 64, 37)]
    for (m, n, p, rows), output, passes, denoise in product(shapes, kit.outputs, (2, 1), (False, True)):
        kit.label = f"m={m} n={n} p={p} block_rows={rows} output={output} passes={passes} separate target={denoise}"
        target = kit.data(m, n, seed=1) if denoise else None
        options: dict[str, Any] = {"output": output, "passes": passes, "block_rows": rows, "target": target}
        kit.agrees(kit.parameters(n, p), kit.data(m, n), **options)


def small_shapes(kit: Harness) -> None:
    """One row, one input, one hidden unit, as many hidden units as inputs, blocks of one row."""
    for (m, n, p, rows), output, passes in product(
        [(1, 1, 1, 1), (1, 7, 3, 64), (20, 1, 4, 7), (20, 5, 1, 7), (33, 4, 4, 16), (5, 3, 2, 1), (17, 3, 2, 16)],
        kit.outputs,
        (2, 1),
    ):
        kit.label = f"m={m} n={n} p={p} block_rows={rows} output={output} passes={passes}"
        kit.agrees(kit.parameters(n, p), kit.data(m, n), block_rows=rows, passes=passes, output=output)


def gradient(kit: Harness) -> None:
    """The gradient is the derivative of the cost: central differences, by component and in random directions."""
    double = kit.dtype == np.float64
    h = 1e-4 if double else 1e-2
    m, n, p = 40, 4, 3
    X, made = kit.data(m, n), kit.parameters(n, p)
    theta = made.flatten()
    rng = np.random.default_rng(0)
    directions = [*np.eye(theta.size)] if double else []
    directions += [d / np.linalg.norm(d) for d in rng.normal(size=(4, theta.size))]
    for output, passes in product(kit.outputs, (2, 1)):
        slope = kit.evaluate(made, X, output=output, passes=passes, block_rows=16).gradient
        noise = evaluate_reference(made, X, output=output, **SETTINGS).bound(kit.dtype, 16)[0] / h
        for number, d in enumerate(directions):
            kit.label = f"m={m} n={n} p={p} output={output} passes={passes} direction {number}, step {h:g}"
            up, down = (
                kit.evaluate(
                    Parameters.from_flat(theta + sign * h * d, n, p), X, output=output, passes=passes, block_rows=16
                ).cost
                for sign in (1, -1)
            )
            rounded = 0.0 if double else float(np.finfo(np.float32).eps) * np.abs(slope).sum() * np.abs(theta).max() / h
            kit.close("directional derivative", slope @ d, (up - down) / (2 * h), 100 * h**2 + noise + rounded)


def closed_forms(kit: Harness) -> None:
    """Parameters of zero: activations of one half, and cost and gradient that can be written down."""
    m, n, p = 50, 6, 4
    X = kit.data(m, n)
    x = X.astype(np.float64)
    zero = Parameters.from_flat(np.zeros(2 * n * p + n + p), n, p)
    rho, beta = SETTINGS["rho"], SETTINGS["beta"]
    kl = beta * p * (rho * np.log(2 * rho) + (1 - rho) * np.log(2 * (1 - rho)))
    slope = np.full(p, 2 * beta * (1 - 2 * rho))  # (p,) the sparsity vector
    eps = 300 * float(np.finfo(kit.dtype).eps)
    for output, passes in product(kit.outputs, (2, 1)):
        kit.label = f"all parameters zero, m={m} n={n} p={p} output={output} passes={passes}"
        found = kit.evaluate(zero, X, output=output, passes=passes, block_rows=16)
        a3, slope3 = (0.5, 0.25) if output == "sigmoid" else (0.0, 1.0)
        delta3 = (a3 - x) * slope3
        got = Parameters.from_flat(found.gradient, n, p)
        kit.close("cost", found.cost, np.square(a3 - x).sum() / (2 * m) + kl, eps * (1 + kl))
        kit.close("gradient of b2", got.b2, delta3.mean(axis=0), eps)
        kit.close("gradient of W2", got.W2, np.repeat(delta3.mean(axis=0)[:, None] / 2, p, axis=1), eps)
        kit.close("gradient of b1", got.b1, slope / 4, eps * (1 + abs(slope)))
        kit.close("gradient of W1", got.W1, np.outer(slope / 4, x.mean(axis=0)), eps * (1 + abs(slope))[:, None])


def invariants(kit: Harness) -> None:
    """Rows in another order, rows twice, no sparsity term, no weight decay, any split: nothing beyond rounding."""
    m, n, p = 150, 7, 4
    X, made = kit.data(m, n), kit.parameters(n, p)
    order = np.random.default_rng(1).permutation(m)
    for passes in (2, 1):
        for name, rows in (("rows permuted", X[order]), ("every row twice", np.concatenate([X, X]))):
            kit.label = f"{name}, m={m} n={n} p={p} passes={passes}"
            kit.agrees(made, rows, of=X, passes=passes, block_rows=37)
        for name in ("beta", "weight_decay"):
            kit.label = f"{name}=0, m={m} n={n} p={p} passes={passes}"
            kit.agrees(made, X, passes=passes, block_rows=37, **{name: 0.0})
        for block_rows in (1, 13, 149, 150):
            kit.label = f"block_rows={block_rows}, m={m} n={n} p={p} passes={passes}"
            kit.agrees(made, X, passes=passes, block_rows=block_rows)


def backprop(kit: Harness) -> None:
    """`backprop` on given activations: the formulas, with a sparsity vector of either sign, in any memory order."""
    for (m, n, p), output, denoise in product([(61, 8, 5), (1, 3, 2), (64, 4, 4)], kit.outputs, (False, True)):
        kernel = kit.kernel(n, p, output=output)
        if not kernel.has_backprop:
            raise CannotVerify("its kernel defines no backprop; sparsae.backprop declines it")
        rng = np.random.default_rng(m)
        a1, a3, y = (rng.random((m, n)).astype(kit.dtype) for _ in range(3))
        a2, W2 = rng.random((m, p)).astype(kit.dtype), rng.normal(size=(n, p)).astype(kit.dtype)
        sparsity = rng.normal(0, 3, p).astype(kit.dtype)
        for order in ("C", "F"):
            kit.label = f"backprop m={m} n={n} p={p} output={output} separate target={denoise} order={order}"
            b1, b2, b3, v = (np.asarray(a, order=order) for a in (a1, a2, a3, W2))
            got = kernel.backprop(b1, b2, b3, v, sparsity, np.asarray(y, order=order) if denoise else b1)
            if len(got) != 4:
                kit.fail(f"backprop returned {len(got)} arrays; expected Parameters(W1, b1, W2, b2)")
            given = (a1, a2, a3, W2, sparsity, y if denoise else a1)
            sums = Parameters(*(np.asarray(part, dtype=np.float64) for part in got))
            kit.agree(compare_gradient_sums(sums, *given, output=output, dtype=kit.dtype))


def one_block(kit: Harness) -> None:
    """The methods one by one: sums are added to `into`, rows and activations too; `accumulate` agrees with formulas."""
    n, p = 6, 4
    for m, output in product((31, 64), kit.outputs):
        kit.label = f"accumulate by hand, twice, m={m} n={n} p={p} output={output}"
        kernel, X, made = kit.kernel(n, p, output=output), kit.data(m, n), kit.parameters(n, p).astype(kit.dtype)
        weights, vector = kernel.begin(made), np.linspace(-1, 2, p).astype(kit.dtype)
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
        expected, scale = gradient_sums(x, h, o, W2, vector, x, output)
        eps = 32 * float(np.finfo(kit.dtype).eps) * (np.sqrt(m) + np.sqrt(n))
        kit.close("rows", into.rows, 2 * m, 0)
        kit.close("the sum of activations from encode", np.asarray(total, np.float64), h.sum(axis=0), eps * m)
        kit.close("the sum of activations", into.hidden, 2 * h.sum(axis=0), eps * m)
        kit.close(
            "squared_error", into.squared_error, 2 * np.square(o - x).sum(), eps * m * n * (1 + abs(o).max() ** 2)
        )
        for name, true, terms in zip(expected.names, expected, scale, strict=True):
            kit.close(f"the sum {name}", getattr(into, name), 2 * true, eps * (terms + m))
