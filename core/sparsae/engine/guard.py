"""The guard: a named third-party kernel is compared with the reference before the first evaluation of a fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.engine.engine import Engine
from sparsae.engine.partition import Partition
from sparsae.engine.sources import DataSource
from sparsae.engine.storage import Storage
from sparsae.errors import BackendWrongError
from sparsae.model import Parameters
from sparsae.plugins.contract import Backend, Problem
from sparsae.reference import ERROR_CONSTANT, Reference, evaluate_reference

ROWS = 64
FIRST_BLOCK = 41  # the rest are 23: a kernel that relies on full blocks is found out


def check_kernel(
    backend: Backend,
    problem: Problem,
    parameters: Parameters,
    x: Array,
    target: Array,
    *,
    settings: dict[str, float],
    sparsity_of: Callable[[NDArray[np.float64]], NDArray[np.float64]],
) -> None:
    """Compare the gradient sums of a kernel with `reference.py` on at most 64 rows, cut unevenly in two blocks.

    Parameters
    ----------
    backend : Backend
    problem : Problem
        Of the fit; its block size is not used.
    parameters : Parameters
        Where the fit starts, in the problem's dtype.
    x, target : ndarray (at most 64, n_visible)
        The same object when there is no separate target.
    settings : dict
        rho, beta, weight_decay.
    sparsity_of : callable
        As in `Engine.evaluate`.

    Raises
    ------
    BackendWrongError
        When they disagree by more than rounding explains; names the quantity and the error.
    """
    m = len(x)
    block_rows = min(FIRST_BLOCK, m)
    small = replace(problem, block_rows=block_rows)
    judgement = evaluate_reference(parameters, x, target=target, output=problem.output, **settings)
    plain = evaluate_reference(parameters, x, target=target, output=problem.output, beta=0, weight_decay=0)
    for passes in (2, 1):
        source = DataSource(x, "X")
        engine = Engine(
            source,
            source if target is x else DataSource(target, "target"),
            backend=backend,
            problem=small,
            partition=Partition(m, block_rows),
            storage=Storage(kept=passes == 2, passes=passes),
            workers=1,
        )
        sums = engine.evaluate(parameters, sparsity_of)
        engine.close()
        found: dict[str, tuple[Any, Any, Any]] = {
            "rows": (sums.rows, m, 0.0),
            "hidden": (sums.hidden / m, judgement.rho_hat, _bound(judgement.rho_hat_scale, problem)),
            "squared_error": (sums.squared_error / (2 * m), plain.cost, plain.bound(problem.dtype, FIRST_BLOCK)[0]),
        }
        found |= _gradients(sums, parameters, judgement, problem.dtype, settings["weight_decay"], m)
        for name, (got, true, bound) in found.items():
            _compare(backend.name, name, got, true, bound, passes)


def _gradients(
    sums: Any, parameters: Parameters, judgement: Reference, dtype: np.dtype[Any], weight_decay: float, m: int
) -> dict[str, tuple[Any, Any, Any]]:
    """Name, value, truth and bound of each part of the gradient."""
    _, bounds = judgement.bound(dtype, FIRST_BLOCK)
    decays = Parameters(W1=weight_decay, b1=0, W2=weight_decay, b2=0)  # type: ignore[arg-type]
    return {
        name: (
            getattr(sums, name) / m + getattr(decays, name) * getattr(parameters, name),
            getattr(judgement.gradient, name),
            getattr(bounds, name),
        )
        for name in Parameters._fields
    }


def _bound(scale: NDArray[np.float64], problem: Problem) -> NDArray[np.float64]:
    """Return what rounding explains of an error in the mean activations, as in `Reference.bound`."""
    info = np.finfo(problem.dtype)
    factor = ERROR_CONSTANT * (np.sqrt(problem.n_visible) + np.sqrt(problem.n_hidden) + np.sqrt(FIRST_BLOCK))
    bound: NDArray[np.float64] = float(info.eps) * factor * scale + 4 * float(info.tiny)
    return bound


def _compare(backend: str, name: str, got: Any, true: Any, bound: Any, passes: int) -> None:
    error = np.abs(got - true)
    if np.all(error <= bound):  # NaN compares false
        return
    worst = float(np.max(np.where(np.isfinite(error), error, np.inf)))
    raise BackendWrongError(
        f"Backend {backend!r} is wrong on the first rows of this problem: {name} differs from the reference by "
        f"{worst:.3g} where rounding explains {float(np.max(bound)):.3g} ({passes} pass{'es' if passes > 1 else ''}). "
        f"See what else is wrong with: sparsae check {backend}."
    )
