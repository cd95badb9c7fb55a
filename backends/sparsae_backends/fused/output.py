"""The output layer of the kernels without folded weights: from products to delta3, in place."""

from __future__ import annotations

from typing import final

import numpy as np

from sparsae import Array, Problem
from sparsae_backends._memory import aligned
from sparsae_backends.fused.powers import CHOICE, Powers, fastest_powers, powers_note

STRIP_BYTES = (
    512 * 1024
)  # of an array (rows, n); shorter strips are no faster, and where two workers need the GIL slower


@final
class OutputLayer:
    """Room for the slopes of a strip of rows, and the way to raise to a power, where outputs are sigmoids.

    Attributes
    ----------
    notes : tuple of str
    choices : dict
        Both for the receipt.
    """

    def __init__(self, problem: Problem) -> None:
        self.powers: Powers | None = None
        self.notes: tuple[str, ...] = ()
        self.choices: dict[str, str] = {}
        self.one = np.full((), 1, problem.dtype)
        n = problem.n_visible
        self.strip = max(8, min(problem.block_rows, STRIP_BYTES // (n * problem.dtype.itemsize)))
        if problem.output == "sigmoid":
            self.powers = fastest_powers(problem.dtype, problem.choices)
            self.notes = (powers_note(self.powers, problem.dtype, problem.choices),)
            self.choices = {CHOICE: self.powers.key}
            self.slope = aligned((self.strip, n), problem.dtype)

    def delta(self, product: Array, b2: Array, target: Array) -> float:
        """Replace a2 W2' (m, n) by delta3 = (a3 - target) slope; return the sum of squared errors."""
        error = 0.0
        for start in range(0, len(product), self.strip):
            rows = slice(start, start + self.strip)
            z3 = product[rows]
            np.add(z3, b2, z3)
            error += self._delta(z3, target[rows])
        return error

    def _delta(self, z3: Array, target: Array) -> float:
        if self.powers is None:
            np.subtract(z3, target, z3)
            return float(np.vdot(z3, z3))
        a3, slope, one = z3, self.slope[: len(z3)], self.one
        np.multiply(z3, -self.powers.factor, z3)
        self.powers.replace(z3, float(z3.max()))
        np.add(z3, one, z3)
        np.divide(one, z3, a3)  # (m, n)
        np.subtract(one, a3, slope)
        np.multiply(slope, a3, slope)  # (m, n)
        np.subtract(a3, target, a3)
        error = float(np.vdot(a3, a3))
        np.multiply(a3, slope, a3)  # (m, n) delta3
        return error
