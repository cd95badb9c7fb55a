"""Is it right?  The reference, differences of the cost, invariants, and `backprop` on its own."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from sparsae.model import Parameters
from sparsae.reference import compare_gradient_sums
from sparsae.testing.harness import Harness, NotOffered

PENALTY = {"sigmoid": "beta", "relu": "l1", "jumprelu": "l0"}
COARSER = np.float16  # rows are far enough from every kink for the steps of `gradient`


def reference(kit: Harness) -> None:
    """Agrees with reference.py: shapes, both outputs, either number of passes, with a separate target, short blocks."""
    shapes = [(203, 9, 5, 64), (97, 6, 6, 16), (4100, 3, 2, 4096)]
    if kit.activation == "topk":
        shapes.append((150, 10, 70, 64))  # few of many: where sparse products pay
    if not kit.quick:
        shapes += [(411, 40, 23, 100), (640, 16, 64, 37)]
    for (m, n, p, rows), output, passes, denoise in product(shapes, kit.outputs, (2, 1), (False, True)):
        kit.label = f"m={m} n={n} p={p} block_rows={rows} output={output} passes={passes} separate target={denoise}"
        made = kit.parameters(n, p)
        target = kit.data(m, n, seed=1) if denoise else None
        options: dict[str, Any] = {"output": output, "passes": passes, "block_rows": rows, "target": target}
        if kit.activation != "sigmoid":
            options["pre_bias"] = denoise
            kit.label += f" pre_bias={denoise}"
        if p > 64 and kit.activation == "topk":
            options["k"] = 5
            kit.label += " k=5"
        kit.agrees(made, kit.rows(made, m, k=options.get("k")), **options)


def small_shapes(kit: Harness) -> None:
    """One row, one input, one hidden unit, as many hidden units as inputs, blocks of one row."""
    for (m, n, p, rows), output, passes in product(
        [(1, 1, 1, 1), (1, 7, 3, 64), (20, 1, 4, 7), (20, 5, 1, 7), (33, 4, 4, 16), (5, 3, 2, 1), (17, 3, 2, 16)],
        kit.outputs,
        kit.passes,
    ):
        kit.label = f"m={m} n={n} p={p} block_rows={rows} output={output} passes={passes}"
        made = kit.parameters(n, p)
        kit.agrees(made, kit.rows(made, m), block_rows=rows, passes=passes, output=output)


def gradient(kit: Harness) -> None:
    """The gradient is the derivative of the cost: central differences, by component and in random directions.

    Units with a kink or a jump are looked at where no step reaches it.  Thresholds stay as they are: their gradient is
    an estimate, which `reference` and `one_block` look at.
    """
    double, smooth = kit.dtype == np.float64, kit.activation == "sigmoid"
    h = 1e-4 if double else 1e-2 if smooth else 1e-3
    m, n, p = 40, 4, 3
    made = kit.parameters(n, p)
    X = kit.rows(made, m, margin=COARSER)
    theta, size = made.flatten(), 2 * n * p + p + n
    rng = np.random.default_rng(0)
    directions = [*np.eye(theta.size)[:size]] if double else []
    directions += [d / np.linalg.norm(d) for d in rng.normal(size=(4, theta.size)) * (np.arange(theta.size) < size)]
    for output, passes in product(kit.outputs, kit.passes):
        options: dict[str, Any] = {"output": output, "passes": passes, "block_rows": 16}
        slope = kit.evaluate(made, X, **options).gradient
        noise = kit.reference(made, X, output=output).bound(kit.dtype, 16)[0] / h
        for number, d in enumerate(directions):
            kit.label = f"m={m} n={n} p={p} output={output} passes={passes} direction {number}, step {h:g}"
            up, down = (
                kit.evaluate(Parameters.from_flat(theta + sign * h * d, n, p), X, **options).cost for sign in (1, -1)
            )
            rounded = 0.0 if double else float(np.finfo(np.float32).eps) * np.abs(slope).sum() * np.abs(theta).max() / h
            kit.close("directional derivative", slope @ d, (up - down) / (2 * h), 100 * h**2 + noise + rounded)


def invariants(kit: Harness) -> None:
    """Rows in another order, rows twice, no sparsity term, no weight decay, any split: nothing beyond rounding."""
    m, n, p = 150, 7, 4
    made = kit.parameters(n, p)
    X = kit.rows(made, m)
    order = np.random.default_rng(1).permutation(m)
    for passes in kit.passes:
        for name, rows in (("rows permuted", X[order]), ("every row twice", np.concatenate([X, X]))):
            kit.label = f"{name}, m={m} n={n} p={p} passes={passes}"
            kit.agrees(made, rows, of=X, passes=passes, block_rows=37)
        for name in filter(None, (PENALTY.get(kit.activation), "weight_decay")):
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
            raise NotOffered("its kernel defines no backprop; sparsae.backprop declines it")
        rng = np.random.default_rng(m)
        a1, a3, y = (rng.random((m, n)).astype(kit.dtype) for _ in range(3))
        a2, W2 = kit.activations_of(m, p, seed=m), rng.normal(size=(n, p)).astype(kit.dtype)
        sparsity = rng.normal(0, 3, p).astype(kit.dtype)
        for order in ("C", "F"):
            kit.label = f"backprop m={m} n={n} p={p} output={output} separate target={denoise} order={order}"
            b1, b2, b3, v = (np.asarray(a, order=order) for a in (a1, a2, a3, W2))
            got = kernel.backprop(b1, b2, b3, v, sparsity, np.asarray(y, order=order) if denoise else b1)
            if len(got) != 4:
                kit.fail(f"backprop returned {len(got)} arrays; expected Parameters(W1, b1, W2, b2)")
            given = (a1, a2, a3, W2, sparsity, y if denoise else a1)
            sums = Parameters(*(np.asarray(part, dtype=np.float64) for part in got))
            units: dict[str, Any] = {"output": output, "activation": kit.activation}
            kit.agree(compare_gradient_sums(sums, *given, dtype=kit.dtype, **units))
