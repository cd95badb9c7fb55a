"""A gradient that is not finite beside a finite cost never reaches the parameters of a fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae import Backend, Parameters, SimpleKernel, train
from sparsae._types import run_in_turn
from sparsae.optimize import SGD, Adam
from sparsae.optimize.update import BatchGradient, square_sum
from sparsae.training.curve import FitCounts, MeteredObjective

pytestmark = pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
X = np.random.default_rng(0).normal(size=(200, 6))


def spoiling(value: float, after: int) -> Backend:
    """A backend whose gradient of W1 has one component of that value from some call on; its cost stays right."""
    calls = 0

    class Spoiling(SimpleKernel):
        def backprop(self, a1: Any, a2: Any, a3: Any, W2: Any, sparsity: Any, target: Any) -> Parameters:
            nonlocal calls
            calls += 1
            delta3 = a3 - target
            delta2 = (delta3 @ W2 + sparsity) * self.problem.slope(a2)
            W1 = delta2.T @ a1
            if calls > after:
                W1[3, 2] = value
            return Parameters(W1, delta2.sum(axis=0), delta3.T @ a2, delta3.sum(axis=0))

    return Backend("spoiling", Spoiling, activations=("relu",), outputs=("linear",))


METHODS = [Adam(batch_rows=50), SGD(batch_rows=50, learning_rate=1e-3), Adam(batch_rows=50, clip=1.0)]


@pytest.mark.parametrize("method", METHODS, ids=["adam", "sgd", "clip"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_fit_ends_with_the_best_parameters_before(method: Any, value: float) -> None:
    """In the middle of the third epoch; the result is that of the better one of the first two, and says so."""
    seen: list[Parameters] = []
    options: dict[str, Any] = {"activation": "relu", "l1": 0.1, "method": method}
    result = train(
        X, 8, max_iter=9, backend=spoiling(value, 11), observers=lambda p: seen.append(p.parameters) or False, **options
    )
    assert result.status.reason == "not finite"
    assert result.history.iteration.tolist() == [0, 1, 2]
    best = int(np.argmin(result.history.cost))
    assert best > 0
    assert result.parameters.flatten().tobytes() == seen[best].flatten().tobytes()


def test_neither_an_interruption_nor_a_checkpoint_sees_it(tmp_path: Path) -> None:
    """Whatever a checkpoint holds is finite, and a resume from it ends as the fit did."""
    options: dict[str, Any] = {"activation": "relu", "l1": 0.1, "method": Adam(batch_rows=50)}
    path = tmp_path / "fit"
    first = train(X, 8, max_iter=9, backend=spoiling(np.nan, 11), checkpoint=path, **options)
    saved = sparsae.training.checkpoint.load(path)
    assert all(np.isfinite(saved.arrays[name]).all() for name in ("theta", "first", "second", "best_theta"))
    again = train(X, 8, max_iter=9, backend=spoiling(np.nan, 0), checkpoint=path, resume=True, **options)
    assert again.status.reason == "not finite"
    assert again.parameters.flatten().tobytes() == first.parameters.flatten().tobytes()


def test_parameters_that_a_step_made_infinite_are_not_the_result() -> None:
    """A step may overflow from a finite gradient; a fit that is stopped there returns the best parameters before."""
    with sparsae.Objective(X, 8, activation="relu", l1=0.1, backend="numpy") as objective:
        bound = SGD().bind(MeteredObjective(objective, FitCounts()), 0)
        state = bound.init(objective.random_parameters().flatten())
        theta = state.theta.copy()
        state.theta[7] = np.inf
        assert bound.kept(state).tobytes() == theta.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_gradient_whose_squares_overflow_is_finite(dtype: Any) -> None:
    """It is stepped along, and shortened to `clip` where float64 can tell its length."""
    g = np.full(50, 1e30 if dtype == np.float32 else 1e200, dtype)
    theta = np.zeros(50, dtype)
    method = SGD(learning_rate=1e-3, momentum=0.0)
    state, report = method.update(method.start(theta), BatchGradient((g,)))
    assert report.finite
    np.testing.assert_allclose(state.theta, -1e-3 * g)
    short = SGD(clip=2.0).clipped(BatchGradient((g,)), theta, run_in_turn)
    if dtype == np.float32:
        assert np.linalg.norm(short.vector(theta)) == pytest.approx(2, rel=1e-5)
        assert square_sum(BatchGradient((g,)), theta, run_in_turn) == pytest.approx(50e60, rel=1e-5)
    else:
        assert short.scale == 1


def test_a_chunk_that_is_not_finite_is_left_alone() -> None:
    """Parameters and moments; the report says that something is wrong."""
    theta = np.arange(5.0)
    method = Adam()
    state = method.start(theta.copy())
    after, report = method.update(state, BatchGradient((np.array([1, np.nan, 1, 1, 1]),)))
    assert not report.finite
    assert after.theta.tolist() == theta.tolist()
    assert not after.first.any()
