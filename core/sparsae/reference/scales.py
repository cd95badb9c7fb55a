"""The error model: sums of the absolute values of the terms that each quantity is the sum of."""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np

from sparsae.model import Parameters
from sparsae.reference.forward import Forward
from sparsae.reference.penalties import Penalty
from sparsae.reference.units import Matrix


@final
class Scales(NamedTuple):
    """Scales of the gradient, of delta3 (m, n), and of the squared error."""

    gradient: Parameters
    delta3: Matrix
    squares: float


def scales(parameters: Parameters, f: Forward, penalty: Penalty, weight_decay: float, pre_bias: bool) -> Scales:
    """Return the scales at one point.

    Outputs are granted absolute accuracy eps where they are sigmoids (they are in no denominator), and what rounding in
    z3 does to them: a3_error, in units of eps.  delta3_scale is what that does to delta3, and at least |delta3|.
    """
    W1, _, W2, b2, *_ = (abs(part) for part in parameters)
    m, s, error = len(f.y), abs(penalty.s), abs(f.a3 - f.y)
    z3_scale = (f.a2 if f.sigmoid else f.a2_scale) @ W2.T + b2 + (f.sigmoid or f.sigmoid_output)  # (m, n)
    a3_error = 1 + f.slope3 * z3_scale if f.sigmoid_output else z3_scale + abs(f.y)  # (m, n)
    delta3 = a3_error * (f.slope3 + error) if f.sigmoid_output else a3_error  # (m, n)
    back = abs(f.delta3) @ W2 + s  # (m, p)
    delta2 = (delta3 @ W2) * f.q  # (m, p)
    delta2 += back * (f.q * f.z2_scale + f.a2**2) if f.sigmoid else back * f.q  # (m, p)
    mean, mean_scale = f.a2.mean(axis=0), f.a2_scale.mean(axis=0)  # (p,), (p,)
    growth = 1 + np.divide(mean_scale, mean, out=np.zeros_like(mean), where=mean > 0)  # (p,) of what the penalty adds
    gradient = Parameters(
        W1=delta2.T @ f.pre.x_scale / m + weight_decay * W1,  # (p, n)
        b1=delta2.mean(axis=0),  # (p,)
        W2=(delta3.T @ f.a2 + abs(f.delta3).T @ f.a2_scale) / m + weight_decay * W2 + abs(penalty.W2) * growth,
        b2=delta3.mean(axis=0) + (delta2.mean(axis=0) @ W1 if pre_bias else 0),  # (n,)
    )
    return Scales(gradient, delta3, float((delta3 * error + np.square(error)).sum() / m))
