"""Hidden units in plain float64, by sorting and comparing; the pre-activation with its scales."""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np

from sparsae._types import Activation, Array
from sparsae.model import Parameters

Matrix = Array


@final
class PreActivation(NamedTuple):
    """z = x W1' + b1, or (x - b2) W1' + b1.

    Attributes
    ----------
    x : ndarray (m, n)
        What W1 is multiplied by: the rows, less b2 with a pre-bias.
    x_scale : ndarray (m, n)
        Sum of the absolute values of its terms.
    z : ndarray (m, p)
    scale : ndarray (m, p)
        Sum of the absolute values of the terms of z.
    spread : ndarray (m, p)
        Root of the sum of the squares of the terms: rounding errors are random, and grow with it.
    """

    x: Matrix
    x_scale: Matrix
    z: Matrix
    scale: Matrix
    spread: Matrix


def pre_activate(parameters: Parameters, rows: Matrix, pre_bias: bool) -> PreActivation:
    """Return the pre-activations of all rows."""
    W1, b1, _, b2, *_ = parameters
    x = rows - b2 if pre_bias else rows  # (m, n)
    x_scale = abs(rows) + abs(b2) if pre_bias else abs(rows)  # (m, n)
    z = x @ W1.T + b1  # (m, p)
    shift = W1 @ b2 if pre_bias else np.zeros_like(b1)  # (p,)
    spread = np.sqrt(np.square(rows) @ np.square(W1).T + np.square(b1) + np.square(shift))  # (m, p)
    return PreActivation(x, x_scale, z, x_scale @ abs(W1).T + abs(b1), np.maximum(spread, abs(z)))


def activate(z: Matrix, activation: Activation, k: int | None, threshold: Matrix | None) -> Matrix:
    """Hidden activations (m, p) of pre-activations (m, p)."""
    if activation == "sigmoid":
        return logistic(z)
    if activation == "jumprelu":
        return z * (z > np.asarray(threshold))
    kept = np.ones(z.shape, bool)
    if activation == "topk":
        order = np.argsort(-z, axis=1, kind="stable")  # of equal ones the lower index comes first
        rank = np.argsort(order, axis=1)
        kept = rank < (k or 0)
    if activation == "batchtopk":
        least = np.sort(z.ravel())[::-1][min((k or 0) * len(z), z.size) - 1]  # all that are equal to it are kept
        kept = z >= least
    return np.where(kept & (z > 0), z, 0.0)


def slope(a2: Matrix, activation: Activation) -> Matrix:
    """Derivative of the hidden unit from its activations (m, p)."""
    return a2 * (1 - a2) if activation == "sigmoid" else np.where(a2 == 0, 0.0, 1.0)


def logistic(z: Matrix) -> Matrix:
    """1 / (1 + exp(-z)) from the side where exp does not overflow."""
    e = np.exp(-np.abs(z))
    a: Matrix = np.where(z >= 0, 1, e) / (1 + e)
    return a
