"""`train`: the loop around the objective."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsae.engine import Passes
from sparsae.errors import ConvergenceWarning
from sparsae.kernel import Backend
from sparsae.model import Output, Parameters
from sparsae.objective import Evaluation, Objective
from sparsae.result import History, Status, TrainResult


def train(
    X: ArrayLike,
    n_hidden: int,
    *,
    target: ArrayLike | None = None,
    rho: float = 0.01,
    beta: float = 3.0,
    weight_decay: float = 1e-4,
    output: Output = "sigmoid",
    dtype: Any = None,
    backend: str | Backend | None = None,
    threads: int | None = None,
    block_rows: int | None = None,
    passes: Passes = "auto",
    max_iter: int = 400,
    seed: int = 0,
    observers: Sequence[Callable[..., Any]] = (),
) -> TrainResult:
    """Train a sparse autoencoder with SciPy's L-BFGS-B."""
    from scipy.optimize import minimize

    objective = Objective(
        X,
        n_hidden,
        target=target,
        rho=rho,
        beta=beta,
        weight_decay=weight_decay,
        output=output,
        dtype=dtype,
        backend=backend,
        threads=threads,
        block_rows=block_rows,
        passes=passes,
    )
    seen: dict[bytes, Evaluation] = {}
    rows: list[tuple[float, ...]] = []
    start, inside = time.perf_counter(), 0.0

    def cost_and_gradient(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        nonlocal inside
        before = time.perf_counter()
        found = objective.evaluate(theta)
        inside += time.perf_counter() - before
        if len(seen) > 40:
            seen.pop(next(iter(seen)))
        seen[theta.tobytes()] = found
        return found.cost, found.gradient

    def note(theta: NDArray[np.float64]) -> None:
        found = seen.get(theta.tobytes()) or objective.evaluate(theta)
        steepest = float(abs(found.gradient).max())
        rows.append((objective.evaluations, found.cost, *found.terms, steepest, time.perf_counter() - start, inside))

    theta = Parameters.random(objective.n_visible, objective.n_hidden, seed=seed).flatten()
    with objective:
        cost_and_gradient(theta)
        note(theta)
        found = minimize(
            cost_and_gradient,
            theta,
            jac=True,
            method="L-BFGS-B",
            callback=note,
            options={"maxiter": max_iter, "maxfun": 10 * max_iter + 100},
        )
    status = Status("converged", str(found.message))
    if not found.success:
        status = Status("iteration limit", f"Stopped at max_iter={max_iter}; a larger max_iter may lower the cost.")
        warnings.warn(status.message, ConvergenceWarning, stacklevel=2)
    columns = list(zip(*rows, strict=True))
    names = ("cost", "squared_error", "weight_decay", "sparsity", "gradient_max", "seconds", "evaluation_seconds")
    history = History(
        iteration=np.arange(len(rows)),
        evaluations=np.array(columns[0], dtype=np.int64),
        **{name: np.array(column) for name, column in zip(names, columns[1:], strict=True)},
    )
    return TrainResult(
        parameters=Parameters.from_flat(found.x, objective.n_visible, objective.n_hidden),
        cost=float(found.fun),
        history=history,
        receipt=objective.receipt,
        status=status,
        settings={"rho": rho, "beta": beta, "weight_decay": weight_decay, "output": output, "max_iter": max_iter},
    )
