"""Relu and JumpReLU units of `numba`, and its products of wide layers, against NumPy's backend."""

import numpy as np
import pytest

pytest.importorskip("numba")

from tests.backends.test_not_finite_units import check as check_not_finite

from sparsae import Objective, Parameters, Problem, Sums
from sparsae_backends.numba.base import WIDE, block_rows, is_wide
from sparsae_backends.numba.kernel import NumbaKernel

DTYPES = [np.dtype(np.float64), np.dtype(np.float32)]
UNITS = {
    "sigmoid": {"activation": "sigmoid"},
    "relu": {"activation": "relu", "l1": 0.1},
    "jumprelu": {"activation": "jumprelu", "l0": 0.1, "bandwidth": 0.5},
    "batchtopk": {"activation": "batchtopk", "k": 3},
}
SIZES = [(70, 6, 9), (131, 23, 50), (150, 96, 103)]  # rows, inputs, hidden units; the last is wide


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def dtype(request):
    """Each dtype."""
    return request.param


def case(unit, size, dtype):
    """Data and parameters."""
    m, n, p = size
    rng = np.random.default_rng(0)
    X = rng.random((m, n)).astype(dtype)
    parts = [rng.standard_normal(shape) / shape[-1] ** 0.5 for shape in ((p, n), (p,), (n, p), (n,))]
    return X, Parameters(*parts, np.full(p, 0.2) if unit == "jumprelu" else None)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
@pytest.mark.parametrize("passes", [1, 2])
def test_sums_are_those_of_numpy(dtype, unit, size, output, passes):
    """Cost, gradient, densities, with a separate target, in blocks of uneven length."""
    X, parameters = case(unit, size, dtype)
    options = UNITS[unit] | {"output": output, "weight_decay": 0.0, "target": X[::-1].copy(), "pre_bias": False}
    if unit == "batchtopk":
        options["unit_norm"] = False
    found = []
    for backend in ("numpy", "numba"):
        with Objective(X, size[2], backend=backend, passes=passes, block_rows=60, **options) as objective:
            found.append(objective.evaluate(parameters.flatten()))
    tolerance = 200 * np.finfo(dtype).eps
    np.testing.assert_allclose(found[1].cost, found[0].cost, rtol=tolerance)
    largest = np.abs(found[0].gradient).max()
    np.testing.assert_allclose(found[1].gradient, found[0].gradient, rtol=0, atol=tolerance * largest)
    np.testing.assert_array_equal(found[1].density, found[0].density)
    np.testing.assert_allclose(found[1].rho_hat, found[0].rho_hat, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("unit", ["sigmoid", "relu", "jumprelu"])
@pytest.mark.parametrize("size", [(5, 1), (23, 50), (96, 103)], ids=str)
def test_sums_of_the_problems_dtype_are_written(dtype, unit, size):
    """Where no rows are in them yet, W1 and W2 may hold anything; after that they are added to."""
    n, p = size
    problem = Problem(
        n_visible=n, n_hidden=p, dtype=dtype, activation=unit, output="linear", block_rows=100,
        bandwidth=0.5 if unit == "jumprelu" else None,
    )  # fmt: skip
    made, rng = NumbaKernel(problem), np.random.default_rng(1)
    parameters = Parameters.random(n, p, seed=3)._replace(threshold=np.full(p, 0.1)).astype(dtype)
    weights, s = made.begin(parameters), np.full(p, 0.25, dtype)
    direct, sums = Sums(n, p, np.zeros(Sums(n, p).layout.size, dtype)), Sums(n, p)
    direct.W1[...] = direct.W2[...] = np.nan
    for m in (100, 31):
        x = rng.standard_normal((m, n)).astype(dtype)
        for into in (direct, sums):
            made.accumulate(weights, made.prepare(x, x, False), None, s, into)
    scale = np.abs(sums.head).max()
    np.testing.assert_allclose(direct.head, sums.head, rtol=0, atol=200 * np.finfo(dtype).eps * scale)


def test_what_is_not_finite_reaches_the_cost(dtype):
    """NaN of either sign and infinity, in any unit: they are not cut to 0."""
    check_not_finite("numba", ["relu", "jumprelu", "batchtopk"], dtype.name)


@pytest.mark.parametrize("activation", ["sigmoid", "relu"])
def test_backprop_has_the_slope_of_the_unit(dtype, activation):
    """delta2 = (delta3 W2 + s) times a2 (1 - a2), or 1 where a2 is not 0."""
    m, n, p = 70, 8, 5
    rng = np.random.default_rng(2)
    problem = Problem(n_visible=n, n_hidden=p, dtype=dtype, activation=activation, output="linear", block_rows=m)
    a1, a3, target = (rng.random((m, n)).astype(dtype) for _ in range(3))
    a2 = (rng.random((m, p)) * (rng.random((m, p)) < 0.5)).astype(dtype)
    W2, s = rng.random((n, p)).astype(dtype), rng.random(p).astype(dtype)
    found = NumbaKernel(problem).backprop(a1, a2, a3, W2, s, target)
    delta2 = ((a3 - target) @ W2 + s) * problem.slope(a2)
    np.testing.assert_allclose(found.W1, delta2.T @ a1, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.b1, delta2.sum(axis=0), rtol=1e-4, atol=1e-4)


def test_wide_layers_have_longer_blocks():
    """Whole panels in both cases; narrow layers keep blocks that stay in cache."""
    sizes = [(n, p) for n in (64, 784) for p in (25, 196)]
    problems = [Problem(n_visible=n, n_hidden=p, dtype=np.dtype(np.float32)) for n, p in sizes]
    assert [is_wide(problem) for problem in problems] == [False, False, False, True]
    assert min(784, 196) >= WIDE > 64
    assert all(block_rows(problem) % 48 == 0 for problem in problems)
    assert block_rows(problems[3]) > block_rows(problems[2])


@pytest.mark.parametrize("dtypes", [(np.float64, np.float32), (np.float32, np.float64)])
def test_a_large_model_makes_its_gradient_pass_ready_for_the_sums_that_come(dtypes):
    """Of either dtype, before the first block that adds to them and not again; numpy.dtype takes None for float64."""
    n, p, m = 400, 130, 3
    kernel = NumbaKernel(Problem(n_visible=n, n_hidden=p, dtype=np.dtype(np.float32), activation="relu"))
    asked = []
    make_ready = kernel.compile_for
    kernel.compile_for = lambda functions, dtype, *sums: asked.append(sums) or make_ready(functions, dtype, *sums)
    rows = np.full((m, n), 0.5, np.float32)
    weights, block = kernel.begin(Parameters.random(n, p).astype(np.float32)), kernel.prepare(rows, rows, True)
    for dtype in dtypes:
        for _ in range(2):
            into = Sums(n, p, np.zeros(Sums(n, p).vector.size, dtype))
            kernel.accumulate(weights, block, None, np.zeros(p, np.float32), into)
            assert into.rows == m
    assert asked == [(np.dtype(dtype),) for dtype in dtypes]
