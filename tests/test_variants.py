"""Relu, top-k and JumpReLU units, pre-bias and weighted L1: the core's algebra on a backend's sums."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest

import sparsae
from sparsae import Objective, ParameterError, Parameters
from sparsae.engine.batch_threshold import Largest
from sparsae.errors import BackendDeclinedError
from sparsae.model.units import topk

N, P, M = 6, 9, 70
RNG = np.random.default_rng(4)
X = RNG.normal(size=(M, N)) + 0.7
START = Parameters(RNG.normal(size=(P, N)), RNG.normal(size=P) / 4, RNG.normal(size=(N, P)), RNG.normal(size=N), None)
VARIANTS = {
    "relu": {"activation": "relu"},
    "relu, weighted L1": {"activation": "relu", "l1": 0.3},
    "relu, plain L1": {"activation": "relu", "l1": 0.3, "l1_weighted": False},
    "relu, pre-bias": {"activation": "relu", "l1": 0.3, "pre_bias": True},
    "topk": {"activation": "topk", "k": 3},
    "topk, pre-bias": {"activation": "topk", "k": 3, "pre_bias": True},
    "jumprelu": {"activation": "jumprelu", "l0": 0.2, "bandwidth": 1e-9},
    "sigmoid, pre-bias": {"pre_bias": True, "rho": 0.2},
}


def start_of(options: dict) -> Parameters:
    """Parameters for a variant: with thresholds for JumpReLU."""
    return START._replace(threshold=np.full(P, 0.4)) if options.get("activation") == "jumprelu" else START


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
@pytest.mark.parametrize("passes", [1, 2])
def test_gradient_is_that_of_central_differences(name, output, passes):
    """Away from kinks, to 1e-7; a threshold's estimated gradient is another matter."""
    options = VARIANTS[name] | {"output": output, "passes": passes, "block_rows": 16, "backend": "numpy"}
    x = np.clip(X / 4, 0, 1)
    with Objective(x, P, target=x[::-1], weight_decay=0.01, **options) as objective:
        theta = start_of(options).flatten()
        gradient = objective(theta)[1]
        h = 1e-6
        for part in np.split(np.arange(2 * N * P + P + N), [N * P, 2 * N * P, 2 * N * P + P]):  # W1, W2, b1, b2
            for seed in range(3):
                step = np.zeros(theta.size)
                step[part] = np.random.default_rng(seed).choice([-h, h], part.size)
                numeric = (objective(theta + step)[0] - objective(theta - step)[0]) / 2
                scale = h * abs(gradient[part]).sum()
                assert abs(gradient @ step - numeric) < 1e-7 * scale, (part[0], gradient @ step, numeric)


def test_gradient_of_thresholds_is_the_straight_through_estimate():
    """-(1/eps m) sum over rows near the threshold of theta delta3 W2 + l0 (Rajamanoharan et al. 2024)."""
    theta, l0, eps = RNG.uniform(0.1, 0.6, P), 0.2, 0.5
    made = START._replace(threshold=theta)
    _, gradient = sparsae.cost_and_gradient(
        made, X, activation="jumprelu", l0=l0, bandwidth=eps, pre_bias=False, backend="numpy"
    )
    z = X @ made.W1.T + made.b1
    a2 = np.where(z > theta, z, 0)
    delta3 = a2 @ made.W2.T + made.b2 - X
    near = abs(z - theta) < eps / 2
    assert near.sum() > 20
    np.testing.assert_allclose(
        gradient.threshold, -(near * (theta * (delta3 @ made.W2) + l0)).sum(axis=0) / (eps * M), rtol=1e-12
    )


def test_density_is_the_share_of_rows_in_which_a_unit_is_active():
    """In the evaluation; a sigmoid unit is active in every row."""
    found = Objective(X, P, activation="topk", k=3, pre_bias=False, backend="numpy").evaluate(START.flatten())
    active = topk(X @ START.W1.T + START.b1, 3) > 0
    np.testing.assert_array_equal(found.density, active.mean(axis=0))
    assert 0 < found.density.sum() <= 3
    found = Objective(X, P, output="linear", backend="numpy").evaluate(START.flatten())
    np.testing.assert_array_equal(found.density, np.ones(P))


def test_topk_keeps_the_lower_index_of_ties_and_nothing_that_is_not_positive():
    """K = 1, k = p, fewer than k positive values, all zero, all equal."""
    z = np.array([[1.0, 3, 3, 2, 3], [-1, -2, 5, -3, 0], [0, 0, 0, 0, 0], [2, 2, 2, 2, 2], [4, 1, 1, 1, 0]])
    kept = topk(z, 2)
    np.testing.assert_array_equal(
        kept, [[0, 3, 3, 0, 0], [0, 0, 5, 0, 0], [0, 0, 0, 0, 0], [2, 2, 0, 0, 0], [4, 1, 0, 0, 0]]
    )
    np.testing.assert_array_equal(topk(z, 1)[0], [0, 3, 0, 0, 0])
    np.testing.assert_array_equal(topk(z, 5), np.maximum(z, 0))
    order = np.argsort(-z, axis=1, kind="stable")
    for k in range(1, 6):
        expected = np.zeros_like(z)
        for row, chosen in enumerate(order[:, :k]):
            expected[row, chosen] = np.maximum(z[row, chosen], 0)
        np.testing.assert_array_equal(topk(z, k), expected)
        assert topk(z.astype(np.float32), k).dtype == np.float32


def test_parameters_have_four_items_or_five():
    """Thresholds are a fifth item, through flattening, casting, copying and pickling."""
    assert len(START) == 4
    assert START.threshold is None
    five = START._replace(threshold=np.arange(P) / 8)
    assert len(five) == 5
    theta = five.flatten()
    assert theta.size == START.flatten().size + P
    np.testing.assert_array_equal(theta[-P:], five.threshold)
    for again in (Parameters.from_flat(theta, N, P), five.astype(np.float64), pickle.loads(pickle.dumps(five))):
        assert again.names == Parameters._fields
        for a, b in zip(five, again, strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(five._replace(threshold=None)) == 4
    assert list(START._asdict()) == ["W1", "b1", "W2", "b2"]
    assert "threshold (9,)" in repr(five)


def test_a_backend_that_does_not_know_a_unit_declines():
    """With the reason."""
    plain = replace(sparsae.get_backend("numpy"), activations=("sigmoid",))
    with pytest.raises(BackendDeclinedError, match=r"activation is 'relu' and backend 'numpy' supports sigmoid"):
        Objective(X, P, activation="relu", output="linear", backend=plain)
    with pytest.raises(BackendDeclinedError, match=r"supports sigmoid \(batchtopk is jumprelu with one threshold\)"):
        Objective(X, P, activation="batchtopk", k=2, backend=plain)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "rely"}, "activation must be one of sigmoid, relu, .* given 'rely'"),
        ({"activation": "topk"}, "activation='topk' needs k, the number of activations kept in a row"),
        ({"activation": "topk", "k": 0}, "k must be an integer of at least 1, not 0"),
        ({"activation": "topk", "k": P + 1}, rf"k={P + 1} exceeds n_hidden={P}"),
        ({"k": 2}, "k does not belong to activation='sigmoid'; its keywords are activation, beta, init, output"),
        ({"activation": "relu", "l1": -1}, "l1 must be at least 0; given -1"),
        ({"activation": "topk", "k": 2.0}, "k must be an integer of at least 1, not 2.0"),
        ({"activation": "topk", "k": 2, "k_aux": P + 1}, rf"k_aux={P + 1} exceeds n_hidden={P}"),
        ({"activation": "topk", "k": 2, "aux": -1}, "aux must be at least 0; given -1"),
        ({"activation": "topk", "k": 2, "dead_after": 0}, "dead_after must be an integer of at least 1, not 0"),
        (
            {"activation": "topk", "k": 2, "rho": 0.1, "l1": 1},
            "rho, l1 do not belong to activation='topk'; its",
        ),
        ({"activation": "relu", "l1_weighted": 1}, "l1_weighted must be True or False; given 1"),
        ({"activation": "relu", "init": "zeros"}, "init must be one of uniform, transpose; given 'zeros'"),
        ({"activation": "relu", "k": 3}, "k does not belong to activation='relu'"),
        ({"activation": "jumprelu", "bandwidth": 0}, "bandwidth must be above 0; given 0"),
        ({"activation": ["relu"]}, "activation must be one of"),
        ({"unit_norm": True}, "unit_norm does not belong to activation='sigmoid'"),
    ],
)
def test_settings_that_cannot_be_used_are_named(options, message):
    """Before anything is computed."""
    with pytest.raises(ParameterError, match=message):
        Objective(X, P, **{"output": "linear"} | options)


def test_parameters_without_a_threshold_do_not_fit_jumprelu():
    """Nor do those with one fit another unit."""
    options = {"output": "linear", "backend": "numpy"}
    with pytest.raises(ParameterError, match="activation='jumprelu' needs parameters with threshold"):
        sparsae.cost_and_gradient(START, X, activation="jumprelu", bandwidth=0.1, **options)
    with pytest.raises(ParameterError, match="activation='relu' needs parameters without threshold"):
        sparsae.cost_and_gradient(START._replace(threshold=np.zeros(P)), X, activation="relu", **options)


def test_batchtopk_keeps_the_largest_of_all_rows():
    """At most k a row on average, whatever the row; the cost is that of jumprelu with one threshold."""
    z = (X - START.b2) @ START.W1.T + START.b1
    kept = np.sort(z.ravel())[::-1][: 2 * M]
    a2 = np.where(z >= kept[-1], z, 0)
    assert len({*np.count_nonzero(a2, axis=1)}) > 3
    for options in ({}, {"block_rows": 16}, {"passes": 2}, {"threads": 2}):
        objective = Objective(X, P, activation="batchtopk", k=2, backend="numpy", **options)
        found = objective.evaluate(START.flatten())
        np.testing.assert_allclose(found.terms.squared_error, np.square(a2 @ START.W2.T + START.b2 - X).sum() / (2 * M))
        np.testing.assert_array_equal(found.density, (a2 > 0).mean(axis=0))
        rows = np.arange(0, M, 3)
        found = objective.engine.batch_threshold(objective.cost.kernel_parameters(START), 2, rows)
        kept = np.sort(z[rows].ravel())[::-1][: 2 * len(rows) + 1]
        np.testing.assert_allclose(found, (kept[-2:].mean(), kept[-2]), rtol=1e-12)


@pytest.mark.parametrize(
    ("values", "count", "expected"),
    [
        ([3, 1, 2, -5], 2, (1.5, 2)),
        ([3, 1, 2, -5], 4, (0, 1)),
        ([3, 1, 2, -5], 3, (0, 1)),
        ([-1, -2], 1, (0, 0)),
        ([2, 2, 2, 1], 2, (np.nextafter(2, 0), 2)),
        ([2, 2, 2, 2], 2, (np.nextafter(2, 0), 2)),
        ([1, np.nextafter(1, 2)], 1, (1, np.nextafter(1, 2))),
    ],
)
def test_the_threshold_of_a_batch(values, count, expected):
    """Halfway to what is not kept; where that is equal to what is kept, all that are equal are kept."""
    whole, parts = Largest(count, np.dtype(float)), Largest(count, np.dtype(float))
    whole.add(np.array(values, float))
    for value in values:
        part = Largest(count, np.dtype(float))
        part.add(np.array([[value]], float))
        parts.merge(part)
    assert whole.threshold() == parts.threshold() == expected
