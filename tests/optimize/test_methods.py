"""Methods by name, SciPy's methods, and the updates of the stochastic ones."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from numpy.typing import NDArray
from tests.support.evaluations import evaluating

import sparsae
from sparsae import ParameterError
from sparsae.errors import OptimizationError
from sparsae.optimize import LBFGS, SGD, Adam, ScipyMethod, describe, get_method, method_names
from sparsae.optimize.base import Method
from sparsae.optimize.scipy_ import DENSE, LIMITED
from sparsae.optimize.update import CHUNK_BYTES, BatchGradient

Vector = NDArray[np.float64]


def rosenbrock(x: Vector) -> tuple[float, Vector]:
    return float(scipy.optimize.rosen(x)), scipy.optimize.rosen_der(x)


@pytest.mark.parametrize("name", [*LIMITED, *DENSE])
def test_each_method_of_scipy_converges(name: str) -> None:
    """To a gradient of 1e-5 on Rosenbrock's function in six dimensions, which `visit` ends, not SciPy."""
    costs = []

    def visit(state: Any) -> bool:
        if not costs or state.iteration > costs[-1][0]:
            costs.append((state.iteration, state.cost))
        return bool(abs(state.gradient).max() <= 1e-5) or state.iteration >= 1000

    state = ScipyMethod(f"scipy:{name}").run(evaluating(rosenbrock), np.tile([1.2, 1.0], 3), visit)
    assert abs(state.gradient).max() <= 1e-5
    assert state.outcome == ""
    assert [iteration for iteration, _ in costs] == list(range(len(costs)))
    assert costs[-1] == (state.iteration, state.cost)


def test_scipy_goes_through_the_same_points_as_on_its_own() -> None:
    """Wrapping changes nothing: L-BFGS-B ends where it does without us, bit for bit, at the same evaluations."""
    start, count = np.tile([-1.2, 1.0], 5), 0

    def counted(x: Vector) -> tuple[float, Vector]:
        nonlocal count
        count += 1
        return rosenbrock(x)

    state = ScipyMethod("scipy:L-BFGS-B", memory=10).run(evaluating(counted), start, lambda s: s.iteration >= 40)
    options = {"maxcor": 10, "maxiter": 40, "ftol": 0, "gtol": 0}
    alone = scipy.optimize.minimize(rosenbrock, start, jac=True, method="L-BFGS-B", options=options)
    assert state.theta.tobytes() == alone.x.tobytes()
    assert count == alone.nfev


@pytest.mark.parametrize("name", DENSE)
def test_dense_methods_are_refused_above_2000_parameters(name: str) -> None:
    """With the size of the matrix and what to use instead, before the first evaluation."""

    def never(x: Vector) -> tuple[float, Vector]:
        raise AssertionError

    with pytest.raises(ParameterError, match=r"dense matrix of 2001 x 2001.*limited to 2000.*lbfgs"):
        ScipyMethod(f"scipy:{name}").run(evaluating(never), np.zeros(2001), lambda s: s.iteration >= 5000)


def test_a_cost_that_leaves_the_numbers_ends_scipy_with_the_last_good_point() -> None:
    """The outcome says "not finite"; parameters and cost are those of the last iteration."""

    def dies(x: Vector) -> tuple[float, Vector]:
        return (np.nan, x) if abs(x).max() < 0.9 else rosenbrock(x)

    state = ScipyMethod("scipy:CG").run(evaluating(dies), np.array([-1.2, 1.0]), lambda s: s.iteration >= 5000)
    assert state.outcome == "not finite"
    assert np.isfinite(state.cost)
    assert state.cost == rosenbrock(state.theta)[0]


def test_scipy_too_refuses_a_start_that_is_not_finite() -> None:
    """As lbfgs does."""
    with pytest.raises(OptimizationError, match="starting point is nan"):
        ScipyMethod("scipy:CG").run(evaluating(lambda x: (np.nan, x)), np.ones(2), lambda s: s.iteration >= 5000)


def test_scipy_that_gives_up_is_stalled() -> None:
    """Where SciPy ends by itself, at rounding, that is what the outcome says."""
    state = ScipyMethod("scipy:L-BFGS-B").run(
        evaluating(rosenbrock), np.array([-1.2, 1.0]), lambda s: s.iteration >= 10_000
    )
    assert state.outcome == "stalled"
    assert state.cost < 1e-15


def test_a_step_that_scipy_took_back_is_no_iteration() -> None:
    """trust-constr calls back after those too: each iteration has a lower cost, and a search without one stalls."""
    costs = []

    def visit(state: Any) -> bool:
        if not costs or state.iteration > costs[-1][0]:
            costs.append((state.iteration, state.cost))
        return False

    state = ScipyMethod("scipy:trust-constr").run(evaluating(rosenbrock), np.array([-1.2, 1.0]), visit)
    assert state.outcome == "stalled"
    assert state.cost < 1e-15
    assert all(later < earlier for (_, earlier), (_, later) in pairwise(costs[:20]))


def test_limits_are_looked_at_after_a_step_that_was_taken_back() -> None:
    """A time limit or a signal ends the search for a radius too."""
    calls = 0

    def visit(state: Any) -> bool:
        nonlocal calls
        calls += 1
        return calls == 2

    state = ScipyMethod("scipy:trust-constr").run(evaluating(rosenbrock), np.array([-1.2, 1.0]), visit)
    assert (state.iteration, state.outcome) == (0, "")


def test_trust_constr_trains() -> None:
    """Its first radius is too large for this data, and the fit had "converged" at the start."""
    X = np.random.default_rng(0).uniform(0.1, 0.9, (60, 6))
    with pytest.warns(sparsae.ConvergenceWarning):
        result = sparsae.train(X, 3, method="scipy:trust-constr", max_iter=5, backend="numpy")
    assert result.status.reason == "iteration limit"
    assert (np.diff(result.history.cost) < 0).all()
    assert result.cost < 0.1 * result.history.cost[0]


@pytest.mark.parametrize("name", method_names())
def test_each_name_gives_a_method_that_describes_itself(name: str) -> None:
    """get_method(**describe(m)) == m for every name, so that a checkpoint can name its optimiser."""
    method = get_method(name)
    assert method.name == name
    assert get_method(**describe(method)) == method


def test_settings_go_with_a_name() -> None:
    """Fields of the class are taken by name; an instance is passed through as it is."""
    assert get_method("lbfgs", memory=50) == LBFGS(memory=50)
    assert get_method("SCIPY:cg".lower()) == ScipyMethod("scipy:CG")
    method = Adam(batch_rows=32)
    assert get_method(method) is method


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("lbgfs", {}, "No method named 'lbgfs'; did you mean 'lbfgs'\\? Available: lbfgs, adam, sgd, scipy:"),
        ("scipy:dogleg", {}, "No method named 'scipy:dogleg'; the methods of SciPy that use gradients are"),
        (3, {}, "No method named 3"),
        ([], {}, "No method named "),
        (Adam, {}, r"method is the class Adam; use an instance: Adam\(\)\."),
        ("lbfgs", {"learning_rate": 1}, "Method 'lbfgs' has no setting learning_rate; it has curvature"),
        ("scipy:CG", {"memory": 5}, "memory goes with scipy:L-BFGS-B"),
        (LBFGS(), {"memory": 5}, "go with a method's name"),
    ],
)
def test_what_is_no_method_is_refused(name: Any, settings: dict[str, Any], message: str) -> None:
    """With what was given, what was possible, and the nearest name."""
    with pytest.raises(ParameterError, match=message):
        get_method(name, **settings)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adam(learning_rate=0), "learning_rate must be a positive number; given 0"),
        (lambda: Adam(beta1=1), "beta1 must be at least 0 and below 1; given 1"),
        (lambda: Adam(learning_rate=10**400), "learning_rate must be a number; given 1000"),
        (lambda: SGD(clip=10**400), "clip must be a number; given 1000"),
        (lambda: Adam(epsilon=0), "epsilon must be a positive number; given 0"),
        (lambda: Adam(epsilon=10**400), "epsilon must be a number; given 1000"),
        (lambda: Adam(batch_rows=0), "batch_rows must be an integer of at least 1"),
        (lambda: Adam(held_out=0.6), "held_out must lie from 0 to 0.5; given 0.6"),
        (lambda: Adam(rho_decay=1.0), "rho_decay must be at least 0 and below 1"),
        (lambda: SGD(momentum=-0.1), "momentum must be at least 0"),
        (lambda: SGD(patience=0), "patience must be an integer of at least 1"),
    ],
)
def test_stochastic_settings_out_of_range_are_refused(make: Any, message: str) -> None:
    """With what was given and what was possible."""
    with pytest.raises(ParameterError, match=message):
        make()


def test_adam_is_the_published_algorithm() -> None:
    """Ten updates agree with algorithm 1 of the paper, written out with scalars."""
    adam, rng = Adam(learning_rate=0.1), np.random.default_rng(0)
    state = adam.start(np.array([0.5, -0.5]))
    theta, m, v = [0.5, -0.5], [0.0, 0.0], [0.0, 0.0]
    for t in range(1, 11):
        g = rng.normal(size=2)
        state, _ = adam.update(state, BatchGradient((g,)))
        for i in range(2):
            m[i] = 0.9 * m[i] + 0.1 * g[i]
            v[i] = 0.999 * v[i] + 0.001 * g[i] ** 2
            theta[i] -= 0.1 * (m[i] / (1 - 0.9**t)) / ((v[i] / (1 - 0.999**t)) ** 0.5 + 1e-8)
    np.testing.assert_allclose(state.theta, theta, rtol=1e-12)


def test_sgd_is_steepest_descent_with_momentum() -> None:
    """Three updates written out."""
    sgd = SGD(learning_rate=0.1, momentum=0.5)
    state = sgd.start(np.array([1.0]))
    for g in (1.0, 2.0, 3.0):
        state, _ = sgd.update(state, BatchGradient((np.array([g]),)))
    np.testing.assert_allclose(state.theta, 1 - 0.1 * (1.0 + 2.5 + 4.25))


@pytest.mark.parametrize("method", [Adam(beta2=0.9), SGD()])
def test_moments_of_a_unit_that_died_are_never_denormal(method: Any) -> None:
    """After a last gradient, thousands of zero gradients: the moments all but vanish, and none is ever denormal."""
    state, _ = method.update(method.start(np.ones(4)), BatchGradient((np.array([1.0, 1e-5, 1e-100, 1e-200]),)))
    for _ in range(9000):
        state, _ = method.update(state, BatchGradient((np.zeros(4),)))
        for moment in (state.first, state.second):
            assert not ((moment != 0) & (abs(moment) < np.finfo(float).tiny)).any()
    assert (abs(state.first) < 1e-45).all()
    assert (abs(state.second) < 1e-64).all()


@pytest.mark.parametrize("method", [Adam(), SGD()])
def test_updates_need_no_memory_of_the_size_of_the_parameters(method: Any) -> None:
    """They go through the parameters in chunks, in place: at 4 10^6 parameters, 32 MB, two chunks of 1 MB."""
    size = 4 * 10**6
    state, gradient = method.start(np.ones(size)), np.ones(size)
    tracemalloc.start()
    try:
        after, _ = method.update(state, BatchGradient((gradient,)))
        assert tracemalloc.get_traced_memory()[1] < 2 * CHUNK_BYTES + 10**5
    finally:
        tracemalloc.stop()
    assert after.theta is state.theta
    assert after.updates == state.updates + 1
    assert (after.theta < 1).all()
    assert (gradient == 1).all()


def backwards(task: Any, count: int) -> None:
    """Call it for the last number first."""
    for number in reversed(range(count)):
        task(number)


def test_the_gradient_of_a_mini_batch_in_parts() -> None:
    """The sum of the parts, divided, and weight decay for the weights alone; the report says what was seen."""
    rng = np.random.default_rng(0)
    first, second, theta = rng.normal(size=(3, 50_000))
    gradient = BatchGradient((first, second), 0.25, 0.1, 30_000)
    whole = (first + second) / 4
    whole[:30_000] += 0.1 * theta[:30_000]
    np.testing.assert_allclose(gradient.vector(theta), whole, rtol=1e-13, atol=1e-15)
    sgd = SGD(learning_rate=0.5, momentum=0.0)
    after, report = sgd.update(sgd.start(theta.copy()), gradient, measure=True)
    np.testing.assert_allclose(after.theta, theta - 0.5 * whole, rtol=1e-12)
    assert report.weight_squares == pytest.approx(np.square(theta[:30_000]).sum(), rel=1e-12)
    assert report.gradient_max == pytest.approx(abs(whole).max(), rel=1e-12)


@pytest.mark.parametrize("method", [Adam(), SGD()])
def test_chunks_change_no_bit(method: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of 7 and of all parameters give the same bits, in any order."""
    rng = np.random.default_rng(0)
    gradients = rng.normal(size=(5, 100))
    states = []
    monkeypatch.setattr("sparsae.optimize.update.ALONE", 0)
    for chunk in (7, 1000):
        monkeypatch.setattr("sparsae.optimize.update.chunk_size", lambda size, dtype, chunk=chunk: chunk)
        state = method.start(np.ones(100))
        for gradient in gradients:
            state, _ = method.update(state, BatchGradient((gradient,), 0.5, 0.1, 60), backwards)
        states.append(state.theta.tobytes())
    assert states[0] == states[1]


@pytest.mark.parametrize("method", [Adam(learning_rate=0.1), SGD(learning_rate=0.1)])
def test_a_float32_state_stays_float32_and_close(method: Any) -> None:
    """Twenty updates with float64 gradients agree with the float64 state to single precision."""
    rng = np.random.default_rng(0)
    single, double = method.start(np.ones(50, np.float32)), method.start(np.ones(50))
    for gradient in rng.normal(size=(20, 50)):
        single, double = (method.update(state, BatchGradient((gradient,)))[0] for state in (single, double))
    assert single.theta.dtype == single.first.dtype == np.float32
    np.testing.assert_allclose(single.theta, double.theta, rtol=1e-4, atol=1e-5)


def test_the_dtype_of_the_state() -> None:
    """float64 up to 100,000 parameters, then the kernel's; or what is asked for."""
    single, double = np.dtype(np.float32), np.dtype(np.float64)
    assert Adam().dtype_for(100_000, single) == double
    assert Adam().dtype_for(100_001, single) == single
    assert Adam().dtype_for(100_001, double) == double
    assert SGD(state_dtype="float32").dtype_for(10, double) == single
    with pytest.raises(ParameterError, match=r"state_dtype must be .* given 'float16'"):
        Adam(state_dtype="float16")


def test_method_is_abstract() -> None:
    """`Method` cannot be made; it says what is missing."""
    with pytest.raises(TypeError, match="abstract"):
        Method()  # type: ignore[abstract]
