"""The auxiliary loss of dead units: its value and gradient, what it reaches, and what it costs while none is dead."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import sparsae
from sparsae import Parameters, Problem
from sparsae.engine.auxiliary import AuxiliaryLoss
from sparsae.errors import BackendDeclinedError

N, P, M = 6, 40, 50
RNG = np.random.default_rng(1)
X = RNG.normal(size=(M, N))
ERROR = RNG.normal(size=(M, N))
MADE = Parameters(RNG.normal(size=(P, N)), RNG.normal(size=P) / 4, RNG.normal(size=(N, P)), RNG.normal(size=N))
PROBLEM = Problem(
    n_visible=N, n_hidden=P, dtype=np.dtype(float), activation="topk", k=2, output="sigmoid", block_rows=8
)


def make(*, pre_bias=True, k_aux=4, workers=1, **changes):
    """An auxiliary loss with weight 0.5."""
    backend = replace(sparsae.get_backend("numpy"), **changes)
    return AuxiliaryLoss(backend=backend, problem=PROBLEM, workers=workers, aux=0.5, k_aux=k_aux, pre_bias=pre_bias)


def dead_units(count):
    """That many of the units, anywhere."""
    dead = np.zeros(P, bool)
    dead[RNG.permutation(P)[:count]] = True
    return dead


def loss(parameters, dead, k_aux, pre_bias):
    """By the formula; the error is a constant, b2 takes no part in the reconstruction."""
    z = (X - MADE.b2 * pre_bias) @ parameters.W1[dead].T + parameters.b1[dead]
    a = np.zeros_like(z)
    for row, values in enumerate(z):
        kept = np.argsort(-values)[:k_aux]
        a[row, kept] = np.maximum(values[kept], 0)
    rest = ERROR - a @ parameters.W2[:, dead].T
    return 0.5 * min(dead.sum() / k_aux, 1) * np.square(rest).sum() / (2 * M)


@pytest.mark.parametrize("pre_bias", [True, False])
@pytest.mark.parametrize("count", [1, 3, 17, P])
def test_value_and_gradient_are_those_of_the_formula(count, pre_bias):
    """By central differences; W1, b1 and W2 of dead units have a gradient, everything else has none."""
    dead = dead_units(count)
    found = make(pre_bias=pre_bias).evaluate(MADE, X, ERROR, dead)
    np.testing.assert_allclose(found.value, loss(MADE, dead, 4, pre_bias), rtol=1e-12)
    np.testing.assert_array_equal(found.units, np.flatnonzero(dead))
    gradient = Parameters(*(np.zeros_like(part) for part in MADE))
    found.add_to(gradient)
    assert not gradient.b2.any()
    h = 1e-6
    for name in ("W1", "b1", "W2"):
        part = getattr(MADE, name)
        assert np.count_nonzero(getattr(gradient, name)) > 0
        for seed in range(3):
            step = h * np.random.default_rng(seed).choice([-1.0, 1.0], part.shape)
            up, down = (loss(MADE._replace(**{name: part + sign * step}), dead, 4, pre_bias) for sign in (1, -1))
            numeric, analytic = (up - down) / 2, float((getattr(gradient, name) * step).sum())
            assert abs(numeric - analytic) < 1e-7 * h * abs(getattr(gradient, name)).sum() + 1e-15


def test_kernels_are_used_again_and_workers_change_no_bit(monkeypatch):
    """Seventeen to thirty-two dead units share a size; one worker and three give the same bits."""
    from sparsae.engine import auxiliary

    made = []
    original = auxiliary.make_kernel
    monkeypatch.setattr(auxiliary, "make_kernel", lambda *a: made.append(a) or original(*a))
    many, one = make(workers=3), make(workers=1)
    for count in (17, 20, 32, 17):
        dead = dead_units(count)
        first, second = many.evaluate(MADE, X, ERROR, dead), one.evaluate(MADE, X, ERROR, dead)
        for a, b in zip(first, second, strict=True):
            np.testing.assert_array_equal(a, b)
    assert len(made) == 3 + 1
    assert make().evaluate(MADE, X, ERROR, np.zeros(P, bool)) is None


def test_a_backend_that_cannot_compute_it_says_so():
    """Before training begins, with what to do."""
    with pytest.raises(BackendDeclinedError, match=r"cannot compute the auxiliary loss: activation is 'topk' .*aux=0"):
        make(activations=("sigmoid", "relu"))
    with pytest.raises(BackendDeclinedError, match="cannot compute the auxiliary loss: output is 'linear'"):
        make(outputs=("sigmoid",))
