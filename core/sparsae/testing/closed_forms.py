"""Cost and gradient that can be written down, or that are those of a simpler unit."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from sparsae._types import Output
from sparsae.model import Parameters
from sparsae.testing.harness import Harness

M, N, P = 50, 6, 4
ALL_ON = 30.0  # a bias with which every unit is active


def closed_forms(kit: Harness) -> None:
    """All parameters zero; all units on: linear; k = p, and thresholds of 0: relu.  What can be written down."""
    for output, passes in product(kit.outputs, kit.passes):
        if kit.activation == "sigmoid":
            _sigmoid_of_zero(kit, output, passes)
            continue
        _zero(kit, output, passes)
        _linear(kit, output, passes)
        if kit.activation != "relu":
            _like_relu(kit, output, passes)


def _sigmoid_of_zero(kit: Harness, output: Output, passes: Any) -> None:
    """Activations of one half, and a penalty that is known."""
    X = kit.data(M, N)
    x = X.astype(np.float64)
    zero = Parameters.from_flat(np.zeros(2 * N * P + N + P), N, P)
    settings = kit.settings(P)
    rho, beta = settings["rho"], settings["beta"]
    kl = beta * P * (rho * np.log(2 * rho) + (1 - rho) * np.log(2 * (1 - rho)))
    slope = np.full(P, 2 * beta * (1 - 2 * rho))  # (p,) the sparsity vector
    eps = 300 * float(np.finfo(kit.dtype).eps)
    kit.label = f"all parameters zero, m={M} n={N} p={P} output={output} passes={passes}"
    found = kit.evaluate(zero, X, output=output, passes=passes, block_rows=16)
    a3, slope3 = (0.5, 0.25) if output == "sigmoid" else (0.0, 1.0)
    delta3 = (a3 - x) * slope3
    got = Parameters.from_flat(found.gradient, N, P)
    kit.close("cost", found.cost, np.square(a3 - x).sum() / (2 * M) + kl, eps * (1 + kl))
    kit.close("gradient of b2", got.b2, delta3.mean(axis=0), eps)
    kit.close("gradient of W2", got.W2, np.repeat(delta3.mean(axis=0)[:, None] / 2, P, axis=1), eps)
    kit.close("gradient of b1", got.b1, slope / 4, eps * (1 + abs(slope)))
    kit.close("gradient of W1", got.W1, np.outer(slope / 4, x.mean(axis=0)), eps * (1 + abs(slope))[:, None])


def _zero(kit: Harness, output: Output, passes: Any) -> None:
    """Pre-activations of 0 are not active: only b2 has a gradient."""
    X = kit.data(M, N)
    thresholds = P if kit.activation == "jumprelu" else 0
    zero = Parameters.from_flat(np.zeros(2 * N * P + N + P + thresholds), N, P)
    kit.label = f"all parameters zero, m={M} n={N} p={P} output={output} passes={passes}"
    found = kit.evaluate(zero, X, output=output, passes=passes, block_rows=16, **_no_penalty(kit))
    a3, slope3 = (0.5, 0.25) if output == "sigmoid" else (0.0, 1.0)
    error = a3 - X.astype(np.float64)
    eps = 300 * float(np.finfo(kit.dtype).eps)
    got = Parameters.from_flat(found.gradient, N, P)
    kit.close("the share of rows in which units are active", found.density, np.zeros(P), 0)
    kit.close("cost", found.cost, np.square(error).sum() / (2 * M), eps)
    kit.close("gradient of b2", got.b2, slope3 * error.mean(axis=0), eps)
    for name in ("W1", "b1", "W2"):
        kit.close(f"gradient of {name}", getattr(got, name), np.zeros_like(getattr(got, name)), 0)


def _linear(kit: Harness, output: Output, passes: Any) -> None:
    """Every unit on, and none left out: a2 = z, and the gradient is that of a product of two matrices."""
    made = kit.parameters(N, P)
    made = made._replace(b1=made.b1 + ALL_ON, W2=made.W2 / ALL_ON)
    X = kit.data(M, N)
    kit.label = f"every unit on, so that a2 = z, m={M} n={N} p={P} output={output} passes={passes}"
    options = _no_penalty(kit) | ({"k": P} if "k" in kit.settings(P) else {})
    found = kit.evaluate(made, X, output=output, passes=passes, block_rows=16, weight_decay=0.0, **options)
    W1, b1, W2, b2, *_ = made.astype(kit.dtype).astype(np.float64)
    x = X.astype(np.float64)
    z = x @ W1.T + b1  # (m, p)
    z3 = z @ W2.T + b2  # (m, n)
    a3 = 1 / (1 + np.exp(-z3)) if output == "sigmoid" else z3
    delta3 = (a3 - x) * (a3 * (1 - a3) if output == "sigmoid" else 1)
    delta2 = delta3 @ W2
    got = Parameters.from_flat(found.gradient, N, P)
    eps = 300 * float(np.finfo(kit.dtype).eps)
    kit.close("the share of rows in which units are active", found.density, np.ones(P), 4 * eps)
    kit.close("cost", found.cost, np.square(a3 - x).sum() / (2 * M), eps * (1 + np.square(abs(a3) + 1).sum() / M))
    for name, true in (
        ("W1", delta2.T @ x / M),
        ("b1", delta2.mean(axis=0)),
        ("W2", delta3.T @ z / M),
        ("b2", delta3.mean(axis=0)),
    ):
        scale = 1 + abs(delta3).max() * (ALL_ON if name == "W2" else 1)
        kit.close(f"gradient of {name}", getattr(got, name), true, eps * scale)


def _like_relu(kit: Harness, output: Output, passes: Any) -> None:
    """With k = p, or thresholds of 0, the units are relu units."""
    made = kit.parameters(N, P)
    if kit.activation == "jumprelu":
        made = made._replace(threshold=np.zeros(P))
    X = kit.rows(made, M)
    what = "thresholds of 0" if kit.activation == "jumprelu" else "k = p"
    kit.label = f"{what}, which makes it relu, m={M} n={N} p={P} output={output} passes={passes}"
    options = _no_penalty(kit) | ({} if kit.activation == "jumprelu" else {"k": P})
    found = kit.evaluate(made, X, output=output, passes=passes, block_rows=16, **options)
    without = made._replace(threshold=None)
    relu = kit.reference(without, X, output=output, activation="relu", l1=0.0)
    gradient = Parameters.from_flat(found.gradient[: without.flatten().size], N, P)
    quantities: dict[str, Any] = {"cost": found.cost, "rho_hat": found.rho_hat, "density": found.density}
    kit.agree(relu.errors(kit.dtype, block_rows=16, gradient=gradient, **quantities))


def _no_penalty(kit: Harness) -> dict[str, float]:
    """Keywords that take the penalty of the hidden unit away."""
    return {name: 0.0 for name in ("l1", "l0") if name in kit.settings(P)}
