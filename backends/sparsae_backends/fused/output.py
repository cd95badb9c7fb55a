"""The output layer of the kernels without folded weights: from pre-activations to delta3, in place."""

from __future__ import annotations

from typing import final

import numpy as np

from sparsae import Array, Problem
from sparsae_backends._memory import aligned
from sparsae_backends.fused.powers import Powers, fastest_powers


@final
class OutputLayer:
    """Room for the slopes of `rows` rows, and the way to raise to a power, where outputs are sigmoids.

    Attributes
    ----------
    notes : tuple of str
        For the receipt.
    """

    def __init__(self, problem: Problem, rows: int) -> None:
        self.powers: Powers | None = None
        self.notes: tuple[str, ...] = ()
        self.one = np.full((), 1, problem.dtype)
        if problem.output == "sigmoid":
            self.powers = fastest_powers(problem.dtype)
            self.notes = (f"fused computes sigmoids with {self.powers.name}, the fastest for {problem.dtype} here",)
            self.slope = aligned((rows, problem.n_visible), problem.dtype)

    def delta(self, z3: Array, target: Array) -> float:
        """Replace pre-activations z3 (m, n) by delta3 = (a3 - target) slope; return the sum of squared errors."""
        if self.powers is None:
            np.subtract(z3, target, z3)
            return float(np.vdot(z3, z3))
        a3, slope, one = z3, self.slope[: len(z3)], self.one
        np.multiply(z3, -self.powers.factor, z3)
        self.powers.replace(z3, np.inf)
        np.add(z3, one, z3)
        np.divide(one, z3, a3)  # (m, n)
        np.subtract(one, a3, slope)
        np.multiply(slope, a3, slope)  # (m, n)
        np.subtract(a3, target, a3)
        error = float(np.vdot(a3, a3))
        np.multiply(a3, slope, a3)  # (m, n) delta3
        return error
