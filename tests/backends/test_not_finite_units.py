"""What hidden units do with pre-activations that are not finite: NaN is never lost, in no backend."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae.model.units import jumprelu, relu, sigmoid, topk

X = np.random.default_rng(0).normal(size=(40, 12))
P = 150
UNITS: dict[str, dict[str, Any]] = {
    "sigmoid": {"activation": "sigmoid"},
    "relu": {"activation": "relu", "l1": 0.1},
    "topk": {"activation": "topk", "k": 3},
    "topk, most": {"activation": "topk", "k": P - 1},
    "topk, all": {"activation": "topk", "k": P},
    "batchtopk": {"activation": "batchtopk", "k": 3},
    "jumprelu": {"activation": "jumprelu", "l0": 0.1, "bandwidth": 0.05},
}


def units_of(backend: str) -> list[str]:
    """Units that it declares; numba's relu and jumprelu, which take long to compile, are in test_numba_units.py."""
    declared = {"sigmoid", "topk"} if backend == "numba" else {*sparsae.get_backend(backend).activations}
    declared |= {"batchtopk"} & {"batchtopk" if "jumprelu" in declared else ""}
    found = [name for name, settings in UNITS.items() if settings["activation"] in declared]
    assert len(found) >= 4
    return found


def check(backend: str, names: list[str], dtype: str) -> None:
    """A bias that is NaN, of either sign, or infinite makes the cost so, whichever unit has it."""
    for name in names:
        objective = sparsae.Objective(X, P, backend=backend, dtype=dtype, output="linear", **UNITS[name])
        start = objective.random_parameters(0)
        for value in (np.nan, -np.nan, np.inf):
            for unit in (0, 77, P - 1):
                b1 = start.b1.copy()
                b1[unit] = value
                with np.errstate(all="ignore"):
                    found = objective.evaluate(start._replace(b1=b1).flatten())
                saturated = name == "sigmoid" and value == np.inf
                assert np.isfinite(found.cost) == saturated, (name, value, unit)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_reaches_the_cost(backend: str, dtype: str) -> None:
    """So that a fit ends as "not finite" instead of going on with a unit that is silently off."""
    check(backend, units_of(backend), dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("nan", [np.nan, -np.nan])
def test_top_k_keeps_nan(dtype: Any, nan: float) -> None:
    """With the others among the k largest; more than k of them; with ties; in one row of many."""
    z = np.array([[1, nan, 3, 2], [nan, nan, nan, 1], [2, 2, 2, nan], [1, 2, 3, 4], [-1, nan, -2, -3]], dtype)
    before = z.copy()
    found = topk(z, 2)
    assert found.dtype == dtype
    expected = np.array([[0, np.nan, 3, 0], [0, 0, 0, 0], [2, 0, 0, np.nan], [0, 0, 3, 4], [0, np.nan, 0, 0]])
    rows = [0, 2, 3, 4]
    np.testing.assert_array_equal(found[rows], expected[rows])
    assert np.isnan(found[1, :3]).all()
    np.testing.assert_array_equal(z, before)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_unit_at_the_edges(dtype: Any) -> None:
    """NaN stays NaN; infinity saturates a sigmoid and passes through the others; -inf and -0.0 are off."""
    z = np.array([[np.nan, np.inf, -np.inf, -0.0, 0.0]], dtype)
    zero = np.zeros(5, dtype)
    with np.errstate(all="raise"):
        rectified = {"relu": relu(z), "jumprelu": jumprelu(z, zero), "all": topk(z, 5), "some": topk(z, 2)}
        logistic = sigmoid(z)
    for name, found in rectified.items():
        np.testing.assert_array_equal(found, [[np.nan, np.inf, 0, 0, 0]], err_msg=name)
        assert np.count_nonzero(found) == 2, name  # NaN and infinity
    np.testing.assert_allclose(logistic, [[np.nan, 1, 0, 0.5, 0.5]], atol=1e-30)
    assert (logistic[0, 1:] > 0).all()


def test_a_threshold_of_minus_zero_is_zero() -> None:
    """A pre-activation of 0 is not above it."""
    assert not jumprelu(np.array([[0.0, -0.0]]), np.array([-0.0, 0.0])).any()
