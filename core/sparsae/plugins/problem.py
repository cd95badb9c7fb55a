"""`Problem`: what a kernel is built for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from sparsae._types import Array, Output
from sparsae.model import HIDDEN_UNITS, OUTPUT_UNITS


@final
@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a kernel is built for.  Fields may be added, with defaults, in later versions.

    Attributes
    ----------
    n_visible, n_hidden : int
        Number of inputs n and of hidden units p.
    dtype : numpy.dtype
        float32 or float64; every array that reaches the kernel has it.
    activation : {"sigmoid"}
        The hidden unit.
    k : int or None
        Number of activations kept in a row; None where the hidden unit has no such number.
    output : {"sigmoid", "linear"}
        The output unit.
    block_rows : int
        No block has more rows; the last one of a segment may have fewer.
    threads : int
        How many threads this instance may use: its share of the budget.
    """

    n_visible: int
    n_hidden: int
    dtype: np.dtype[Any]
    activation: str = "sigmoid"
    k: int | None = None
    output: Output = "sigmoid"
    block_rows: int = 512
    threads: int = 1

    def activate(self, z2: Array) -> Array:
        """Hidden activations a2 (m, p) of the pre-activations z2 (m, p)."""
        return HIDDEN_UNITS[self.activation].function(z2)

    def slope(self, a2: Array) -> Array:
        """Derivative of the hidden unit (m, p), from its activations a2 (m, p)."""
        return HIDDEN_UNITS[self.activation].slope(a2)

    def output_activate(self, z3: Array) -> Array:
        """Output activations a3 (m, n) of the pre-activations z3 (m, n)."""
        return OUTPUT_UNITS[self.output].function(z3)

    def output_slope(self, a3: Array) -> Array:
        """Derivative of the output unit (m, n), from its activations a3 (m, n)."""
        return OUTPUT_UNITS[self.output].slope(a3)
