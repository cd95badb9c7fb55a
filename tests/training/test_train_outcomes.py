"""`train`: what it refuses, and what its result, history and observers say."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sparsae
from sparsae import ConvergenceWarning, Parameters, Stop, TrainResult, train
from sparsae.engine.sources import DataSource
from sparsae.optimize import Adam
from sparsae.training.fit_figures import fit_figures

Array = NDArray[Any]
QUIET = "ignore::sparsae.ConvergenceWarning"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"initial": Parameters.random(11, 5)},
            "initial is for n_visible=11 and n_hidden=5; this fit has n_visible=12",
        ),
        ({"initial": 3}, "Expected sparsae.Parameters"),
        ({"max_iter": -1}, "max_iter must be an integer of at least 0"),
        ({"seed": -1}, "seed must be an integer of at least 0"),
        ({"seed": 1.5}, "seed must be an integer"),
        ({"seed": np.random.SeedSequence(1)}, r"integer or a numpy.random.Generator; given a SeedSequence. numpy.ran"),
        ({"temporary_copy": "no"}, "temporary_copy must be True or False"),
        ({"method": "adagrad"}, "No method named 'adagrad'"),
        ({"resume": True}, "resume=True needs checkpoint=PATH"),
        ({"stop": 1e-3}, "stop must be a sparsae.Stop; given 0.001"),
    ],
)
def test_settings_that_cannot_be_used_are_refused(small: Array, settings: dict[str, Any], message: str) -> None:
    """Before anything is computed, with what was given."""
    with pytest.raises(sparsae.ParameterError, match=message):
        train(small, 5, **settings)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Stop(gradient=-1), "gradient tolerance must be at least 0 and finite; given -1"),
        (lambda: Stop(decrease=np.nan), "decrease tolerance must be at least 0 and finite; given nan"),
        (lambda: Stop(seconds=0), "seconds must be positive; given 0"),
        (lambda: Stop(evaluations=0), "evaluations must be an integer of at least 1"),
    ],
)
def test_stop_rules_out_of_range_are_refused(make: Callable[[], Stop], message: str) -> None:
    """With what was given and what was possible."""
    with pytest.raises(sparsae.ParameterError, match=message):
        make()


def test_dense_methods_are_refused_before_the_first_evaluation() -> None:
    """2,065 parameters are too many for BFGS; the message names an alternative."""
    with pytest.raises(sparsae.ParameterError, match="limited to 2000 parameters"):
        train(np.full((4, 64), 0.5), 16, method="scipy:BFGS")


@pytest.mark.filterwarnings(QUIET)
def test_a_generator_is_a_seed_too(small: Array) -> None:
    """The same generator state gives the same start; the receipt cannot name a number."""
    method = Adam(evaluate_start=True)
    one, two = (train(small, 5, max_iter=2, seed=np.random.default_rng(4), method=method) for _ in range(2))
    three = train(small, 5, max_iter=2, seed=4, method=method)
    assert one.parameters.flatten().tobytes() == two.parameters.flatten().tobytes()
    assert one.history.cost[0] == three.history.cost[0]
    assert one.receipt.seed is None


def test_a_cost_that_leaves_the_numbers_keeps_the_best_parameters(small: Array) -> None:
    """Adam with an absurd step: the status names the iteration and what to try; parameters and cost are finite."""
    with (
        np.errstate(all="ignore"),
        pytest.warns(ConvergenceWarning, match=r"NaN or infinite in iteration \d+.*smaller learning rate"),
    ):
        result = train(small, 5, output="linear", method=Adam(learning_rate=1e200, batch_rows=64), max_iter=20)
    assert result.status.reason == "not finite"
    assert np.isfinite(result.cost)
    assert np.isfinite(result.parameters.flatten()).all()


def test_a_start_that_is_not_finite_is_an_error(small: Array) -> None:
    """There is nothing to go on from."""
    huge = Parameters(*(np.full_like(part, 1e200) for part in Parameters.random(12, 5)))
    with np.errstate(all="ignore"), pytest.raises(sparsae.errors.OptimizationError, match="starting point"):
        train(small, 5, output="linear", initial=huge)


@pytest.mark.filterwarnings(QUIET)
def test_metrics_are_what_they_say(small: Array) -> None:
    """Explained variance, mean activation and shares agree with their definitions, computed plainly."""
    result = train(small, 5, max_iter=40)
    a2 = sparsae.encode(result.parameters, small)
    a3 = sparsae.decode(result.parameters, a2)
    error, spread = np.square(a3 - small).sum(), np.square(small - small.mean(axis=0)).sum()
    assert result.metrics["explained_variance"] == pytest.approx(1 - error / spread, rel=1e-9)
    assert result.metrics["mean_activation"] == pytest.approx(a2.mean(), rel=1e-12)
    assert result.metrics["dead_below"] == pytest.approx(0.001)
    found = fit_figures(1.0, 4.0, np.array([0.0009, 0.01, 0.5, 0.95]), rho=0.01)
    assert (found["dead_share"], found["saturated_share"], found["explained_variance"]) == (0.25, 0.25, 0.75)
    assert np.isnan(fit_figures(0.0, 0.0, np.ones(1), rho=0.01)["explained_variance"])


@pytest.mark.filterwarnings(QUIET)
def test_metrics_of_units_that_can_be_0(small: Array) -> None:
    """Active units in a row and units that are never active, as `sparsae.metrics` counts them."""
    result = train(small, 5, activation="relu", method="lbfgs", l1=0.3, max_iter=5, backend="numpy")
    found = sparsae.metrics.evaluate(result, small)
    assert result.metrics == pytest.approx(
        {
            "explained_variance": found.explained_variance,
            "mean_activation": found.l1 / 5,
            "l0": found.l0,
            "dead_share": found.dead_share,
        }
    )


def test_the_variance_is_accurate_far_from_zero() -> None:
    """In pieces, and where the mean is a million times the spread."""
    rng = np.random.default_rng(0)
    data = 1e6 + rng.normal(size=(30_000, 40))  # three pieces
    exact = np.square(data - data.mean(axis=0)).sum()
    assert DataSource(data, "X").summary().variance_sum == pytest.approx(exact, rel=1e-9)


@pytest.mark.filterwarnings(QUIET)
def test_history_has_the_time_of_evaluations_apart(small: Array) -> None:
    """Both clocks start at zero with the fit and never run backwards."""
    history = train(small, 5, max_iter=5).history
    assert len(history) == 6
    assert (np.diff(history.evaluation_seconds) > 0).all()
    assert history.evaluation_seconds[0] > 0


@pytest.mark.filterwarnings(QUIET)
def test_the_result_is_a_record() -> None:
    """A TrainResult cannot be changed after the fact."""
    result = train(np.full((4, 3), 0.5), 2, max_iter=1)
    assert isinstance(result, TrainResult)
    with pytest.raises(AttributeError):
        result.cost = 0.0  # type: ignore[misc]


@pytest.mark.filterwarnings(QUIET)
def test_observers_see_every_iteration_and_may_stop_it(small: Array) -> None:
    """Numbers are those of the history; parameters are made when they are asked for; True ends training kindly."""
    seen = []

    def watch(progress: Any) -> bool:
        seen.append((progress.iteration, progress.cost, progress.parameters))
        return bool(progress.iteration == 6)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = train(small, 5, observers=[watch])
    assert result.status.reason == "stopped"
    assert "Stopped by an observer after 6 iterations" in result.status.message
    assert [cost for _, cost, _ in seen] == result.history.cost.tolist()
    for _, cost, parameters in seen:
        assert sparsae.cost_and_gradient(parameters, small)[0] == cost


@pytest.mark.filterwarnings(QUIET)
@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_an_observer_that_raises_is_dropped_and_the_fit_goes_on(small: Array, method: str) -> None:
    """Said once; the result is that of a fit without it, bit for bit."""

    def broken(progress: Any) -> None:
        raise RuntimeError("disk on fire")

    with pytest.warns(sparsae.errors.ObserverWarning, match="disk on fire; it was dropped"):
        result = train(small, 5, method=method, max_iter=5, observers=[broken])
    alone = train(small, 5, method=method, max_iter=5)
    assert result.parameters.flatten().tobytes() == alone.parameters.flatten().tobytes()


def test_what_is_no_observer_is_refused_before_training(small: Array) -> None:
    """With what was given."""
    with pytest.raises(sparsae.ParameterError, match="3"):
        train(small, 5, observers=[3])
