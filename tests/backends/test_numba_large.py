"""The passes of `numba` that pack weights where they are used have the bits of those that pack them beforehand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba")

import sparsae
from sparsae import Objective, Parameters, Problem
from sparsae.optimize import Adam
from sparsae_backends.numba import base, kernel

N, P = 117, 131
X = np.random.default_rng(0).uniform(0.1, 0.9, (150, N))
PARAMETERS = Parameters.random(N, P, seed=1)


def use_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take all wide layers for large ones, and strips of few rows."""
    monkeypatch.setattr(base, "LARGE", 0)
    monkeypatch.setattr(kernel, "STRIP", 1)


def test_by_size_and_units() -> None:
    """Sigmoid units whose matrix has more than 4 MB."""
    for n, p, activation, large in (
        (784, 196, "sigmoid", False),
        (768, 4096, "sigmoid", True),
        (768, 4096, "relu", False),
        (90, 20_000, "sigmoid", False),
    ):
        problem = Problem(n_visible=n, n_hidden=p, dtype=np.dtype(np.float32), block_rows=256, activation=activation)
        assert base.is_large(problem) is large


@pytest.mark.parametrize("output", ["sigmoid", "linear"])
@pytest.mark.parametrize("passes", [1, 2])
def test_cost_and_gradient(output: Any, passes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In blocks of 70 rows, the last one of 10, which fill panels in part; with a target of its own."""

    def evaluate() -> bytes:
        options: dict[str, Any] = {"output": output, "passes": passes, "block_rows": 70, "backend": "numba"}
        with Objective(X, P, target=X[::-1], **options) as objective:
            found = objective.evaluate(PARAMETERS.flatten())
        return np.append(found.gradient, [found.cost, *found.rho_hat]).tobytes()

    expected = evaluate()
    use_strips(monkeypatch)
    assert evaluate() == expected


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning", "ignore::sparsae.errors.ThreadsWarning")
def test_mini_batches_on_any_number_of_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of float32, of four blocks of a mini-batch; moments and parameters too."""
    x = np.random.default_rng(1).uniform(0.1, 0.9, (512, 260)).astype(np.float32)

    def fit(threads: int) -> bytes:
        method = Adam(batch_rows=512)
        result = sparsae.train(x, 250, method=method, max_iter=2, backend="numba", threads=threads)
        assert any("in 4 blocks" in note for note in result.receipt.notes)
        return np.append(result.parameters.flatten(), result.history.cost).tobytes()

    expected = fit(1)
    use_strips(monkeypatch)
    assert fit(1) == fit(2) == expected
