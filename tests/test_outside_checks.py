"""Numbers that were published or follow from closed forms: any correct implementation must give them."""

import numpy as np
import pytest

import sparsae
from sparsae import Parameters
from sparsae.reference import evaluate_reference

MLPACK = [(1.0, 1.190472606540), (0.0, 0.150000000000), (-1.0, 0.048800332266)]


def constant(value, n_visible, n_hidden):
    """Parameters that all have one value."""
    n, p = n_visible, n_hidden
    return Parameters(*(np.full(shape, value) for shape in ((p, n), (p,), (n, p), (n,))))


@pytest.mark.parametrize(("value", "cost"), MLPACK)
def test_costs_published_with_mlpack_are_reproduced(backend, value, cost):
    """Five constant samples, v = 5, h = 3, lambda = beta = 0: the costs that Octave computed for mlpack's tests."""
    X = np.repeat(np.arange(1, 6)[:, None] / 10, 5, axis=1)
    for passes in (1, 2):
        got, _ = sparsae.cost_and_gradient(
            constant(value, 5, 3), X, beta=0, weight_decay=0, backend=backend, passes=passes
        )
        np.testing.assert_allclose(got, cost, rtol=0, atol=6e-13)


@pytest.mark.parametrize(("value", "cost"), MLPACK)
def test_the_reference_reproduces_mlpack_too(value, cost):
    """The reference is held to the same published numbers."""
    X = np.repeat(np.arange(1, 6)[:, None] / 10, 5, axis=1)
    np.testing.assert_allclose(
        evaluate_reference(constant(value, 5, 3), X, beta=0, weight_decay=0).cost, cost, rtol=0, atol=6e-13
    )


@pytest.mark.parametrize(("x", "cost", "db2"), [(0.5, 47.785923465382, 0.0), (0.1, 52.905923465382, 0.1)])
@pytest.mark.parametrize("weight_decay", [0.0, 1e-4, 7.0])
def test_closed_form_at_zero_parameters(backend, x, cost, db2, weight_decay):
    """Theta = 0: the sparsity term is 75 KL(0.01 || 0.5), whatever lambda; db1 = 1.47, db2 = 0.1 where x = 0.1."""
    got, gradient = sparsae.cost_and_gradient(
        constant(0.0, 64, 25), np.full((7, 64), x), weight_decay=weight_decay, backend=backend
    )
    np.testing.assert_allclose(got, cost, rtol=1e-13)
    np.testing.assert_allclose(gradient.b2, db2, rtol=1e-12, atol=1e-15)
    if x == 0.1:
        np.testing.assert_allclose(gradient.b1, 1.47, rtol=1e-12)


def test_gradient_check_of_the_exercise(backend, digits):
    """Central differences with eps 1e-4 agree to |num - ana| / |num + ana| < 1e-9, as UFLDL asks."""
    n, p = 64, 3
    theta = Parameters.random(n, p, seed=3).flatten()
    with sparsae.Objective(digits[:10], p, backend=backend) as objective:
        analytic = objective(theta)[1]
        numeric = np.array(
            [(objective(theta + step)[0] - objective(theta - step)[0]) / 2e-4 for step in 1e-4 * np.eye(len(theta))]
        )
    assert np.linalg.norm(numeric - analytic) / np.linalg.norm(numeric + analytic) < 1e-9


def test_cost_at_the_start_on_digits(backend, digits):
    """The exercise's settings on the digits start at about 56.35."""
    cost, _ = sparsae.cost_and_gradient(Parameters.random(64, 25, seed=0), digits, backend=backend)
    assert 55.5 < cost < 57.5
