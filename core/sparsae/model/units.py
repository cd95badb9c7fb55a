"""Hidden and output units: their functions of the pre-activation, and their slopes in terms of the activation.

Sources: Ng, CS294A lecture notes (sigmoid); Gao et al. 2024, arXiv 2406.04093 (top-k);
Rajamanoharan et al. 2024, arXiv 2407.14435 (JumpReLU).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from sparsae._types import Activation, Array, Output


def sigmoid(z: Array, *, out: Array | None = None) -> Array:
    """Logistic function 1 / (1 + exp(-z)) of a float array, elementwise.

    Accurate relative to its value also for large negative z (mean activations are in the denominator of the sparsity
    term), and without warnings at any finite z: the argument of exp is limited to where exp neither overflows nor
    underflows, so that the smallest value is about 3e-308 in float64 and 2e-38 in float32.

    Parameters
    ----------
    z : ndarray of float32 or float64
    out : ndarray, optional
        Where to write the result, of the shape and dtype of `z` (and possibly `z` itself); a new array when left out.
    """
    limit = 708.0 if z.dtype == np.float64 else 87.0
    a: Array = np.clip(z, -limit, limit, out=out)
    np.negative(a, out=a)
    np.exp(a, out=a)
    np.add(a, 1, out=a)
    return np.reciprocal(a, out=a)


def relu(z: Array) -> Array:
    """max(z, 0), elementwise."""
    a: Array = np.maximum(z, 0)
    return a


def topk(z: Array, k: int) -> Array:
    """The `k` largest of each row of z (m, p) where they are positive, else 0; ties go to the lower index.

    NaN counts as the largest and stays NaN, so that it reaches the cost.
    """
    a = relu(z)  # values that are not positive are 0 whether they are chosen or not
    p = a.shape[1]
    if k >= p:
        return a
    least = np.partition(a, p - k, axis=1)[:, p - k, None]  # (m, 1) the k-th largest
    kept = ~(a < least)  # (m, p), True for NaN
    tied = np.flatnonzero((np.count_nonzero(kept, axis=1) > k) & (least[:, 0] > 0))
    if tied.size:
        greater, equal = ~(a[tied] <= least[tied]), a[tied] == least[tied]  # (rows with ties, p)
        room = k - np.count_nonzero(greater, axis=1)[:, None]
        kept[tied] = greater | (equal & (np.cumsum(equal, axis=1) <= room))
    return np.where(kept, a, a.dtype.type(0))


def jumprelu(z: Array, threshold: Array) -> Array:
    """Return z (m, p) where it is above its unit's threshold (p,), else 0; NaN stays NaN."""
    return np.where(z <= threshold, z.dtype.type(0), z)


class Unit(NamedTuple):
    """An output unit: its function of the pre-activation, and the slope from the activation.

    Attributes
    ----------
    function : callable
        Activations of pre-activations; may overwrite nothing.
    slope : callable
        Derivative of `function`, from the activations, in their dtype.
    """

    function: Callable[[Array], Array]
    slope: Callable[[Array], Array]


class HiddenUnit(NamedTuple):
    """A hidden unit: as `Unit`, but its function takes `k` and the thresholds (p,) too, and uses what it needs."""

    function: Callable[[Array, int | None, Array | None], Array]
    slope: Callable[[Array], Array]


def sigmoid_slope(a: Array) -> Array:
    """Derivative of the logistic function, from its value: a (1 - a)."""
    slope: Array = a * (1 - a)
    return slope


def active(a: Array) -> Array:
    """1 where an activation is not 0, else 0: the slope of relu, topk and jumprelu."""
    slope: Array = (a != 0).astype(a.dtype)
    return slope


def _topk(z: Array, k: int | None, threshold: Array | None) -> Array:
    assert k is not None
    return topk(z, k)


def _jumprelu(z: Array, k: int | None, threshold: Array | None) -> Array:
    assert threshold is not None
    return jumprelu(z, threshold)


HIDDEN_UNITS: dict[Activation, HiddenUnit] = {
    "sigmoid": HiddenUnit(lambda z, k, threshold: sigmoid(z), sigmoid_slope),
    "relu": HiddenUnit(lambda z, k, threshold: relu(z), active),
    "topk": HiddenUnit(_topk, active),
    "batchtopk": HiddenUnit(_jumprelu, active),  # with the threshold of a batch, or after training that of the model
    "jumprelu": HiddenUnit(_jumprelu, active),
}
OUTPUT_UNITS: dict[Output, Unit] = {
    "sigmoid": Unit(sigmoid, sigmoid_slope),
    "linear": Unit(lambda z: z, np.ones_like),
}
