"""L-BFGS: it converges where SciPy's does, its state is everything, and it fails with a value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.optimize
from numpy.typing import NDArray
from tests.support.evaluations import evaluating

from sparsae import ParameterError
from sparsae.errors import OptimizationError
from sparsae.optimize import LBFGS
from sparsae.optimize.lbfgs_history import CurvatureHistory

Vector = NDArray[np.float64]
Fun = Callable[[Vector], tuple[float, Vector]]


def rosenbrock(x: Vector) -> tuple[float, Vector]:
    return float(scipy.optimize.rosen(x)), scipy.optimize.rosen_der(x)


def quadratic(condition: float, size: int = 60) -> tuple[Fun, Vector]:
    """A quadratic with eigenvalues from 1 to `condition`, and its minimiser."""
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(size, size)))[0]
    matrix = basis @ np.diag(np.geomspace(1, condition, size)) @ basis.T
    best = rng.normal(size=size)
    return lambda x: (float(0.5 * (x - best) @ matrix @ (x - best)), matrix @ (x - best)), best


def beale(x: Vector) -> tuple[float, Vector]:
    a, b = x
    parts = [(c - a + a * b**k, -1 + b**k, a * k * b ** (k - 1)) for k, c in ((1, 1.5), (2, 2.25), (3, 2.625))]
    return sum(r * r for r, _, _ in parts), np.array(
        [sum(2 * r * d for r, d, _ in parts), sum(2 * r * d for r, _, d in parts)]
    )


def himmelblau(x: Vector) -> tuple[float, Vector]:
    a, b = x
    u, v = a * a + b - 11, a + b * b - 7
    return u * u + v * v, np.array([4 * a * u + 2 * v, 2 * u + 4 * b * v])


def powell(x: Vector) -> tuple[float, Vector]:
    """Powell's singular function: its Hessian is singular at the minimum."""
    a, b, c, d = x
    p, q, r, s = a + 10 * b, c - d, b - 2 * c, a - d
    cost = p * p + 5 * q * q + r**4 + 10 * s**4
    return cost, np.array([2 * p + 40 * s**3, 20 * p + 4 * r**3, 10 * q - 8 * r**3, -10 * q - 40 * s**3])


def minimise(fun: Fun, x: Vector, *, gradient: float, most: int = 3000, **settings: Any) -> tuple[Any, int]:
    """Run to a gradient tolerance; the last state and the number of evaluations."""
    count = 0

    def counted(theta: Vector) -> tuple[float, Vector]:
        nonlocal count
        count += 1
        return fun(theta)

    state = LBFGS(**settings).run(
        evaluating(counted), x, lambda s: abs(s.gradient).max() <= gradient or s.iteration >= most
    )
    return state, count


CASES = {
    "rosenbrock 2": (rosenbrock, np.array([-1.2, 1.0]), 1e-8),
    "rosenbrock 10": (rosenbrock, np.tile([-1.2, 1.0], 5), 1e-8),
    "rosenbrock 100": (rosenbrock, np.tile([-1.2, 1.0], 50), 1e-8),
    "quadratic 1e2": (quadratic(1e2)[0], np.zeros(60), 1e-6),
    "quadratic 1e4": (quadratic(1e4)[0], np.zeros(60), 1e-4),
    "beale": (beale, np.array([1.0, 1.0]), 1e-8),
    "himmelblau": (himmelblau, np.array([0.0, 0.0]), 1e-8),
    "powell": (powell, np.array([3.0, -1.0, 0.0, 1.0]), 1e-7),
}


@pytest.mark.parametrize("name", CASES)
def test_it_converges_as_scipy_does(name: str) -> None:
    """To the same tolerance, at equal memory, in at most a fifth more evaluations than SciPy's L-BFGS-B (and ten)."""
    fun, start, tolerance = CASES[name]
    state, evaluations = minimise(fun, start, gradient=tolerance, memory=10)
    theirs = scipy.optimize.minimize(
        fun,
        start,
        jac=True,
        method="L-BFGS-B",
        options={"maxcor": 10, "gtol": tolerance, "ftol": 0, "maxiter": 3000, "maxfun": 10**5},
    )
    assert abs(state.gradient).max() <= tolerance
    assert state.cost <= theirs.fun + 1e-9
    assert evaluations <= 1.2 * theirs.nfev + 10


@pytest.mark.parametrize("memory", [5, 20, 100])
def test_the_direction_is_that_of_the_dense_bfgs_formula(memory: int) -> None:
    """-H g from the compact form equals H built update by update from the pairs that are kept, also after wrapping."""
    rng = np.random.default_rng(1)
    size = 30
    matrix = np.diag(np.geomspace(1, 50, size))
    pairs, kept = CurvatureHistory(size, memory), []
    gradient = rng.normal(size=size)
    for _ in range(memory + 7):
        s = rng.normal(size=size)
        y = matrix @ s
        gradient = gradient + y
        pairs.add(s, y, pairs.update_products(gradient), gradient, float(s @ y), float(y @ y))
        kept = [*kept, (s, y)][-memory:]
    s, y = kept[-1]
    inverse = np.eye(size) * (s @ y) / (y @ y)
    for s, y in kept:
        left = np.eye(size) - np.outer(s, y) / (s @ y)
        inverse = left @ inverse @ left.T + np.outer(s, s) / (s @ y)
    np.testing.assert_allclose(pairs.descent(gradient), -inverse @ gradient, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("stop", [0, 3, 8, 21, 57])
def test_going_on_from_a_packed_state_gives_the_same_bits(stop: int) -> None:
    """pack, unpack, go on: the bits of never having stopped, before and after the memory is full and has wrapped."""
    method, start = LBFGS(memory=7), np.tile([-1.2, 1.0], 10)
    whole = method.run(evaluating(rosenbrock), start, lambda s: s.iteration >= 80)
    part = method.run(evaluating(rosenbrock), start, lambda s: s.iteration >= stop)
    arrays = {name: np.array(value) for name, value in method.pack(part).items()}
    resumed = method.run(evaluating(rosenbrock), method.unpack(arrays), lambda s: s.iteration >= 80)
    assert resumed.theta.tobytes() == whole.theta.tobytes()
    assert resumed.gradient.tobytes() == whole.gradient.tobytes()
    assert resumed.cost == whole.cost
    assert resumed.iteration == whole.iteration == 80


def test_a_state_that_has_moved_on_is_refused() -> None:
    """Stepping twice from one state would silently use a wrong memory; it is refused, with the way out."""
    method = LBFGS()
    state = method.init(evaluating(rosenbrock), np.array([-1.2, 1.0]))
    method.step(evaluating(rosenbrock), state)
    with pytest.raises(ParameterError, match="is not the newest one"):
        method.step(evaluating(rosenbrock), state)


def test_an_exception_in_the_function_leaves_the_state_usable() -> None:
    """A step that is broken off by the function (Ctrl-C, a failing backend) can be taken again, bit for bit."""
    method = LBFGS()
    state = method.run(evaluating(rosenbrock), np.tile([-1.2, 1.0], 5), lambda s: s.iteration >= 12)
    copy = method.unpack({name: np.array(value) for name, value in method.pack(state).items()})

    def broken(theta: Vector) -> tuple[float, Vector]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        method.step(evaluating(broken), state)
    assert (
        method.step(evaluating(rosenbrock), state).theta.tobytes()
        == method.step(evaluating(rosenbrock), copy).theta.tobytes()
    )


def test_a_start_that_is_not_finite_is_an_error() -> None:
    """There is nothing to go on from; the message says what to try."""
    with pytest.raises(OptimizationError, match=r"starting point is nan.*smaller weights"):
        LBFGS().init(evaluating(lambda x: (np.nan, x)), np.ones(3))


def test_it_walks_around_a_region_without_numbers() -> None:
    """A trial whose cost is not finite counts as too long a step: log barriers need no special care."""

    def barrier(x: Vector) -> tuple[float, Vector]:
        if (x <= 0).any():
            return np.nan, np.full_like(x, np.nan)
        return float((x - 3 * np.log(x)).sum()), 1 - 3 / x

    state = LBFGS().run(
        evaluating(barrier), np.array([0.01, 5.0, 40.0]), lambda s: abs(s.gradient).max() < 1e-9 or s.iteration >= 500
    )
    assert not state.outcome
    np.testing.assert_allclose(state.theta, 3, rtol=1e-8)


def test_where_every_trial_is_not_finite_it_says_so_and_keeps_the_point() -> None:
    """The outcome is a value, and theta, cost and gradient are the last good ones."""
    calls = 0

    def dies(x: Vector) -> tuple[float, Vector]:
        nonlocal calls
        calls += 1
        return (float(x @ x), 2 * x) if calls == 1 else (np.inf, x)

    state = LBFGS().run(evaluating(dies), np.ones(3), lambda s: s.iteration >= 500)
    assert (state.outcome, state.cost, state.iteration) == ("not finite", 3.0, 0)


def test_no_decrease_is_a_value() -> None:
    """A gradient that points the wrong way ends as "stalled", not in an endless loop."""
    state = LBFGS().run(evaluating(lambda x: (float(x @ x), -2 * x)), np.ones(3), lambda s: s.iteration >= 500)
    assert (state.outcome, state.cost) == ("stalled", 3.0)


def test_at_a_minimum_it_stalls_at_once() -> None:
    """A gradient of zero needs no search."""
    calls = 0

    def flat(x: Vector) -> tuple[float, Vector]:
        nonlocal calls
        calls += 1
        return 1.0, np.zeros_like(x)

    state = LBFGS().run(evaluating(flat), np.ones(3), lambda s: s.iteration >= 500)
    assert (state.outcome, calls) == ("stalled", 1)


def test_pairs_without_curvature_are_left_out() -> None:
    """On a concave stretch the memory keeps H positive definite, and the way out is found."""

    def wave(x: Vector) -> tuple[float, Vector]:
        return float(np.sin(x).sum()), np.cos(x)

    state = LBFGS().run(
        evaluating(wave), np.array([1.4, 1.5, 2.0]), lambda s: abs(s.gradient).max() < 1e-9 or s.iteration >= 500
    )
    assert not state.outcome
    np.testing.assert_allclose(np.sin(state.theta), -1, atol=1e-12)


def test_a_pair_without_curvature_is_left_out() -> None:
    """Where the search ends on a concave stretch, s'y < 0: H would no longer be positive definite."""
    method = LBFGS(trials=3)
    state = method.init(evaluating(lambda x: (-float(x @ x), -2 * x)), np.array([1.0, 2.0]))
    after = method.step(evaluating(lambda x: (-float(x @ x), -2 * x)), state)
    assert after.cost < state.cost
    assert after.history.count == 0


def test_a_memory_that_leads_nowhere_is_dropped() -> None:
    """Where the direction does not descend, steepest descent is tried in the same step, and the memory grows anew."""
    method = LBFGS()
    state = method.run(evaluating(rosenbrock), np.tile([-1.2, 1.0], 5), lambda s: s.iteration >= 12)
    state.history.sy[...] *= -1
    after = method.step(evaluating(rosenbrock), state)
    assert (after.outcome, after.iteration, after.history.count) == ("", 13, 1)
    assert after.cost < state.cost


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"memory": 4}, "from 5 to 100; given 4"),
        ({"memory": 101}, "from 5 to 100; given 101"),
        ({"memory": 7.5}, "memory must be an integer"),
        ({"decrease": 0.95}, "0 < decrease < curvature < 1"),
        ({"trials": 1}, "trials must be an integer of at least 2"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    """With what was given and what was possible."""
    with pytest.raises(ParameterError, match=message):
        LBFGS(**settings)
