"""The cost is written once; its settings are checked, also after the cast to the dtype of the fit."""

from __future__ import annotations

import numpy as np
import pytest

import sparsae
from sparsae import Objective, Parameters, Sums
from sparsae.cost import KL_EDGE, Cost
from sparsae.engine.fold import cast_sparsity
from sparsae.errors import OptimizationError, ParameterError

X = np.random.default_rng(0).random((12, 3))


def sums_of(parameters, x, cost):
    """Sums by the formulas, and the mean activations."""
    a2 = sparsae.encode(parameters, x)
    a3 = sparsae.decode(parameters, a2)
    rho_hat = a2.mean(axis=0)
    delta3 = (a3 - x) * a3 * (1 - a3)
    delta2 = (delta3 @ parameters.W2 + cost.sparsity(rho_hat)) * a2 * (1 - a2)
    sums = Sums(*parameters.W2.shape)
    sums.rows, sums.squared_error = len(x), np.square(a3 - x).sum()
    sums.hidden[...], sums.W1[...], sums.b1[...] = a2.sum(axis=0), delta2.T @ x, delta2.sum(axis=0)
    sums.W2[...], sums.b2[...] = delta3.T @ a2, delta3.sum(axis=0)
    return sums


def test_an_evaluation_from_sums_is_that_of_an_objective():
    """Cost, terms and gradient; with a mean activation of its own (a mini-batch) the sparsity term is of that."""
    cost, parameters = Cost(rho=0.2, beta=1.5, weight_decay=0.03), Parameters.random(3, 2)
    sums, theta = sums_of(parameters, X, cost), parameters.flatten()
    found = cost.evaluate(sums, theta)
    expected = Objective(X, 2, rho=0.2, beta=1.5, weight_decay=0.03, backend="numpy").evaluate(theta)
    np.testing.assert_allclose(found.cost, expected.cost, rtol=1e-14)
    np.testing.assert_allclose(found.gradient, expected.gradient, rtol=1e-12)
    np.testing.assert_allclose(found.terms, expected.terms, rtol=1e-13)
    running = np.array([0.1, 0.7])
    assert cost.evaluate(sums, theta, running).terms.sparsity == cost.penalty(running)
    assert cost.terms(sums, theta, running) == cost.evaluate(sums, theta, running).terms


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"beta": 1.5}, [6]),
        ({"activation": "relu", "l1": 0.3, "pre_bias": True, "l1_weighted": True}, [6, 3 + 3, 5]),
        ({"activation": "jumprelu", "l0": 0.2, "bandwidth": 0.5, "pre_bias": True}, [7, 3, 5]),
        ({"activation": "topk", "weight_decay": 0.0}, [6]),
    ],
)
def test_pieces_of_the_gradient_make_the_same_bits_as_the_whole(settings, expected, monkeypatch):
    """In any order, with every term of the cost; and the part of a mini-batch, which begins with the mean.

    Pieces are of seven numbers, or of whole rows: of W1 two at a time, of W2 one; weight decay is last where it is
    added to more than the mean.
    """
    cost, rng = Cost(**{"weight_decay": 0.03} | settings), np.random.default_rng(0)
    sums = Sums(3, 5, rng.standard_normal(Sums(3, 5).vector.size))
    sums.rows = 7
    theta = rng.standard_normal(2 * 15 + 5 + 3 + 5 * (cost.activation == "jumprelu"))
    whole = cost.evaluate(sums, theta)
    mean = sums.gradient[: theta.size] / 7
    cost.complete(Parameters.from_flat(mean, 3, 5), Parameters.from_flat(theta, 3, 5), sums)
    mean[:30] += cost.weight_decay * theta[:30]
    np.testing.assert_array_equal(mean, whole.gradient)
    monkeypatch.setattr(sparsae.cost, "PIECE", 7)
    counts = []

    def backwards(task, count):
        counts.append(count)
        for index in reversed(range(count)):
            task(index)

    found = cost.evaluate(sums, theta, run_tasks=backwards)
    np.testing.assert_array_equal(found.gradient, whole.gradient)
    assert found.terms == whole.terms
    assert counts == expected


def test_the_sparsity_vector_is_the_derivative_of_the_penalty_and_continuous_at_the_edges():
    """By central differences inside, and beyond the edges, where the penalty continues along its tangent."""
    cost = Cost(rho=0.05, beta=3)
    for at, h in ((0.3, 1e-6), (0.999, 1e-7), (KL_EDGE / 3, 1e-8), (1 - KL_EDGE / 3, 1e-8)):
        up, down = (cost.penalty(np.array([at + d])) for d in (h, -h))
        np.testing.assert_allclose(cost.sparsity(np.array([at]))[0], (up - down) / (2 * h), rtol=1e-4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rho": 0}, r"rho must lie strictly between 0 and 1 .* given 0"),
        ({"rho": "a tenth"}, "rho must be a number; given 'a tenth'"),
        ({"beta": -1}, "beta must be at least 0; given -1"),
        ({"beta": "3,0"}, "beta must be a number; given '3,0'"),
        ({"weight_decay": np.nan}, "weight_decay must be finite"),
        ({"weight_decay": 10**400}, "weight_decay must be a number"),
        ({"beta": np.longdouble("1e4000")}, "beta must be finite"),
    ],
)
def test_settings_that_cannot_be_used_are_named(settings, message):
    """Of the cost and of whatever takes them."""
    with pytest.raises(ParameterError, match=message):
        Cost(**settings)
    with pytest.raises(ParameterError, match=message):
        sparsae.cost_and_gradient(Parameters.random(3, 2), X, **settings)


@pytest.mark.parametrize("call", ["cost_and_gradient", "Objective", "train"])
@pytest.mark.parametrize(("beta", "dtype"), [(1e300, "float32"), (1e33, "float32"), (1e305, "float64")])
def test_a_beta_that_overflows_after_the_cast_is_refused_everywhere(call, beta, dtype):
    """Not NaN from one function and an error from another; the message says what can be used."""
    arguments = (Parameters.random(3, 2), X) if call == "cost_and_gradient" else (X, 2)
    with pytest.raises(ParameterError, match=rf"beta=1e\+\d+ overflows in {dtype}: .* Use a beta of at most"):
        getattr(sparsae, call)(*arguments, beta=beta, dtype=dtype)


def test_the_largest_beta_that_is_accepted_gives_a_finite_gradient():
    """Where every unit is off, so that the sparsity vector is largest."""
    parameters = Parameters.random(3, 2)._replace(b1=np.full(2, -60.0))
    for dtype in ("float32", "float64"):
        beta = float(np.finfo(dtype).max) * KL_EDGE * 0.999
        objective = Objective(X, 2, beta=beta, dtype=dtype, backend="numpy")
        assert np.isfinite(objective(parameters.flatten())[1]).all()


def test_parameters_that_overflow_after_the_cast_are_named():
    """In float32, from longdouble to float64, and in encode and decode."""
    large = Parameters.random(3, 2)._replace(b2=np.array([0, 1e200, 0]))
    with pytest.raises(ParameterError, match="b2 contains 1 value that is not finite in float32"):
        sparsae.cost_and_gradient(large, X.astype(np.float32))
    wide = large._replace(b2=np.array([0, 0, np.longdouble("1e4000")]))
    with pytest.raises(ParameterError, match="b2 contains 1 value that is not finite"):
        sparsae.cost_and_gradient(wide, X)
    with pytest.raises(ParameterError, match="b2 contains 1 value that is not finite in float32"):
        sparsae.decode(large, np.ones((1, 2), np.float32))
    with pytest.raises(ParameterError, match="b1 contains 2 values that are not finite in float32"):
        sparsae.encode(large._replace(b1=np.array([1e200, -1e200])), X.astype(np.float32))


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_a_result_that_overflows_is_an_error():
    """Of `cost_and_gradient`; an `Objective` returns infinity, so that a line search can step back."""
    large = Parameters.random(3, 2)._replace(b2=np.full(3, 1e200))
    with pytest.raises(OptimizationError, match=r"The cost is inf, or its gradient is not finite, in float64"):
        sparsae.cost_and_gradient(large, X, output="linear")
    assert Objective(X, 2, output="linear")(large.flatten())[0] == np.inf


def test_penalty_and_sparsity_together_are_those_of_the_formula():
    """Bit for bit, within the edges and beyond them."""
    cost, rho_hat = Cost(rho=0.05, beta=2.0), np.random.default_rng(0).uniform(0.001, 0.999, 33)
    penalty, s = cost.penalty_and_sparsity(rho_hat)
    divergence = 0.05 * np.log(0.05 / rho_hat) + (1 - 0.05) * np.log((1 - 0.05) / (1 - rho_hat))
    assert penalty == 2.0 * divergence.sum()
    assert np.array_equal(s, 2.0 * ((1 - 0.05) / (1 - rho_hat) - 0.05 / rho_hat))
    at_edge, slope = cost.penalty_and_sparsity(np.array([KL_EDGE]))
    beyond, same = cost.penalty_and_sparsity(np.array([0.0]))
    assert same == slope
    assert beyond == at_edge + float(slope[0] * (0.0 - KL_EDGE))


def test_a_sparsity_vector_near_the_largest_float32_is_cast():
    """It is looked at number by number there; smaller ones are known to fit."""
    for large in (2e38, -2e38):
        cast = cast_sparsity(np.array([large, 1.0]), np.dtype(np.float32))
        assert cast.dtype == np.float32
        np.testing.assert_allclose(cast, [large, 1.0], rtol=1e-7)
