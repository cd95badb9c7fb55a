"""The penalties in plain float64: value, sparsity vector, and what they add to the gradients of W2 and thresholds."""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np

from sparsae.reference.units import Matrix

KL_EDGE = 1e-6  # outside [KL_EDGE, 1 - KL_EDGE] the sparsity term continues along its tangent


@final
class Penalty(NamedTuple):
    """A penalty at one point.

    Attributes
    ----------
    value : float
    scale : float
        Sum of the absolute values of its terms.
    s : ndarray (p,)
        Its derivative by the mean activations.
    s_slope : ndarray (p,)
        The derivative of that.
    W2 : ndarray (n, p)
        What it adds to the gradient of W2.
    """

    value: float
    scale: float
    s: Matrix
    s_slope: Matrix
    W2: Matrix


def divergence(rho_hat: Matrix, W2: Matrix, *, rho: float, beta: float) -> Penalty:
    """Beta sum KL(rho || rho_hat), along its tangent beyond the edges."""
    r = np.clip(rho_hat, KL_EDGE, 1 - KL_EDGE)  # (p,)
    s = beta * (-rho / r + (1 - rho) / (1 - r))  # (p,) the derivative at the edge is the slope of the tangent beyond it
    kl = rho * np.log(rho / r) + (1 - rho) * np.log((1 - rho) / (1 - r))  # (p,)
    scale = beta * (abs(rho * np.log(rho / r)) + abs((1 - rho) * np.log((1 - rho) / (1 - r))))  # (p,)
    return Penalty(
        value=float(beta * kl.sum() + (s * (rho_hat - r)).sum()),
        scale=float((scale + abs(s) * rho_hat).sum()),
        s=s,
        s_slope=beta * (rho / r**2 + (1 - rho) / (1 - r) ** 2),  # (p,) ds / drho_hat
        W2=np.zeros_like(W2),
    )


def lasso(mean: Matrix, mean_scale: Matrix, W2: Matrix, *, l1: float, weighted: bool) -> Penalty:
    """l1 sum_j mean_j w_j, w_j the length of column j of W2, or 1."""
    length = np.array([np.linalg.norm(column) for column in W2.T])  # (p,)
    w = length if weighted else np.ones_like(length)
    added = np.zeros_like(W2)
    for j in np.flatnonzero(length) if weighted else ():
        added[:, j] = l1 * mean[j] * W2[:, j] / length[j]
    return Penalty(float(l1 * (mean * w).sum()), float(l1 * (mean_scale * w).sum()), l1 * w, np.zeros_like(w), added)


def count(density: Matrix, W2: Matrix, *, l0: float) -> Penalty:
    """l0 times the mean number of active units."""
    zero = np.zeros_like(density)
    return Penalty(float(l0 * density.sum()), float(l0 * density.sum()), zero, zero, np.zeros_like(W2))
