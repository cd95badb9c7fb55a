"""Faults that only the core can make: pre-bias, weighted L1, gradients of thresholds, the auxiliary loss.

They are algebra that no kernel sees.  The kit evaluates a right kernel through the core and compares with the
reference, which shares no code with it: each fault that is seeded in the core here fails a check of the kit.
"""

from __future__ import annotations

import numpy as np
import pytest
from tests.engine import test_auxiliary
from tests.support import unit_mutants

from sparsae import Parameters
from sparsae.cost import Cost
from sparsae.engine.auxiliary import AuxiliaryTerm
from sparsae.engine.engine import Engine
from sparsae.testing.runner import CheckSession

EVALUATE, KNOWN, THRESHOLD, ADD = Cost.evaluate, Cost.known_sparsity, Engine.batch_threshold, AuxiliaryTerm.add_to


def l1_without_weights_in_the_gradient(cost, parameters):
    """The value weights activations by the lengths of their columns; s does not."""
    return np.full(parameters.n_hidden, cost.l1) if cost.activation == "relu" else KNOWN(cost, parameters)


def faulty(change):
    """`Cost.evaluate` with a change of its gradient, which is given parameters and sums."""

    def evaluate(cost, sums, theta, *others, **options):
        found = EVALUATE(cost, sums, theta, *others, **options)
        n, p = sums.n_visible, sums.n_hidden
        change(cost, Parameters.from_flat(found.gradient, n, p), Parameters.from_flat(theta, n, p), sums)
        return found

    evaluate.__name__ = change.__name__
    return evaluate


@faulty
def l1_weights_held_constant(cost, gradient, parameters, sums):
    """The lengths of the columns have no gradient."""
    if cost.l1 > 0:
        lengths = np.linalg.norm(parameters.W2, axis=0)
        gradient.W2[...] -= cost.l1 * sums.hidden / sums.rows / lengths * parameters.W2


@faulty
def pre_bias_forgotten_in_b2(cost, gradient, parameters, sums):
    """The encoder's part of the gradient of b2."""
    if cost.pre_bias:
        gradient.b2[...] += parameters.W1.T @ gradient.b1


@faulty
def pre_bias_forgotten_in_W1(cost, gradient, parameters, sums):
    """W1 is multiplied by x, not by x - b2."""
    if cost.pre_bias:
        gradient.W1[...] += np.outer(gradient.b1, parameters.b2)


@faulty
def sign_of_the_threshold_gradient(cost, gradient, parameters, sums):
    """It falls where it should rise."""
    if gradient.threshold is not None:
        gradient.threshold[...] *= -1


def one_more_in_the_batch(engine, parameters, k, rows=None):
    """Batch top-k keeps (k + 1) m."""
    return THRESHOLD(engine, parameters, k + 1, rows)


FAULTS = [
    ("relu", "reference", Cost, "known_sparsity", l1_without_weights_in_the_gradient, "gradient of W1"),
    ("relu", "gradient", Cost, "evaluate", l1_weights_held_constant, "directional derivative"),
    ("topk", "reference", Cost, "evaluate", pre_bias_forgotten_in_b2, "gradient of b2"),
    ("relu", "reference", Cost, "evaluate", pre_bias_forgotten_in_W1, "gradient of W1"),
    ("jumprelu", "reference", Cost, "evaluate", sign_of_the_threshold_gradient, "gradient of threshold"),
    ("batchtopk", "activity", Engine, "batch_threshold", one_more_in_the_batch, "rows in which units are active"),
]


@pytest.mark.parametrize(
    ("unit", "name", "owner", "method", "fault", "words"), FAULTS, ids=[fault[4].__name__ for fault in FAULTS]
)
def test_a_fault_that_is_seeded_in_the_core_fails_a_check(monkeypatch, unit, name, owner, method, fault, words):
    """The child in which the checks run is a fork of this process, with the fault in it; without it they pass."""
    backend = unit_mutants.make(unit_mutants.WrittenForTheContract, threading="workers")
    with CheckSession(backend, quick=True) as session:
        assert session.run(name, "float64", unit).outcome == "pass"
    monkeypatch.setattr(owner, method, fault)
    with CheckSession(backend, quick=True) as session:
        verdict = session.run(name, "float64", unit)
    assert verdict.outcome == "fail"
    assert words in verdict.message


def test_an_auxiliary_target_that_is_not_held_constant_is_found(monkeypatch):
    """No check of the kit trains: the test of the auxiliary loss finds it, by differences with a constant target."""
    test_auxiliary.test_value_and_gradient_are_those_of_the_formula(3, True)

    def with_the_gradient_of_the_target(term, gradient):
        ADD(term, gradient)
        gradient.b2[...] += term.value  # e = target - a3, and a3 depends on b2

    monkeypatch.setattr(AuxiliaryTerm, "add_to", with_the_gradient_of_the_target)
    with pytest.raises(AssertionError):
        test_auxiliary.test_value_and_gradient_are_those_of_the_formula(3, True)
