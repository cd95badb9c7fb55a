"""The comparison with the reference: what agrees, what does not, and what is said."""

from __future__ import annotations

import numpy as np
import pytest

from sparsae import Parameters
from sparsae.reference import compare, compare_gradient_sums, evaluate_reference, gradient_sums


def test_a_comparison_says_by_how_much_and_where():
    """The worst component in units of its bound; NaN and a wrong shape never agree."""
    good = compare("x", [1.0, 2.0], [1.0, 2.1], [0.0, 0.2])
    assert good.agrees
    assert good.ratio == pytest.approx(0.5)
    bad = compare("x", [1.0, 2.5], [1.0, 2.1], [0.0, 0.1])
    assert not bad.agrees
    assert bad.ratio == pytest.approx(4)
    assert str(bad) == "x is 2.5 at [1] and should be 2.1: off by 0.4 where rounding explains 0.1 (1 of 2 wrong)"
    for found in (np.nan, np.inf, [1.0]):
        wrong = compare("cost", found, 1.0, 1e300)
        assert not wrong.agrees
        assert wrong.ratio == np.inf
        assert str(wrong)
    assert "cost has shape (1,); expected ()" in str(compare("cost", [1.0], 1.0, 1))
    assert not compare("x", [1.0], [2.0], 0.0).agrees


def test_each_quantity_that_is_given_is_compared():
    """Its own value agrees; moved by ten times what rounding explains it does not, by that name."""
    parameters, X = Parameters.random(4, 3, seed=1), np.random.default_rng(0).random((20, 4))
    reference = evaluate_reference(parameters, X)
    found = {
        "cost": reference.cost,
        "gradient": reference.gradient,
        "rho_hat": reference.rho_hat,
        "squared_error": reference.squared_error,
    }
    exact = reference.errors(np.float64, **found)
    assert [c.name for c in exact] == [
        "mean activation", "squared error", "cost",
        "gradient of W1", "gradient of b1", "gradient of W2", "gradient of b2",
    ]  # fmt: skip
    assert all(c.agrees and c.ratio == 0 for c in exact)
    for comparison in exact:
        moved = comparison._replace(found=comparison.expected + 10 * comparison.bound)
        assert not moved.agrees
        assert moved.ratio == pytest.approx(10, rel=0.1)
    assert reference.errors(np.float64) == []
    for single, double in zip(reference.errors(np.float32, **found), exact, strict=True):
        assert single.bound.max() > 1e8 * double.bound.max()


def test_rounding_explains_no_more_than_the_promised_accuracy():
    """About 1e-12 relative for cost and gradient in float64 where mean activations lie in [0.001, 0.999]."""
    parameters, X = Parameters.random(64, 25, seed=2), np.random.default_rng(0).uniform(0.1, 0.9, (500, 64))
    reference = evaluate_reference(parameters, X)
    assert 0.001 < reference.rho_hat.min() < reference.rho_hat.max() < 0.999
    for comparison in reference.errors(np.float64, cost=reference.cost, gradient=reference.gradient):
        assert np.linalg.norm(comparison.bound) <= 1.1e-12 * np.linalg.norm(comparison.expected), comparison.name


def test_gradient_sums_are_those_of_the_reference():
    """The formulas on given activations, against the whole evaluation without weight decay."""
    parameters, X = Parameters.random(4, 3, seed=1), np.random.default_rng(0).random((20, 4))
    reference = evaluate_reference(parameters, X, weight_decay=0)
    a2 = 1 / (1 + np.exp(-(X @ parameters.W1.T + parameters.b1)))
    a3 = 1 / (1 + np.exp(-(a2 @ parameters.W2.T + parameters.b2)))
    arrays = (X, a2, a3, parameters.W2, reference.sparsity, X)
    sums, _ = gradient_sums(*arrays, "sigmoid")
    for part, expected in zip(sums, reference.gradient, strict=True):
        np.testing.assert_allclose(part / 20, expected, rtol=1e-12, atol=1e-15)
    comparisons = compare_gradient_sums(sums, *arrays, output="sigmoid", dtype=np.float64)
    assert all(c.agrees for c in comparisons)
    halved = compare_gradient_sums(sums._replace(b1=sums.b1 / 2), *arrays, output="sigmoid", dtype=np.float64)
    assert [c.name for c in halved if not c.agrees] == ["the sum b1"]
