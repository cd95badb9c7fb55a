"""`Problem`: what a kernel is built for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, final

import numpy as np

from sparsae._types import Activation, Array, Output
from sparsae.model.units import HIDDEN_UNITS, OUTPUT_UNITS


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
    activation : {"sigmoid", "relu", "topk", "jumprelu"}
        The hidden unit.  Batch top-k reaches kernels as "jumprelu" with one constant threshold.
    k : int or None
        Number of activations kept in a row, from 1 to n_hidden; None unless the hidden unit is "topk".
    bandwidth : float or None
        Width, for "jumprelu", of the rectangle around a threshold in which its gradient is estimated;
        None: the thresholds are constant, and their sums are left out.
    output : {"sigmoid", "linear"}
        The output unit.
    block_rows : int
        No block has more rows; the last one of a segment may have fewer.
        All rows of the data where a backend is asked for the number: see `Backend.block_rows`.
    threads : int
        How many threads this instance may use: its share of the budget.
    choices : tuple of (str, str)
        Names and values that `Kernel.choices` had in a fit that is resumed: to be made again, unless the user asks
        for others.  Those that the kernel does not know are ignored.
    """

    n_visible: int
    n_hidden: int
    dtype: np.dtype[Any]
    activation: Activation = "sigmoid"
    k: int | None = None
    bandwidth: float | None = None
    output: Output = "sigmoid"
    block_rows: int = 512
    threads: int = 1
    choices: tuple[tuple[str, str], ...] = ()

    def activate(self, z2: Array, threshold: Array | None = None) -> Array:
        """Hidden activations a2 (m, p) of the pre-activations z2 (m, p); thresholds (p,) for "jumprelu"."""
        return HIDDEN_UNITS[self.activation].function(z2, self.k, threshold)

    def slope(self, a2: Array) -> Array:
        """Derivative of the hidden unit (m, p), from its activations a2 (m, p)."""
        return HIDDEN_UNITS[self.activation].slope(a2)

    def output_activate(self, z3: Array) -> Array:
        """Output activations a3 (m, n) of the pre-activations z3 (m, n)."""
        return OUTPUT_UNITS[self.output].function(z3)

    def output_slope(self, a3: Array) -> Array:
        """Derivative of the output unit (m, n), from its activations a3 (m, n)."""
        return OUTPUT_UNITS[self.output].slope(a3)
