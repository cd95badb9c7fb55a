"""`train`: what it returns, when it stops, and what it says."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.scripted import Scripted

import sparsae
from sparsae import ConvergenceWarning, Parameters, Stop, train
from sparsae.training.interrupt import interruptible

Array = NDArray[Any]
QUIET = "ignore::sparsae.ConvergenceWarning"


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
