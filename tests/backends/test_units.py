"""Every bundled backend computes each hidden unit that it declares as the reference does."""

from __future__ import annotations

import numpy as np
import pytest

from sparsae import Objective, Parameters
from sparsae.errors import BackendDeclinedError
from sparsae.reference import evaluate_reference, undecided_rows

N, P, M = 12, 20, 70
RNG = np.random.default_rng(2)
X = RNG.normal(size=(M, N)) + 0.4
START = Parameters(RNG.normal(size=(P, N)), RNG.normal(size=P) / 3, RNG.normal(size=(N, P)) / 3, RNG.normal(size=N))
UNITS = {
    "relu": {"activation": "relu", "l1": 0.2},
    "topk": {"activation": "topk", "k": 4},
    "topk, k=1": {"activation": "topk", "k": 1},
    "topk, k=p": {"activation": "topk", "k": P},
    "jumprelu": {"activation": "jumprelu", "l0": 0.1, "bandwidth": 0.4},
    "jumprelu, constant": {"activation": "batchtopk", "k": 3},
}
EVERY = ("relu", "topk", "jumprelu")  # numba's other two take 50 s to compile: test_numba_units.py compares them
DECLARED = {
    "loop": EVERY, "numpy": EVERY, "einsum": EVERY, "fused": EVERY, "dot": EVERY[:2], "numba": ("topk",),
    "torch": EVERY[:2], "jax": EVERY[:2],
}  # fmt: skip


def cases(items):
    """The backends that need JAX or torch are tested where these are."""
    return [pytest.param(*item, marks=[pytest.mark.peers] * (item[0] in ("torch", "jax"))) for item in items]


@pytest.mark.parametrize("output", ["linear", "sigmoid"])
@pytest.mark.parametrize(
    ("name", "unit"),
    cases((name, unit) for name, units in DECLARED.items() for unit in UNITS if unit.startswith(units)),
)
def test_it_agrees_with_the_reference(name, unit, output):
    """Both dtypes, blocks of 16 rows and one block, kept and encoded first, a separate target.

    XLA takes seconds to compile a shape: `jax` is given one block.
    """
    ways = ((1, None),) if name == "jax" else ((1, 16), (2, 16), (1, None))
    options = {"pre_bias": True, "output": output, "weight_decay": 0.01} | UNITS[unit]
    for dtype in (np.float32, np.float64):
        made = START._replace(threshold=np.linspace(0.1, 0.5, P)) if unit == "jumprelu" else START
        made, x = made.astype(dtype), X.astype(dtype)
        if options["activation"] != "batchtopk":
            x = x[~undecided_rows(made, x, dtype=dtype, **options)]
        assert len(x) > 0.9 * M
        y = np.clip(x[::-1], 0, 1)
        reference = evaluate_reference(made, x, target=y, **options)
        for passes, block_rows in ways:
            objective = Objective(x, P, target=y, backend=name, passes=passes, block_rows=block_rows, **options)
            found = objective.evaluate(made.flatten())
            for comparison in reference.errors(
                dtype, cost=found.cost, gradient=Parameters.from_flat(found.gradient, N, P), rho_hat=found.rho_hat,
                density=found.density, squared_error=found.terms.squared_error,
            ):  # fmt: skip
                assert comparison.agrees, f"{dtype.__name__} {passes} {block_rows}: {comparison}"


@pytest.mark.parametrize("name", cases((name,) for name, units in DECLARED.items() if units == EVERY[:2]))
def test_what_it_does_not_declare_is_declined(name):
    """With the reason."""
    with pytest.raises(BackendDeclinedError, match=f"activation is 'jumprelu' and backend '{name}' supports"):
        Objective(X, P, backend=name, activation="jumprelu")


@pytest.mark.parametrize("name", cases((name,) for name in DECLARED))
def test_of_equal_activations_the_lower_index_is_kept(name):
    """Small integers are exact in every order of summation: ties are ties, here in most rows, some all zero."""
    rng = np.random.default_rng(5)
    W1, b1 = rng.integers(-1, 2, (P, N)).astype(float), rng.integers(-1, 2, P).astype(float)
    made = Parameters(W1, b1, rng.normal(size=(N, P)), np.zeros(N))
    x = rng.integers(-1, 2, (M, N)).astype(float)
    x[:7] = 0
    z = np.maximum(x @ W1.T + b1, 0)
    for k in (3,) if name == "jax" else (1, 3, P - 1):
        kth = np.sort(z, axis=1)[:, -k - 1 : P - k + 1]
        tied = (kth[:, 0] == kth[:, 1]) & (kth[:, 0] > 0)
        assert tied.mean() > 0.3 or k == P - 1
        for dtype in (np.float32, np.float64):
            options = {"activation": "topk", "k": k, "output": "linear", "pre_bias": False, "weight_decay": 0.0}
            found = Objective(x.astype(dtype), P, backend=name, **options).evaluate(made.flatten())
            reference = evaluate_reference(made.astype(dtype), x, **options)
            np.testing.assert_array_equal(found.density, reference.density)
            gradient = Parameters.from_flat(found.gradient, N, P)
            for comparison in reference.errors(dtype, gradient=gradient, rho_hat=found.rho_hat):
                assert comparison.agrees, str(comparison)
