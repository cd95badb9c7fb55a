"""The reference of relu, topk, batchtopk and jumprelu units: derivatives, backends beside it, what is undecided."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from tests.support.mutants import Single

import sparsae
from sparsae import Backend, Objective, Parameters
from sparsae.cost import Cost
from sparsae.engine.guard import check_kernel
from sparsae.errors import BackendWrongError
from sparsae.plugins.contract import Problem
from sparsae.reference import evaluate_reference, undecided_rows

N, P, M = 5, 8, 90
RNG = np.random.default_rng(7)
X = RNG.normal(size=(M, N)) + 0.5
Y = RNG.normal(size=(M, N))
START = Parameters(RNG.normal(size=(P, N)), RNG.normal(size=P) / 3, RNG.normal(size=(N, P)), RNG.normal(size=N))
THETA = RNG.uniform(0.05, 0.5, P)
VARIANTS = {
    "relu": {"activation": "relu", "l1": 0.3},
    "relu, plain": {"activation": "relu", "l1": 0.3, "l1_weighted": False, "pre_bias": False},
    "topk": {"activation": "topk", "k": 3},
    "topk, sigmoid output": {"activation": "topk", "k": 1, "output": "sigmoid", "pre_bias": False},
    "batchtopk": {"activation": "batchtopk", "k": 2},
    "jumprelu": {"activation": "jumprelu", "l0": 0.2, "bandwidth": 0.3},
    "sigmoid": {"rho": 0.2, "pre_bias": True, "output": "linear"},
}


def variant(name):
    """Parameters, keywords of the reference with nothing left to defaults, and keywords of an objective."""
    given = {"pre_bias": True, "output": "linear", "weight_decay": 0.01} | VARIANTS[name]
    parameters = START._replace(threshold=THETA) if given.get("activation") == "jumprelu" else START
    return parameters, given


@pytest.mark.parametrize("name", VARIANTS)
def test_the_gradient_of_the_reference_is_that_of_central_differences(name):
    """Of its own cost, to 1e-7, thresholds aside."""
    parameters, given = variant(name)
    theta, target = parameters.flatten(), np.clip(Y, 0, 1)
    gradient = evaluate_reference(parameters, X, target=target, **given).gradient.flatten()

    def cost(at):
        return evaluate_reference(Parameters.from_flat(at, N, P), X, target=target, **given).cost

    h = 1e-6
    for part in np.split(np.arange(2 * N * P + P + N), [N * P, 2 * N * P, 2 * N * P + P]):  # W1, W2, b1, b2
        step = np.zeros(theta.size)
        step[part] = RNG.choice([-h, h], part.size)
        numeric = (cost(theta + step) - cost(theta - step)) / 2
        assert abs(gradient @ step - numeric) < 1e-7 * h * abs(gradient[part]).sum()


def test_the_gradient_of_thresholds_is_that_of_the_smoothed_cost():
    """Central differences, with every step [z > theta] replaced by a ramp as wide as the bandwidth.

    The activation is theta times the ramp there, and the loss is linear in it about its present value.
    """
    parameters, given = variant("jumprelu")
    eps, l0 = given["bandwidth"], given["l0"]
    z = (X - parameters.b2) @ parameters.W1.T + parameters.b1
    a2 = np.where(z > THETA, z, 0)
    slopes = (a2 @ parameters.W2.T + parameters.b2 - X) @ parameters.W2  # of the loss, by the activations

    def smoothed(theta):
        ramp = np.clip((z - theta) / eps + 0.5, 0, 1)
        return (slopes * THETA * ramp + l0 * ramp).sum() / M

    gradient = evaluate_reference(parameters, X, **given).gradient.threshold
    for j in range(P):
        h = 1e-7 * np.eye(P)[j]
        np.testing.assert_allclose(
            gradient[j], (smoothed(THETA + h) - smoothed(THETA - h)) / 2e-7, rtol=1e-6, atol=1e-8
        )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", VARIANTS)
def test_numpy_agrees_with_the_reference(name, dtype):
    """Cost, gradient, mean activation, density; one pass and two, one block and several."""
    parameters, given = variant(name)
    x, y = X.astype(dtype), np.clip(Y, 0, 1).astype(dtype)
    cast = parameters.astype(dtype)
    if name != "batchtopk":
        keep = ~undecided_rows(cast, x, dtype=dtype, **given)
        assert keep.sum() >= 0.9 * M
        x, y = x[keep], y[keep]
    reference = evaluate_reference(cast, x, target=y, **given)
    for passes, block_rows in ((1, 13), (2, 13), (1, None)):
        objective = Objective(x, P, target=y, passes=passes, block_rows=block_rows, backend="numpy", **given)
        found = objective.evaluate(cast.flatten())
        comparisons = reference.errors(
            dtype,
            cost=found.cost,
            gradient=Parameters.from_flat(found.gradient, N, P),
            rho_hat=found.rho_hat,
            density=found.density,
            squared_error=found.terms.squared_error,
        )
        assert len(comparisons) == 8 + ("threshold" in reference.gradient.names)
        for comparison in comparisons:
            assert comparison.agrees, str(comparison)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_reference_notices_small_mistakes(name):
    """A gradient that is wrong by 1e-6 of itself in float64, or by one row in the density, does not agree."""
    parameters, given = variant(name)
    true = evaluate_reference(parameters, X, **given)
    for part in true.gradient.names:
        wrong = true.gradient._replace(**{part: getattr(true.gradient, part) * (1 + 1e-6)})
        assert [c.name for c in true.errors(np.float64, gradient=wrong) if not c.agrees] == [f"gradient of {part}"]
    (density,) = true.errors(np.float64, density=true.density + 1 / M)
    assert not density.agrees


def test_rows_that_rounding_decides_are_found_and_no_others():
    """Ties of inexact numbers, and values nearer to a threshold than rounding; not ties of exact numbers."""
    made = Parameters(np.eye(3), np.zeros(3), np.eye(3), np.zeros(3))
    rows = np.array([[0.1, 0.1, 0.05], [0.3, 0.2, 0.1], [0.1, 0.1 + 1e-16, -1], [-1, -2, -3], [0, 0, 0]])
    found = undecided_rows(made, rows, activation="topk", k=1, dtype=np.float64)
    np.testing.assert_array_equal(found, [True, False, True, False, False])
    assert not undecided_rows(made, np.rint(rows * 10), activation="topk", k=1, dtype=np.float64).any()
    np.testing.assert_array_equal(
        undecided_rows(made, rows, activation="topk", k=2, dtype=np.float64), [False, False, False, False, False]
    )
    with_threshold = made._replace(threshold=np.array([0.3, 0.15, 0.1]))
    found = undecided_rows(with_threshold, rows, activation="jumprelu", dtype=np.float32)
    np.testing.assert_array_equal(found, [False, True, False, False, False])
    found = undecided_rows(with_threshold, rows, activation="jumprelu", bandwidth=0.2, dtype=np.float32)
    np.testing.assert_array_equal(found, [False, True, False, False, True])  # 0 is half the bandwidth from 0.1
    assert not undecided_rows(START, X, activation="relu", dtype=np.float32).any()


def test_a_relu_unit_at_its_kink_may_have_either_slope():
    """An element within rounding of 0 adds what its slope does to the bound; one that is exactly 0 does not."""
    W = np.array([[1.0, -1.0]])
    made = Parameters(W, np.zeros(1), W.T, np.zeros(2))
    options = {"activation": "relu", "output": "linear", "l1": 0.5, "weight_decay": 0}
    for value, free in ((1 / 3 + 1e-17, False), (1 / 3 + 1e-16, True), (1 / 3 + 1e-9, False)):
        rows = np.array([[value, 1 / 3], [3.0, 1.0]])
        bound = evaluate_reference(made, rows, **options).bound(np.float64)[1]
        assert (bound.W1[0, 0] > 1e-6) == free, (value, bound.W1)


class SigmoidSlope(Single):
    """Has the slope of the sigmoid whatever the unit."""

    def backprop(self, a1, a2, a3, W2, sparsity, target):
        """Gradient sums over the rows given."""
        delta3 = (a3 - target) * self.problem.output_slope(a3)
        delta2 = (delta3 @ W2 + sparsity) * a2 * (1 - a2)
        return Parameters(delta2.T @ a1, delta2.sum(axis=0), delta3.T @ a2, delta3.sum(axis=0))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "sigmoid"])
def test_the_guard_compares_every_unit(name, dtype):
    """The one line `problem.slope(a2)` makes a kernel right for all; the sigmoid's slope is refused for all others."""
    parameters, given = variant(name)
    cost = Cost(**{key: value for key, value in given.items() if key in Cost.__dataclass_fields__})
    activation = given["activation"]
    problem = Problem(
        n_visible=N, n_hidden=P, dtype=np.dtype(dtype), output=given["output"], k=given.get("k"),
        activation="jumprelu" if activation == "batchtopk" else activation, bandwidth=cost.bandwidth,
    )  # fmt: skip
    if activation == "batchtopk":
        parameters = parameters._replace(threshold=np.full(P, 0.7))
    x = X[:64].astype(dtype)
    if given["output"] == "sigmoid":
        x = np.clip(x, 0, 1)
    check_kernel(Backend("right", Single), problem, cost, parameters.astype(dtype), x, x)
    with pytest.raises(BackendWrongError, match=r"'wrong' is wrong on the first rows .* gradient of"):
        check_kernel(Backend("wrong", SigmoidSlope), problem, cost, parameters.astype(dtype), x, x)
    assert asdict(cost)["activation"] == activation


def test_a_guard_with_nothing_that_is_decided_compares_nothing():
    """All rows are ties of inexact numbers; the kernel is used as it is."""
    made = Parameters(np.full((2, 3), 0.1), np.zeros(2), np.full((3, 2), 0.1), np.zeros(3))
    problem = Problem(n_visible=3, n_hidden=2, dtype=np.dtype(float), activation="topk", k=1, output="linear")
    x = np.full((5, 3), 0.7)
    check_kernel(Backend("wrong", SigmoidSlope), problem, Cost(activation="topk"), made, x, x)


def test_an_objective_of_a_third_party_is_guarded_in_every_variant():
    """Through `Objective`, batch top-k included."""
    for name in VARIANTS:
        parameters, given = variant(name)
        x = np.clip(X, 0, 1)
        objective = Objective(x, P, backend=Backend("right", Single,
                                                     activations=("sigmoid", "relu", "topk", "jumprelu"),
                                                     outputs=("sigmoid", "linear")), **given)  # fmt: skip
        objective._kernel_checked = False
        assert np.isfinite(objective(parameters.flatten())[0])
        assert objective._kernel_checked
    assert sparsae.Backend("plain", Single).activations == ("sigmoid",)
