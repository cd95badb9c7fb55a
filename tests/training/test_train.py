"""`train`: what it returns, when it stops, and what it says."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.scripted import Scripted

import sparsae
from sparsae import ConvergenceWarning, Parameters, Stop, TrainResult, train
from sparsae.engine.sources import DataSource
from sparsae.optimize import Adam
from sparsae.training.fit_figures import fit_figures
from sparsae.training.interrupt import interruptible

Array = NDArray[Any]
QUIET = "ignore::sparsae.ConvergenceWarning"


@pytest.fixture
def small() -> Array:
    """200 rows of 12 values in [0.1, 0.9], of four directions and noise."""
    rng = np.random.default_rng(0)
    mix = rng.uniform(size=(200, 4)) @ rng.uniform(size=(4, 12)) / 4 + 0.05 * rng.uniform(size=(200, 12))
    return np.asarray(0.1 + 0.8 * mix / mix.max())


@pytest.mark.filterwarnings(QUIET)
@pytest.mark.parametrize("method", ["lbfgs", "adam", "sgd", "scipy:CG"])
def test_a_cost_of_exactly_zero_is_a_cost(method: str) -> None:
    """Zeros, a linear output, no penalties: more than ten iterations at cost 0 end with a result."""
    zero = sparsae.Parameters(np.zeros((2, 3)), np.zeros(2), np.zeros((3, 2)), np.zeros(3))
    options: dict[str, Any] = {"output": "linear", "beta": 0.0, "weight_decay": 0.0, "initial": zero}
    result = sparsae.train(np.zeros((20, 3)), 2, method=method, max_iter=15, **options)
    assert result.cost == 0
    assert result.status.reason in ("converged", "iteration limit")


@pytest.mark.filterwarnings(QUIET)
def test_the_result_is_consistent(small: Array) -> None:
    """Cost, gradient, terms and parameters belong together, and equal what `cost_and_gradient` says."""
    result = train(small, 5, max_iter=30, rho=0.05, weight_decay=1e-3)
    cost, gradient = sparsae.cost_and_gradient(result.parameters, small, rho=0.05, weight_decay=1e-3)
    h = result.history
    assert result.cost == h.cost[-1] == pytest.approx(cost, rel=1e-13)
    assert h.gradient_max[-1] == pytest.approx(abs(gradient.flatten()).max(), rel=1e-9)
    np.testing.assert_allclose(h.squared_error + h.weight_decay + h.sparsity, h.cost, rtol=1e-12)
    assert h.iteration.tolist() == list(range(31))
    assert (np.diff(h.cost) < 0).all()
    assert (np.diff(h.evaluations) >= 1).all()
    assert (np.diff(h.seconds) > 0).all()
    assert (h.evaluation_seconds <= h.seconds).all()
    assert result.status.reason == "iteration limit"
    assert result.settings["method"] == "lbfgs"
    assert result.settings["memory"] == 20
    assert result.receipt.seed == 0
    assert result.parameters.W1.dtype == np.float64


@pytest.mark.filterwarnings(QUIET)
@pytest.mark.parametrize("method", ["lbfgs", "scipy:L-BFGS-B", "scipy:CG", "scipy:TNC", "adam", "sgd"])
def test_every_method_learns(small: Array, method: str) -> None:
    """Ten iterations lower the cost to less than half, and the same call gives the same bits."""
    first, second = (train(small, 5, method=method, max_iter=10, seed=3) for _ in range(2))
    assert first.cost < 0.5 * first.history.cost[0]
    assert first.parameters.flatten().tobytes() == second.parameters.flatten().tobytes()
    assert np.array_equal(first.history.cost, second.history.cost)


@pytest.mark.filterwarnings(QUIET)
def test_threads_do_not_change_a_bit_of_the_result(small: Array) -> None:
    """Row workers: one and two give the same parameters and history, bit for bit."""
    one, two = (train(small, 5, max_iter=25, block_rows=16, threads=threads) for threads in (1, 2))
    assert one.parameters.flatten().tobytes() == two.parameters.flatten().tobytes()
    assert np.array_equal(one.history.cost, two.history.cost)


def test_convergence_by_gradient_is_a_value_without_a_warning(small: Array) -> None:
    """The status says which rule was met and with which number."""
    result = train(small, 3, max_iter=2000, rho=0.2, weight_decay=0.1, stop=Stop(gradient=1e-5, decrease=0))
    assert result.status.converged
    assert "largest component of the gradient" in result.status.message
    assert result.history.gradient_max[-1] <= 1e-5 < result.history.gradient_max[-2]


def test_convergence_by_relative_decrease(small: Array) -> None:
    """An iteration that lowers the cost by less than the share ends training."""
    result = train(small, 3, max_iter=2000, stop=Stop(gradient=0, decrease=1e-3))
    before, last = result.history.cost[-2:]
    assert result.status.converged
    assert (before - last) / max(before, 1) <= 1e-3
    assert "lowered the cost by" in result.status.message


def test_the_iteration_limit_is_said_kindly_and_once(small: Array) -> None:
    """One ConvergenceWarning, which points at the caller's line and says how to go on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(small, 5, max_iter=3)
    assert [w.category for w in caught] == [ConvergenceWarning]
    assert caught[0].filename == __file__
    assert "after 3 iterations, the limit" in str(caught[0].message)
    assert "initial=result" in str(caught[0].message)


@pytest.mark.parametrize(
    ("stop", "reason"),
    [(Stop(evaluations=7), "evaluation limit"), (Stop(seconds=1e-9), "time limit")],
)
def test_budgets_end_training_between_iterations(small: Array, stop: Stop, reason: str) -> None:
    """The status names the budget; the result is usable."""
    with pytest.warns(ConvergenceWarning, match=reason.split(maxsplit=1)[0]):
        result = train(small, 5, stop=stop)
    assert result.status.reason == reason
    assert result.history.evaluations[-1] <= 8
    assert np.isfinite(result.cost)


@pytest.mark.parametrize("number", [signal.SIGINT])
@pytest.mark.filterwarnings(QUIET)
def test_ctrl_c_returns_the_model_so_far(small: Array, number: signal.Signals) -> None:
    """The iteration at hand is finished; the result is that of a fit with that many iterations, bit for bit."""
    before = signal.getsignal(number)
    method = Scripted(lambda iteration: os.kill(os.getpid(), number) if iteration == 6 else None)
    with pytest.warns(ConvergenceWarning, match="Interrupted after 7 iterations by SIGINT"):
        result = train(small, 5, method=method)
    assert result.status.reason == "interrupted"
    whole = train(small, 5, max_iter=7)
    assert result.parameters.flatten().tobytes() == whole.parameters.flatten().tobytes()
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_means_at_once(small: Array) -> None:
    """KeyboardInterrupt comes out of train, and the handler is what it was."""
    before = signal.getsignal(signal.SIGINT)

    def twice() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        train(small, 5, method=Scripted(lambda iteration: twice() if iteration == 2 else None))
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_of_the_program_is_left_alone() -> None:
    """A signal that somebody handles is theirs; and nothing is touched outside the main thread."""
    calls = []
    before = signal.signal(signal.SIGINT, lambda *_: calls.append(1))
    try:
        with interruptible(signal.SIGINT) as interrupt:
            os.kill(os.getpid(), signal.SIGINT)
            assert (interrupt.signal, calls) == (None, [1])
    finally:
        signal.signal(signal.SIGINT, before)
    seen = []

    def elsewhere() -> None:
        with interruptible(signal.SIGINT):
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [before]


def test_the_outer_block_hears_the_signal_of_an_inner_fit() -> None:
    """The command holds SIGINT and SIGTERM around train, and learns which one came."""
    with interruptible(signal.SIGINT, signal.SIGTERM) as outer, interruptible(signal.SIGINT) as inner:
        inner.deferred = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert inner is outer
        assert outer.signal is signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.filterwarnings(QUIET)
def test_a_warm_start_begins_where_it_is_told(small: Array) -> None:
    """Parameters or a result: iteration 0 has their cost; the receipt knows of no seed."""
    first = train(small, 5, max_iter=5)
    again = train(small, 5, max_iter=5, initial=first)
    same = train(small, 5, max_iter=5, initial=first.parameters)
    assert again.history.cost[0] == first.cost
    assert again.cost < first.cost
    assert again.receipt.seed is None
    assert same.parameters.flatten().tobytes() == again.parameters.flatten().tobytes()


@pytest.mark.filterwarnings(QUIET)
def test_a_warm_start_does_not_write_to_what_it_was_given(small: Array) -> None:
    """The parameters that come in are the same afterwards."""
    given = Parameters.random(12, 5, seed=9)
    before = given.flatten()
    train(small, 5, max_iter=3, initial=given)
    assert given.flatten().tobytes() == before.tobytes()


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
