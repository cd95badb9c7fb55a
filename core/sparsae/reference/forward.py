"""The forward pass in plain float64."""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike

from sparsae._types import Activation, Output
from sparsae.model import Parameters
from sparsae.reference.units import Matrix, PreActivation, activate, logistic, pre_activate, slope


@final
class Forward(NamedTuple):
    """Activations of all rows, and what the error model needs of them.

    Attributes
    ----------
    pre : PreActivation
    a2, q : ndarrays (m, p)
        Hidden activations and slopes.
    z2_scale, a2_scale : ndarrays (m, p)
        Accuracy granted to pre-activations and activations, in units of eps.
    a3, y, slope3, delta3 : ndarrays (m, n)
        Outputs, targets, slopes of the outputs, (a3 - y) slope3.
    sigmoid, sigmoid_output : bool
        Which units are sigmoids.
    """

    pre: PreActivation
    a2: Matrix
    q: Matrix
    z2_scale: Matrix
    a2_scale: Matrix
    a3: Matrix
    y: Matrix
    slope3: Matrix
    delta3: Matrix
    sigmoid: bool
    sigmoid_output: bool


def forward(
    parameters: Parameters,
    X: ArrayLike,
    target: ArrayLike | None,
    *,
    activation: Activation,
    k: int | None,
    pre_bias: bool,
    output: Output,
) -> Forward:
    """Compute all activations.

    Hidden activations are granted accuracy relative to themselves where they are sigmoids (rho_hat is in a
    denominator), which is absolute accuracy eps for 1 - a2 where a unit is always on; others that of their sums.
    """
    rows = np.array(X, dtype=np.float64, order="C")  # (m, n)
    y = rows if target is None else np.array(target, dtype=np.float64, order="C")  # (m, n)
    pre = pre_activate(parameters, rows, pre_bias)
    a2 = activate(pre.z, activation, k, parameters.threshold)  # (m, p)
    q = slope(a2, activation)  # (m, p)
    z3 = a2 @ parameters.W2.T + parameters.b2  # (m, n)
    a3 = logistic(z3) if output == "sigmoid" else z3  # (m, n)
    slope3 = a3 * (1 - a3) if output == "sigmoid" else np.ones_like(a3)  # (m, n)
    sigmoid = activation == "sigmoid"
    z2_scale = 1 + pre.scale if sigmoid else pre.scale  # (m, p)
    near_kink = abs(pre.z) < 1e-3 * pre.scale  # (m, p)
    a2_scale = a2 + q * z2_scale if sigmoid else z2_scale * ((q > 0) | near_kink)  # (m, p)
    return Forward(
        pre, a2, q, z2_scale, a2_scale, a3, y, slope3, (a3 - y) * slope3, sigmoid, sigmoid_output=output == "sigmoid"
    )
