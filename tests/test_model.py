"""Parameters and their starting values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import sparsae
from sparsae import ParameterError, Parameters
from sparsae.model import check_parameters
from sparsae.model.units import sigmoid


@given(st.integers(1, 9), st.integers(1, 9))
def test_flatten_and_from_flat_are_inverse(n, p):
    """Flat order is W1, W2, b1, b2; nothing is lost on the way."""
    made = Parameters.random(n, p, seed=n * 10 + p)
    theta = made.flatten()
    assert theta.shape == (2 * n * p + n + p,)
    np.testing.assert_array_equal(theta[: n * p], made.W1.ravel())
    np.testing.assert_array_equal(theta[n * p : 2 * n * p], made.W2.ravel())
    for part, again in zip(made, Parameters.from_flat(theta, n, p), strict=True):
        np.testing.assert_array_equal(part, again)


def test_initialisation_is_the_exercises():
    """Weights are uniform in +-sqrt(6/(n+p+1)), biases zero, and one seed gives one start."""
    made = Parameters.random(64, 25, seed=5)
    r = np.sqrt(6 / 90)
    assert abs(made.W1).max() <= r
    assert abs(made.W1).max() > 0.99 * r
    assert abs(made.W1.mean()) < 0.05 * r
    assert not made.b1.any()
    assert not made.b2.any()
    np.testing.assert_array_equal(made.W2, Parameters.random(64, 25, seed=5).W2)
    assert not np.array_equal(made.W1, Parameters.random(64, 25, seed=6).W1)
    again = Parameters.random(64, 25, seed=np.random.default_rng(5))
    np.testing.assert_array_equal(made.W1, again.W1)


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", None, True])
def test_sizes_must_be_positive_integers(size):
    """The error names the argument and what was given."""
    with pytest.raises(ParameterError, match=r"n_hidden must be an integer of at least 1, not "):
        Parameters.random(3, size)


def test_a_theta_of_the_wrong_length_is_named():
    """The error says the shape given and the number of values needed."""
    with pytest.raises(ParameterError, match=r"theta has shape \(5,\).*vector of 17 numbers"):
        Parameters.from_flat(np.zeros(5), 3, 2)


@pytest.mark.parametrize("theta", ["seventeen", ["x"] * 17, [[1, 2], [3]], [0j] * 17, [None] * 17])
def test_a_theta_that_is_no_vector_of_real_numbers_is_refused(theta):
    """As `ParameterError`, in `from_flat` and in an evaluation; an imaginary part is never dropped."""
    with pytest.raises(ParameterError, match=r"theta (has dtype|cannot be made an array)"):
        Parameters.from_flat(theta, 3, 2)
    with pytest.raises(ParameterError, match=r"theta (has dtype|cannot be made an array)"):
        sparsae.Objective(np.full((4, 3), 0.5), 2)(theta)


def test_parameters_that_do_not_fit_together_are_named():
    """All four shapes stand in the message."""
    W1, b1, W2, b2 = Parameters.random(3, 2)
    with pytest.raises(ParameterError, match=r"W2 \(2, 3\).*needs b1 \(2,\), W2 \(3, 2\), b2 \(3,\)"):
        check_parameters(Parameters(W1, b1, W2.T, b2))
    with pytest.raises(ParameterError, match="W1 must be a non-empty matrix"):
        check_parameters(Parameters(b1, b1, W2, b2))
    with pytest.raises(ParameterError, match=r"Expected sparsae.Parameters\(W1, b1, W2, b2\), not int"):
        check_parameters(3)
    with pytest.raises(ParameterError, match="b1 contains 1 value that is not finite"):
        check_parameters(Parameters(W1, np.array([0, np.nan]), W2, b2))
    with pytest.raises(ParameterError, match="b2 has dtype <U1"):
        check_parameters(Parameters(W1, b1, W2, np.array(["a", "b", "c"])))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sigmoid_is_silent_and_relatively_accurate(dtype):
    """No warning at +-800 and relative accuracy far below zero, where it stands in a denominator."""
    with np.errstate(all="raise"):
        np.testing.assert_array_less(0, sigmoid(np.array([-800, -100, 0, 800], dtype)))
    z = np.linspace(-80, 30, 400).astype(dtype)
    true = 1 / (1 + np.exp(-z.astype(np.longdouble)))
    np.testing.assert_allclose(sigmoid(z), true, rtol=4 * np.finfo(dtype).eps)
    assert sigmoid(z).dtype == dtype
