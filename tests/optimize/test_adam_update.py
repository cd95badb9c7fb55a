"""A kernel's own update of Adam is used where it has the bits of NumPy's, and refused where it has others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae import AdamStep, Problem
from sparsae.errors import BackendDeclinedError, BackendWrongError
from sparsae.optimize import Adam
from sparsae.optimize.adam_update import check_adam, update_chunk
from sparsae.optimize.update import BatchGradient

X = np.random.default_rng(0).uniform(0.1, 0.9, (60, 4))


class Plain(sparsae.SimpleKernel):
    """NumPy's kernel without an update of its own."""

    def backprop(self, a1: Any, a2: Any, a3: Any, W2: Any, sparsity: Any, target: Any) -> sparsae.Parameters:
        """The formulas."""
        delta3 = (a3 - target) * self.problem.output_slope(a3)
        delta2 = (delta3 @ W2 + sparsity) * self.problem.slope(a2)
        return sparsae.Parameters(delta2.T @ a1, delta2.sum(axis=0), delta3.T @ a2, delta3.sum(axis=0))


class Own(Plain):
    """An update like NumPy's, which counts."""

    calls = 0

    def adam(self, state: Any, parts: Any, decayed: int, step: AdamStep) -> bool:
        """As the contract says."""
        type(self).calls += 1
        g = BatchGradient(parts, step.scale, step.decay, decayed).vector(state[0])
        if not np.isfinite(g).all():
            return False
        update_chunk(state, g, np.empty_like(g), step)
        return True


class RoundedOnce(Own):
    """Computes in a wider dtype, as fused multiply-add does."""

    def adam(self, state: Any, parts: Any, decayed: int, step: AdamStep) -> bool:
        """With too few roundings."""
        wide = tuple(array.astype(np.longdouble) for array in state)
        answer = Own.adam(self, wide, tuple(part.astype(np.longdouble) for part in parts), decayed, step)
        for array, found in zip(state, wide, strict=True):
            array[:] = found
        return answer


class Blind(Own):
    """Notices nothing."""

    def adam(self, state: Any, parts: Any, decayed: int, step: AdamStep) -> bool:
        """Always True."""
        super().adam(state, parts, decayed, step)
        return True


def fit(kernel: type[sparsae.Kernel[Any, Any, Any]]) -> sparsae.TrainResult:
    """Train with a backend of that kernel."""
    return sparsae.train(X, 3, backend=sparsae.Backend("mine", kernel), method=Adam(batch_rows=20), max_iter=4)


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
def test_a_kernels_own_update_is_used_and_changes_no_bit() -> None:
    """All updates but those whose largest component is asked for, the last of each epoch."""
    Own.calls = 0
    own, plain = fit(Own), fit(Plain)
    assert Own.calls == 3 + 4 * 2, "three of the comparison, two of each epoch"
    assert own.parameters.flatten().tobytes() == plain.parameters.flatten().tobytes()
    np.testing.assert_array_equal(own.history.cost, plain.history.cost)


def test_an_update_with_other_bits_is_refused() -> None:
    """Before the first update of a fit."""
    with pytest.raises(BackendWrongError, match=r"RoundedOnce\.adam: .* is not what NumPy computes, bit for bit"):
        fit(RoundedOnce)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_update_that_overlooks_infinity_is_refused(dtype: str) -> None:
    """One component is infinite."""
    with pytest.raises(BackendWrongError, match=r"Blind\.adam returned True for a gradient that is not finite"):
        check_adam(Blind(Problem(n_visible=4, n_hidden=3, dtype=np.dtype(float))), np.dtype(dtype))


def test_a_kernel_without_an_update_says_so() -> None:
    """And declines when it is called all the same."""
    kernel = Plain(Problem(n_visible=4, n_hidden=3, dtype=np.dtype(float)))
    assert not kernel.has_adam
    with pytest.raises(BackendDeclinedError, match=r"Plain defines no adam\(\)"):
        kernel.adam((X[0], X[1], X[2]), (X[3],), 0, AdamStep(1, 0, 0.9, 0.999, 1e-3, 1e-8))
