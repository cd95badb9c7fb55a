"""Keywords of what is trained: defaults by activation, what is derived from the data, starting parameters."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sparsae
from sparsae import DataError, Objective
from sparsae.model.settings import DEFAULTS, default_method, defaults_table

RNG = np.random.default_rng(0)
X = RNG.normal(size=(500, 12)) * 0.3 + 2
R = float(np.sqrt(X.var(axis=0).mean()))  # root mean square about the mean


def test_defaults_follow_the_activation():
    """Those of the sigmoid are the lecture's; the others have a linear output, a pre-bias, tied starting weights."""
    sigmoid = Objective(X / 4, 5).settings
    assert sigmoid.to_dict() == {
        "activation": "sigmoid", "rho": 0.01, "beta": 3.0, "weight_decay": 1e-4,
        "output": "sigmoid", "init": "uniform", "pre_bias": False,
    }  # fmt: skip
    for activation in ("relu", "topk", "batchtopk", "jumprelu"):
        k = 2 if "topk" in activation else None
        settings = Objective(X, 5, activation=activation, k=k, backend="numpy").settings
        assert (settings.output, settings.init, settings.pre_bias) == ("linear", "transpose", True)
        assert settings.unit_norm == (k is not None)
        assert default_method({"activation": activation}) == "adam"
        assert {*settings.to_dict()} - {"activation"} <= {*DEFAULTS[activation]}
    assert default_method({}) == "lbfgs"
    top = Objective(X, 50, activation="topk", k=3, backend="numpy").settings
    assert (top.k, top.aux, top.k_aux, top.dead_after) == (3, 1 / 32, 8, None)  # 8: nearest to 12 / 2


def test_penalties_and_bandwidth_follow_the_scale_of_the_data_and_the_receipt_says_so():
    """About the mean with a pre-bias; data ten times as large gets ten times the bandwidth."""
    for factor in (1, 10):
        objective = Objective(X * factor, 5, activation="jumprelu", backend="numpy")
        np.testing.assert_allclose(objective.settings.bandwidth, 0.05 * R * factor)
        np.testing.assert_allclose(objective.settings.l0, 0.002 * 12 * (R * factor) ** 2)
    assert any("bandwidth is 0.01" in note and "0.05 r" in note for note in Objective(
        X, 5, activation="jumprelu", backend="numpy").receipt.notes)  # fmt: skip
    plain = Objective(X, 5, activation="relu", pre_bias=False, backend="numpy")
    np.testing.assert_allclose(plain.settings.l1, 0.04 * np.sqrt(12 * np.square(X).mean()))
    assert Objective(X, 5, activation="relu", l1=0.5, backend="numpy").settings.l1 == 0.5


def test_starting_parameters_follow_the_settings():
    """Columns of unit length, W1 = W2', b2 at the mean, thresholds at a hundredth of the scale; a seed decides."""
    objective = Objective(X, 5, activation="jumprelu", backend="numpy")
    made = objective.random_parameters(3)
    np.testing.assert_allclose(np.linalg.norm(made.W2, axis=0), 1)
    np.testing.assert_array_equal(made.W1, made.W2.T)
    np.testing.assert_allclose(made.b2, X.mean(axis=0))
    np.testing.assert_allclose(made.threshold, 0.01 * R)
    assert made.flatten().size == objective.size
    np.testing.assert_array_equal(made.flatten(), objective.random_parameters(3).flatten())
    assert not np.array_equal(made.W1, objective.random_parameters(4).W1)
    uniform = Objective(X, 5, activation="topk", k=2, init="uniform", backend="numpy").random_parameters()
    np.testing.assert_allclose(np.linalg.norm(uniform.W2, axis=0), 1)
    assert np.abs(uniform.W1 - uniform.W2.T).max() > 0.1
    np.testing.assert_array_equal(
        Objective(X / 4, 5).random_parameters(1).flatten(), sparsae.Parameters.random(12, 5, seed=1).flatten()
    )


def test_a_scale_that_cannot_be_used_is_named():
    """Constant rows, values that are not finite, squares that overflow."""
    same = (
        r"default of l1 follows the scale of the data, which is 0 \(all rows are the same, or there is but one sample"
    )
    for rows in (np.ones((9, 3)), X[:1]):
        with pytest.raises(DataError, match=same):
            Objective(rows, 2, activation="relu", backend="numpy")
    with pytest.raises(DataError, match=r"which is 0 \(all values are 0\): give l0 a value"):
        Objective(np.zeros((9, 3)), 2, activation="jumprelu", pre_bias=False, backend="numpy")
    assert Objective(np.ones((9, 3)), 2, activation="relu", l1=1, backend="numpy").settings.l1 == 1
    with pytest.raises(DataError, match=r"X .*not finite"):
        Objective(np.array([[1, np.nan], [2, 3]]), 2, activation="relu", backend="numpy")
    with pytest.raises(DataError, match="The squares of X overflow: scale the data"):
        Objective(np.array([[1e200, 1], [2, 3]]), 2, activation="relu", backend="numpy")


def test_the_documentation_shows_the_table_of_defaults():
    """As it is in the code; ``sparsae.model.settings.defaults_table()`` writes it."""
    page = (Path(__file__).parents[1] / "docs" / "units.md").read_text(encoding="utf-8")
    assert (
        page.partition("<!-- defaults:begin -->")[2].partition("<!-- defaults:end -->")[0].strip() == defaults_table()
    )
