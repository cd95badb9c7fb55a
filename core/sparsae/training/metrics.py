"""Figures of merit of a trained model, from sums."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DEAD = 0.1  # a unit is dead when its mean activation is below this share of rho
SATURATED = 0.9  # a unit is saturated when its mean activation is above this


def metrics(squared_error: float, variance: float, rho_hat: NDArray[np.floating[Any]], rho: float) -> dict[str, float]:
    """Figures of merit, with the thresholds that they use.

    Parameters
    ----------
    squared_error : float
        sum |a3 - target|^2 over all rows.
    variance : float
        sum |target - mean target|^2 over all rows, the mean being that of each column.
    rho_hat : ndarray (n_hidden,)
        Mean activations.
    rho : float
        Sparsity target.

    Returns
    -------
    dict
        explained_variance (1 - squared_error / variance; NaN where the data is constant), mean_activation,
        dead_share (of units with rho_hat < dead_below), saturated_share (rho_hat > saturated_above),
        dead_below, saturated_above.
    """
    return {
        "explained_variance": 1 - squared_error / variance if variance > 0 else float("nan"),
        "mean_activation": float(np.mean(rho_hat)),
        "dead_share": float(np.mean(rho_hat < DEAD * rho)),
        "saturated_share": float(np.mean(rho_hat > SATURATED)),
        "dead_below": DEAD * rho,
        "saturated_above": SATURATED,
    }
