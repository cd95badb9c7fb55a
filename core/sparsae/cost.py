"""The cost beside the squared error: its settings, its terms, the sparsity penalty and its derivative.

J(W, b) = 1/(2m) sum |a3 - target|^2 + weight_decay/2 (|W1|^2 + |W2|^2) + beta sum_j KL(rho || rho_hat_j)

Source: Ng, *Sparse autoencoder*, CS294A lecture notes; UFLDL.  Biases are not decayed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from sparsae.errors import ParameterError

KL_EDGE = 1e-6


class Terms(NamedTuple):
    """The three terms of the cost; they add up to it."""

    squared_error: float
    weight_decay: float
    sparsity: float


def sparsity_terms(rho_hat: NDArray[np.float64], rho: float, beta: float) -> tuple[float, NDArray[np.float64]]:
    """Return beta sum KL(rho || rho_hat) and its derivative, the sparsity vector s (p,).

    Outside [1e-6, 1 - 1e-6] the divergence goes on along its tangent,
    so that cost and gradient stay finite and consistent where a unit is always off or always on.
    """
    r = np.clip(rho_hat, KL_EDGE, 1 - KL_EDGE)
    s = beta * ((1 - rho) / (1 - r) - rho / r)
    divergence = rho * np.log(rho / r) + (1 - rho) * np.log((1 - rho) / (1 - r))
    return float(beta * divergence.sum() + (s * (rho_hat - r)).sum()), s


def check_settings(rho: float, beta: float, weight_decay: float) -> tuple[float, float, float]:
    """Return the three settings as floats, or raise `ParameterError`."""
    values = []
    for name, value in (("rho", rho), ("beta", beta), ("weight_decay", weight_decay)):
        try:
            number = float(value)
        except (TypeError, ValueError):
            raise ParameterError(f"{name} must be a number; given {value!r}.") from None
        if not np.isfinite(number):
            raise ParameterError(f"{name} must be finite; given {value!r}.")
        values.append(number)
    if not 0 < values[0] < 1:
        raise ParameterError(f"rho must lie strictly between 0 and 1 (it is a mean activation); given {rho!r}.")
    for name, number in zip(("beta", "weight_decay"), values[1:], strict=True):
        if number < 0:
            raise ParameterError(f"{name} must be at least 0; given {number!r}.")
    return values[0], values[1], values[2]
