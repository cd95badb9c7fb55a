"""Figures of merit at the end of a fit, from the sums that the fit has anyway; `sparsae.metrics` has all of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DEAD = 0.1  # a sigmoid unit is dead when its mean activation is below this share of rho
SATURATED = 0.9  # a sigmoid unit is saturated when its mean activation is above this

Vector = NDArray[np.floating[Any]]


def fit_figures(
    squared_error: float, variance: float, rho_hat: Vector, *, rho: float | None = None, density: Vector | None = None
) -> dict[str, float]:
    """Figures of merit, with the thresholds that they use.

    Parameters
    ----------
    squared_error : float
        sum |a3 - target|^2 over all rows, or its mean.
    variance : float
        sum |target - mean target|^2 over all rows, the mean being that of each column; or its mean over the rows.
    rho_hat : ndarray (n_hidden,)
        Mean activations.
    rho : float, optional
        Sparsity target of sigmoid units; None: the units are others, which can be 0.
    density : ndarray (n_hidden,), optional
        Share of the rows in which each unit is active, where it is known.

    Returns
    -------
    dict
        explained_variance (1 - squared_error / variance; NaN where the data is constant), mean_activation.
        Of sigmoid units: dead_share (of units with rho_hat < dead_below), saturated_share (rho_hat > saturated_above),
        dead_below, saturated_above.  Of others, with their density: l0 (active units in a row), and dead_share, those
        that are active in no row.
    """
    found = {
        "explained_variance": 1 - squared_error / variance if variance > 0 else float("nan"),
        "mean_activation": float(np.mean(rho_hat)),
    }
    if rho is not None:
        found["dead_share"] = float(np.mean(rho_hat < DEAD * rho))
        found["saturated_share"] = float(np.mean(rho_hat > SATURATED))
        found |= {"dead_below": DEAD * rho, "saturated_above": SATURATED}
    elif density is not None:
        found |= {"l0": float(np.sum(density)), "dead_share": float(np.mean(density == 0))}
    return found
