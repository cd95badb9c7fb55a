"""Sigmoids, slopes and errors of `numba` in whole registers, against the formulas in float64."""

import numpy as np
import pytest

pytest.importorskip("numba")
import numba

import sparsae
from sparsae_backends.numba import activations, emit, helpers

at = emit.at
DTYPES = [np.dtype(np.float64), np.dtype(np.float32)]
COLUMNS = 5


@numba.njit
def sigmoids(z, columns):
    """Sigmoids of one panel, from an array."""
    activations.sigmoids(at(z, 0), columns)


@numba.njit
def call(name, panel, other, columns, totals, out):
    """The function of that name on one panel, from arrays; then sums of columns: one to compile."""
    squares = panel.dtype.type(0)
    if name == "sigmoid_errors":
        squares = activations.sigmoid_errors(at(panel, 0), at(other, 0), columns, at(totals, 0))
    elif name == "linear_errors":
        squares = activations.linear_errors(at(panel, 0), at(other, 0), columns, at(totals, 0))
    elif name == "sigmoid_slopes":
        activations.sigmoid_slopes(at(panel, 0), at(other, 0), columns, at(totals, 0))
    else:
        activations.active_slopes(at(panel, 0), at(other, 0), columns, at(totals, 0))
    activations.add_totals(at(totals, 0), columns, at(out, 0))
    return squares


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def dtype(request):
    """Each dtype."""
    return request.param


@pytest.mark.parametrize("span", [0.5, 3.0, 60.0])
def test_sigmoids_are_accurate_relative_to_themselves(dtype, span):
    """To three units in the last place in the whole range, and where 2^z is 1."""
    width = emit.width(dtype)
    z = np.linspace(-span, span, 50 * width).astype(dtype)
    for panel in z.reshape(50, width):
        found = panel.copy()
        sigmoids(found, 1)
        expected = 1 / (1 + np.exp2(panel.astype(np.longdouble)))
        np.testing.assert_allclose(found.astype(np.longdouble) / expected, 1, rtol=0, atol=3 * np.finfo(dtype).eps)


def test_sigmoids_at_the_ends_are_finite_and_nan_stays(dtype):
    """The exponent is held where results are normal numbers; infinity and any NaN too."""
    width, most = emit.width(dtype), np.finfo(dtype).maxexp - 2
    loud = np.array([-1], np.int64 if dtype == np.float64 else np.int32).view(dtype)  # NaN, every bit set
    z = np.resize(np.concatenate([[np.inf, -np.inf, helpers.NOTHING, most + 0.7, -most - 0.7], loud]), width)
    found = z.astype(dtype)
    sigmoids(found, 1)
    expected = np.resize([2.0**-most, 1, 2.0**-most, 2.0**-most, 1, np.nan], width)
    np.testing.assert_array_equal(found, expected.astype(dtype))


def test_errors_slopes_and_their_sums(dtype):
    """delta3, delta2, the squared error and the sums of columns, which are added to what is there."""
    rng, width, eps = np.random.default_rng(0), emit.width(dtype), np.finfo(dtype).eps
    z, target, a2 = (rng.normal(size=COLUMNS * width).astype(dtype) for _ in range(3))
    a2[::3] = 0
    a3 = 1 / (1 + np.exp2(z.astype(np.float64)))
    wide, slopes = (np.asarray(one, np.float64) for one in (target, a2))
    for name, error, expected in (
        ("sigmoid_errors", a3 - wide, (a3 - wide) * a3 * (1 - a3)),
        ("linear_errors", z - wide, z - wide),
        ("sigmoid_slopes", None, z * slopes * (1 - slopes)),
        ("active_slopes", None, np.where(slopes != 0, z, 0)),
    ):
        found, totals, out = z.copy(), np.ones(COLUMNS * emit.lanes(dtype), dtype), np.ones(COLUMNS)
        squares = call(name, found, target if error is not None else a2, COLUMNS, totals, out)
        np.testing.assert_allclose(found, expected, rtol=0, atol=20 * eps)
        columns = 1 + emit.lanes(dtype) + expected.reshape(COLUMNS, width).sum(axis=1)
        np.testing.assert_allclose(out, columns, rtol=0, atol=20 * width * eps)
        np.testing.assert_allclose(squares, 0 if error is None else (error**2).sum(), rtol=COLUMNS * width * eps)


def test_lanes_without_a_row_have_no_error(dtype):
    """`NOTHING` and a target of 0 give exactly 0: such lanes are summed with the others."""
    size = COLUMNS * emit.width(dtype)
    d, totals = np.full(size, helpers.NOTHING, dtype), np.zeros(COLUMNS * emit.lanes(dtype), dtype)
    assert call("sigmoid_errors", d, np.zeros(size, dtype), COLUMNS, totals, np.ones(COLUMNS)) == 0
    assert not d.any()
    assert not totals.any()


def test_slopes_of_relu_units_keep_nan(dtype):
    """An activation that is NaN is not taken for 0."""
    width = emit.width(dtype)
    delta2, totals = np.ones(width, dtype), np.zeros(emit.lanes(dtype), dtype)
    call("active_slopes", delta2, np.resize(np.array([np.nan, 0, -2], dtype), width), 1, totals, np.ones(1))
    np.testing.assert_array_equal(delta2, np.resize([1, 0, 1], width))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("passes", [1, 2])
def test_a_block_of_many_panels_is_all_of_its_rows(dtype, passes):
    """Products of gradients take 36 panels at a time; the first block of a fit is written, and not added."""
    X = np.random.default_rng(0).uniform(0.1, 0.9, (2000, 3)).astype(dtype)
    theta = sparsae.Parameters.random(3, 2).flatten()
    options = {"block_rows": 2000, "passes": passes, "threads": 1}
    gradients = [
        sparsae.Objective(X, 2, backend=backend, **options).evaluate(theta).gradient for backend in ("numpy", "numba")
    ]
    np.testing.assert_allclose(*gradients, rtol=0, atol=1e-4 if dtype == np.float32 else 1e-12)
