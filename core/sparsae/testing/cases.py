"""What each hidden unit is checked with: settings, parameters, and rows in which rounding does not decide anything."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Activation, Array
from sparsae.model import Parameters
from sparsae.model.settings import kernel_activation
from sparsae.reference import undecided_rows
from sparsae.reference.kinks import tolerance

BANDWIDTH = 0.4
CONSTANT = 0.2  # threshold of batchtopk units where a kernel is called without the core, which finds that of a batch
MOST_SEEDS = 500  # of rows to choose from; far more than it ever takes


def settings(activation: Activation, p: int) -> dict[str, Any]:
    """Keywords of `Objective` for a hidden unit, with p units; also those of `evaluate_reference`."""
    if activation == "sigmoid":
        return {"rho": 0.1, "beta": 2.0, "weight_decay": 0.01}
    own: dict[Activation, dict[str, Any]] = {
        "relu": {"l1": 0.3},
        "topk": {"k": (p + 2) // 3},
        "batchtopk": {"k": (p + 2) // 3},
        "jumprelu": {"l0": 0.1, "bandwidth": BANDWIDTH},
    }
    return {"activation": activation, "weight_decay": 0.01, "pre_bias": False, **own[activation]}


def parameters(activation: Activation, n: int, p: int, *, seed: int = 0) -> Parameters:
    """Weights and biases that are not zero and have no symmetry; thresholds where units have their own."""
    rng = np.random.default_rng([seed, n, p])
    if activation == "sigmoid":
        made = Parameters.random(n, p, seed=rng)
        return Parameters(made.W1, rng.normal(-1, 0.3, p), made.W2, rng.normal(0, 0.3, n))
    return Parameters(
        rng.normal(0, 2 / np.sqrt(n), (p, n)),
        rng.normal(0.2, 0.3, p),
        rng.normal(0, 1 / np.sqrt(p), (n, p)),
        rng.normal(0, 0.3, n),
        rng.uniform(0.05, 0.35, p) if activation == "jumprelu" else None,
    )


def kernel_parameters(activation: Activation, made: Parameters, dtype: np.dtype[Any]) -> Parameters:
    """What a kernel is given: batchtopk units have one threshold, which is constant."""
    constant = np.full(made.n_hidden, CONSTANT) if activation == "batchtopk" else made.threshold
    return made._replace(threshold=constant).astype(dtype)


def hidden(activation: Activation, m: int, p: int, *, dtype: np.dtype[Any], seed: int) -> Array:
    """Activations (m, p) such as the hidden units have: between 0 and 1, or 0 in most places."""
    rng = np.random.default_rng([seed, m, p])
    a2 = rng.random((m, p)).astype(dtype)
    if activation == "sigmoid":
        return a2
    kept = np.argsort(rng.random((m, p)), axis=1) < (p + 2) // 3
    a2[~kept] = 0
    return a2


def draw_decided_rows(
    activation: Activation,
    made: Parameters,
    m: int,
    *,
    dtype: np.dtype[Any],
    seed: int,
    k: int | None = None,
    margin: Any = None,
) -> Array:
    """Rows (m, n) in (0, 1) in which rounding does not decide which units are active, with a pre-bias or without.

    Parameters
    ----------
    activation : str
    made : Parameters
    m : int
    dtype : dtype
        Of the rows, and of what is computed.
    seed : int
    k : int, optional
        In place of that of `settings`.
    margin : dtype, optional
        A coarser one, whose rounding does not decide either: for steps away from these parameters.

    Raises
    ------
    RuntimeError
        When no rows are found: a mistake in the kit.
    """
    made, coarse = made.astype(dtype), margin or dtype
    for attempt in range(MOST_SEEDS):
        rng = np.random.default_rng([seed, attempt] if attempt else seed)
        rows = rng.random((m, made.n_visible)).astype(dtype)
        undecided = _undecided(activation, made, rows, k, coarse)
        for _ in range(MOST_SEEDS):
            if not undecided.any():
                break
            rows[undecided] = rng.random((int(undecided.sum()), made.n_visible)).astype(dtype)
            undecided = _undecided(activation, made, rows, k, coarse)
        if activation != "batchtopk" or _batch_is_decided(made, rows, coarse):
            return rows
    raise RuntimeError("no rows were found in which rounding decides nothing")


def _undecided(activation: Activation, made: Parameters, rows: Array, k: int | None, dtype: Any) -> NDArray[np.bool_]:
    """Whether rounding decides something in a row."""
    if activation == "sigmoid" or (activation == "relu" and np.dtype(dtype) == rows.dtype):
        return np.zeros(len(rows), bool)  # what slopes of relu units do near 0 is part of the error model
    unit: dict[str, Any] = settings(activation, made.n_hidden) | {"activation": kernel_activation(activation)}
    if k is not None:
        unit["k"] = k
    if activation == "relu":
        unit["activation"], made = "jumprelu", made._replace(threshold=np.zeros(made.n_hidden))
    elif activation == "batchtopk":
        made = kernel_parameters(activation, made, rows.dtype)
    found = [undecided_rows(made, rows, dtype=dtype, **(unit | {"pre_bias": bias})) for bias in (False, True)]
    return found[0] | found[1]


def _batch_is_decided(made: Parameters, rows: Array, dtype: Any) -> bool:
    """Whether no pre-activation is as near to the threshold of the batch as rounding."""
    p, x = made.n_hidden, rows.astype(np.float64)
    W1, b1, _, b2 = made.astype(np.float64)
    for shift in (0, W1 @ b2):
        z = x @ W1.T + b1 - shift  # (m, p)
        count = settings("batchtopk", p)["k"] * len(rows)
        ordered = np.append(np.maximum(np.sort(z.ravel())[::-1], 0), 0)
        halfway = (ordered[count - 1] + ordered[count]) / 2
        spread = np.sqrt(np.square(x) @ np.square(W1).T + np.square(b1) + np.square(shift))
        if (abs(z - halfway) < tolerance(x.shape[1], dtype) * np.maximum(spread, abs(z))).any():
            return False
    return True
