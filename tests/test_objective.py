"""The prepared objective: what it computes, on which data, and what it refuses."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.kernels import WholeKernel

import sparsae
from sparsae import DataError, Objective, ParameterError, Parameters, errors
from sparsae.cost import Cost
from sparsae.errors import UsageError
from sparsae.reference import evaluate_reference
from sparsae.testing.inputs import layouts

DTYPES = [np.float64, np.float32]


def problem(m, n, p, *, seed=0, scale=1.0):
    """Data in (0, 1) and parameters with biases that are not zero."""
    rng = np.random.default_rng(seed)
    made = Parameters.random(n, p, seed=seed)
    made = Parameters(made.W1 * scale, rng.normal(-1, 0.3, p), made.W2 * scale, rng.normal(0, 0.3, n))
    return made, rng.random((m, n))


def assert_within(cost, gradient, parameters, X, dtype, **settings):
    """Cost and every component of the gradient lie within the error model around the reference."""
    reference = evaluate_reference(parameters, X, **settings)
    cost_bound, bounds = reference.bound(dtype)
    assert abs(cost - reference.cost) <= cost_bound
    for name, got, true, bound in zip(gradient.names, gradient, reference.gradient, bounds, strict=True):
        assert got.dtype == np.float64
        excess = (abs(got - true) - bound).max()
        assert excess <= 0, f"{name} is off by {abs(got - true).max():.3g}, {excess:.3g} more than rounding explains"


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("passes", [1, 2])
@pytest.mark.parametrize("output", ["sigmoid", "linear"])
@pytest.mark.parametrize("denoise", [False, True])
def test_every_backend_agrees_with_the_reference(backend, dtype, passes, output, denoise):
    """Both dtypes, passes, output units, with and without a separate target."""
    made, X = problem(203, 9, 5)
    X = X.astype(dtype)
    target = np.random.default_rng(1).random(X.shape).astype(dtype) if denoise else None
    options = {"rho": 0.1, "beta": 2.0, "weight_decay": 0.01, "output": output, "target": target}
    cost, gradient = sparsae.cost_and_gradient(made, X, backend=backend, passes=passes, block_rows=64, **options)
    assert_within(cost, gradient, made, X, dtype, **options)


@pytest.mark.parametrize("dtype", DTYPES)
def test_promised_relative_accuracy_in_float64(backend, dtype, digits):
    """1e-12 relative in float64 where rho_hat lies in [0.001, 0.999]; in float32 that times the ratio of eps."""
    made = Parameters.random(64, 25, seed=2)
    cost, gradient = sparsae.cost_and_gradient(made, digits.astype(dtype), backend=backend, dtype=dtype)
    reference = evaluate_reference(made, digits.astype(dtype))
    assert 0.001 < reference.rho_hat.min() < reference.rho_hat.max() < 0.999
    tolerance = 1e-12 if dtype == np.float64 else 1e-12 * 2.0**29
    assert abs(cost - reference.cost) <= tolerance * reference.cost
    for got, true in zip(gradient, reference.gradient, strict=True):
        assert np.linalg.norm(got - true) <= tolerance * np.linalg.norm(true)


@given(m=st.integers(1, 70), n=st.integers(1, 6), p=st.integers(1, 6), block_rows=st.integers(1, 80))
@settings(max_examples=15)
def test_any_shape_and_any_split_into_blocks(backend, m, n, p, block_rows):
    """M = 1, n = 1, p = 1, n = p, a short last block: nothing changes beyond rounding."""
    made, X = problem(m, n, p, seed=m)
    for passes in (1, 2):
        cost, gradient = sparsae.cost_and_gradient(made, X, backend=backend, block_rows=block_rows, passes=passes)
        assert_within(cost, gradient, made, X, np.float64)


def test_row_order_changes_nothing_beyond_rounding(backend):
    """Rows permuted and rows duplicated have the same cost and gradient."""
    made, X = problem(150, 7, 4)
    order = np.random.default_rng(1).permutation(len(X))
    for rows in (X[order], np.concatenate([X, X])):
        cost, gradient = sparsae.cost_and_gradient(made, rows, backend=backend, block_rows=37)
        assert_within(cost, gradient, made, X, np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_layout_changes_nothing_and_inputs_stay_identical(backend, dtype, tmp_path):
    """F-order, strided, reversed, read-only and memory-mapped data; not a bit of it is written to."""
    made, X = problem(130, 8, 5)
    X = X.astype(dtype)
    for name, data in {**layouts(X, tmp_path), "list": X.tolist() if dtype == np.float64 else X.copy()}.items():
        before = np.array(data)
        for passes in (1, 2):
            cost, gradient = sparsae.cost_and_gradient(made, data, backend=backend, block_rows=48, passes=passes)
            assert_within(cost, gradient, made, X, dtype)
        np.testing.assert_array_equal(np.array(data), before, err_msg=name)


def test_integers_and_booleans_are_taken(backend):
    """Data of another dtype is computed in float64."""
    made, X = problem(20, 6, 3)
    for data in ((X > 0.5), (X > 0.5).astype(np.uint8)):
        cost, gradient = sparsae.cost_and_gradient(made, data, backend=backend)
        assert_within(cost, gradient, made, data, np.float64)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sign", [-1, 1])
def test_saturated_units_give_no_warning_and_no_nan(backend, dtype, sign):
    """Pre-activations of +-800 in both layers: finite, silent, within the error model."""
    made, X = problem(50, 6, 4)
    made = Parameters(made.W1, made.b1 + sign * 800, made.W2, made.b2 - sign * 800)
    X = X.astype(dtype)
    with warnings.catch_warnings(), np.errstate(over="raise", invalid="raise", divide="raise"):
        warnings.simplefilter("error")
        for passes in (1, 2):
            cost, gradient = sparsae.cost_and_gradient(made, X, backend=backend, passes=passes)
            assert np.isfinite(cost)
            assert all(np.isfinite(part).all() for part in gradient)
            assert_within(cost, gradient, made, X, dtype)


@pytest.mark.parametrize("edge", [1e-6, 1 - 1e-6])
def test_divergence_goes_on_along_its_tangent(edge):
    """Value and slope are continuous across the joint, and the slope is the derivative on both sides."""
    cost = Cost(rho=0.05, beta=3)
    for offset in (-5e-7, 0, 5e-7, 0.9e-6 if edge > 0.5 else -0.9e-6):
        at = np.array([edge + offset])
        h = 1e-9
        numeric = (cost.penalty(at + h) - cost.penalty(at - h)) / (2 * h)
        np.testing.assert_allclose(cost.sparsity(at)[0], numeric, rtol=2e-3)
    inside, outside = (np.array([edge + d]) for d in (-1e-13, 1e-13))
    np.testing.assert_allclose(cost.penalty(inside), cost.penalty(outside), rtol=1e-6)
    np.testing.assert_allclose(cost.sparsity(inside), cost.sparsity(outside), rtol=1e-6)
    for always in (0.0, 1.0):
        assert np.isfinite(cost.penalty(np.array([always])))


@pytest.mark.parametrize("bias", [-13.9, -13.8155, -13.7, 13.8155])
def test_gradient_check_across_the_joint(backend, bias):
    """With rho_hat on either side of 1e-6 and of 1 - 1e-6, the whole gradient is still the derivative of the cost."""
    made, X = problem(20, 4, 2, scale=0.05)
    theta = Parameters(made.W1 * 0.2, np.full(2, bias), made.W2, made.b2).flatten()
    with Objective(X, 2, rho=0.05, backend=backend) as objective:
        found = objective.evaluate(theta)
        assert ((found.rho_hat < 3e-6) | (found.rho_hat > 1 - 3e-6)).all()
        h = 1e-5
        numeric = np.array(
            [(objective(theta + e)[0] - objective(theta - e)[0]) / (2 * h) for e in h * np.eye(len(theta))]
        )
    np.testing.assert_allclose(found.gradient, numeric, rtol=1e-4, atol=1e-6)


def test_a_kernel_that_only_has_backprop_gets_the_rest_from_the_core():
    """One required method suffices, for either number of passes, and it is handed the real sparsity vector in two."""
    seen = []

    class Minimal(sparsae.SimpleKernel):
        def backprop(self, a1, a2, a3, W2, sparsity, target):
            seen.append(sparsity.copy())
            delta3 = (a3 - target) * a3 * (1 - a3)
            delta2 = (delta3 @ W2 + sparsity) * a2 * (1 - a2)
            return Parameters(delta2.T @ a1, delta2.sum(0), delta3.T @ a2, delta3.sum(0))

    made, X = problem(40, 5, 3)
    for threading in ("workers", "blas", "none"):
        for passes in (1, 2):
            minimal = sparsae.Backend("minimal", Minimal, threading=threading)
            cost, gradient = sparsae.cost_and_gradient(made, X, backend=minimal, passes=passes, block_rows=16)
            assert_within(cost, gradient, made, X, np.float64)
    real = Cost(rho=0.01, beta=3.0).sparsity(sparsae.encode(made, X).mean(axis=0))
    assert any(np.allclose(vector, real) for vector in seen)


def test_the_three_terms_add_up_and_are_what_they_say(digits):
    """Evaluation.terms against the formulas."""
    made = Parameters.random(64, 10, seed=1)
    with Objective(digits, 10, weight_decay=0.01) as objective:
        found = objective.evaluate(made.flatten())
        assert objective.evaluations == 1
    np.testing.assert_allclose(sum(found.terms), found.cost, rtol=1e-15)
    np.testing.assert_allclose(found.terms.weight_decay, 0.005 * ((made.W1**2).sum() + (made.W2**2).sum()), rtol=1e-13)
    a2 = sparsae.encode(made, digits)
    np.testing.assert_allclose(found.rho_hat, a2.mean(axis=0), rtol=1e-13)
    squares = np.square(sparsae.decode(made, a2) - digits).sum()
    np.testing.assert_allclose(found.squared_error_sum, squares, rtol=1e-13)
    np.testing.assert_allclose(found.terms.squared_error, squares / 2 / len(digits), rtol=1e-13)


def test_results_of_one_evaluation_survive_the_next(backend):
    """Cost and gradient are the caller's own: a later evaluation does not change them."""
    made, X = problem(60, 5, 3)
    theta = made.flatten()
    with Objective(X, 3, backend=backend) as objective:
        first = objective(theta)[1]
        kept = first.copy()
        objective(theta * 2)
    np.testing.assert_array_equal(first, kept)


def test_scipy_can_minimise_it(digits):
    """objective(theta) is what scipy.optimize.minimize wants with jac=True."""
    from scipy.optimize import minimize

    with Objective(digits, 8) as objective:
        theta = Parameters.random(64, 8).flatten()
        found = minimize(objective, theta, jac=True, method="L-BFGS-B", options={"maxiter": 30})
        assert found.fun < 0.2 * objective(theta)[0]


@pytest.mark.parametrize(
    ("X", "message"),
    [
        (np.zeros((0, 4)), r"X is empty: its shape is \(0, 4\)"),
        (np.zeros(4), r"X has shape \(4,\); expected a matrix .*X.reshape\(1, -1\)"),
        (np.zeros((2, 2, 2)), r"X has shape \(2, 2, 2\); expected a matrix"),
        (np.array([["a"]]), r"X has dtype <U1; expected real numbers"),
        (np.array([[None]]), r"X has dtype object"),
        (np.array([[1j]]), r"X has dtype complex128"),
        ([[1, 2], [3]], r"X cannot be made an array"),
        (
            np.array([[0.5, np.nan], [np.inf, 0.5]]),
            r"2 values that are not finite; the first is nan in row 0, column 1",
        ),
        (np.array([[0.5, -2.0], [7.0, 0.5]]), r"X has values from -2 to 7.*\[0, 1\].*output=\"linear\""),
    ],
)
def test_unusable_data_is_named(X, message):
    """How many, where, which range, and what to do."""
    with pytest.raises(DataError, match=message):
        Objective(X, 2)


def test_sparse_matrices_are_refused_with_the_way_out():
    """SciPy's sparse matrices would be read as objects."""
    from scipy.sparse import csr_array

    with pytest.raises(DataError, match=r"X is a sparse matrix \(csr_array\).*X.toarray\(\)"):
        Objective(csr_array(np.eye(3)), 2)


def test_the_target_is_checked_too():
    """Its shape, and its range for a sigmoid; the input's range does not matter then."""
    X = np.random.default_rng(0).random((5, 3))
    with pytest.raises(DataError, match=r"target has shape \(5, 2\) and X has \(5, 3\)"):
        Objective(X, 2, target=X[:, :2])
    with pytest.raises(DataError, match=r"target has values from .* to 1\.9"):
        Objective(X, 2, target=np.clip(X + 1, 0, 1.9))
    Objective(X * 5 - 2, 2, target=X)
    Objective(X * 5 - 2, 2, output="linear")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rho": 0}, "rho must lie strictly between 0 and 1"),
        ({"rho": 1.0}, "rho must lie strictly between 0 and 1"),
        ({"rho": "x"}, "rho must be a number; given 'x'"),
        ({"beta": -1}, "beta must be at least 0; given -1"),
        ({"weight_decay": np.nan}, "weight_decay must be finite"),
        ({"output": "relu"}, "output must be one of sigmoid, linear; given 'relu'"),
        ({"passes": 3}, 'passes must be "auto", 1 or 2; given 3'),
        ({"passes": True}, 'passes must be "auto", 1 or 2; given True'),
        ({"block_rows": 0}, "block_rows must be an integer of at least 1, not 0"),
        ({"block_rows": "many"}, "block_rows must be an integer of at least 1, not 'many'"),
        ({"threads": 0}, "threads must be an integer of at least 1, not 0"),
        ({"threads": 1.5}, "threads must be an integer of at least 1, not 1.5"),
        ({"n_hidden": 0}, "n_hidden must be an integer of at least 1, not 0"),
    ],
)
def test_unusable_settings_are_named(options, message):
    """Each says what was given and what is possible."""
    options = {"n_hidden": 2, **options}
    with pytest.raises(ParameterError, match=message):
        Objective(np.full((4, 3), 0.5), **options)


@pytest.mark.parametrize("dtype", ["int8", np.float16, "nonsense"])
def test_only_two_dtypes_are_computed_in(dtype):
    """float32 and float64; anything else is refused by name."""
    with pytest.raises(DataError, match="dtype must be float32 or float64; given"):
        Objective(np.full((4, 3), 0.5), 2, dtype=dtype)


def test_theta_and_parameters_of_another_size_are_named():
    """A wrong theta, and parameters for other data."""
    X = np.full((4, 3), 0.5)
    with pytest.raises(ParameterError, match=r"theta has shape \(3,\); n_visible=3 and n_hidden=2 need a vector of 17"):
        Objective(X, 2)(np.zeros(3))
    with pytest.raises(DataError, match="X has 3 columns and the parameters are for n_visible=5"):
        sparsae.cost_and_gradient(Parameters.random(5, 2), X)


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_objective_is_not_copied(copied):
    """Two would share kernels, or have none; the message says what to do, as for a worker process of joblib."""
    with pytest.raises(UsageError, match=r"cannot be copied or pickled.*Make one from the data"):
        copied(Objective(np.full((4, 3), 0.5), 2))


def test_a_backend_that_declines_is_not_asked():
    """A kernel that hard-codes a3 (1 - a3) never sees a linear output; the reason is given."""
    narrow = sparsae.Backend("narrow", WholeKernel, outputs=("sigmoid",), dtypes=("float64",))
    with pytest.raises(errors.BackendDeclinedError, match="output is 'linear' and backend 'narrow' supports sigmoid"):
        Objective(np.full((4, 3), 0.5), 2, output="linear", backend=narrow)
    with pytest.raises(errors.BackendDeclinedError, match="dtype is 'float32' and backend 'narrow' supports float64"):
        Objective(np.full((4, 3), 0.5), 2, dtype="float32", backend=narrow)


def test_the_receipt_says_what_ran(digits):
    """Backend, sizes, cut, passes, digest, pools as read back under the limit; and it survives JSON."""
    import json

    with Objective(digits, 10, backend="dot", threads=1, block_rows=500) as objective:
        receipt = objective.receipt
    assert (receipt.backend, receipt.distribution, receipt.threading) == ("dot", "sparsae", "workers")
    assert (receipt.n_samples, receipt.n_visible, receipt.n_hidden) == (1797, 64, 10)
    assert (receipt.block_rows, receipt.n_blocks, receipt.n_segments) == (500, 4, 4)
    assert (receipt.passes, receipt.storage, receipt.dtype) == (2, "kept", "float64")
    assert receipt.pools
    assert all(pool["num_threads"] == 1 for pool in receipt.pools)
    assert receipt.versions["numpy"] == np.__version__
    again = sparsae.Receipt.from_dict(json.loads(json.dumps(receipt.to_dict())))
    assert again == receipt
    same = Objective(np.asfortranarray(digits), 10).receipt.data_digest
    assert same == receipt.data_digest
    assert Objective(digits[::-1], 10).receipt.data_digest != receipt.data_digest
