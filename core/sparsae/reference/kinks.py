"""Where rounding, and not the data, decides whether a hidden unit is active.

At such a place two correct implementations may differ by more than rounding:

- relu: the activation is continuous there and its slope is not; each element that is undecided adds what its slope
  does to the gradient to the bound of that (`Kinks.slack`).
- topk, jumprelu, batchtopk: the activation itself jumps, and with it the whole row.  `undecided_rows` says which rows
  those are: what is compared is computed on the others.

Where all terms are small multiples of 1/256 and their sums are exact in the dtype, nothing is undecided: ties made of
such numbers are ties for every implementation.
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsae._types import Activation
from sparsae.model import Parameters
from sparsae.reference.units import Matrix, PreActivation, pre_activate

UNIT = 256.0  # exact numbers are multiples of its reciprocal


@final
class Kinks(NamedTuple):
    """What the slope of relu units near 0 does to the gradient.

    Attributes
    ----------
    distance : ndarray (m, p)
        |z| over its spread: undecided where it is below the rounding error, and not 0.
    back : ndarray (m, p)
        |delta3 W2 + s|, in units of the number of rows.
    x_scale : ndarray (m, n)
    W1 : ndarray (p, n)
    pre_bias : bool
    """

    distance: Matrix
    back: Matrix
    x_scale: Matrix
    W1: Matrix
    pre_bias: bool

    def slack(self, dtype: object) -> Parameters:
        """Return what undecided slopes may add to each component of the gradient."""
        p, n = self.W1.shape
        delta2 = self.back * self._undecided(dtype)  # (m, p)
        b1 = delta2.sum(axis=0)  # (p,)
        b2 = abs(self.W1).T @ b1 if self.pre_bias else np.zeros(n)
        return Parameters(delta2.T @ self.x_scale, b1, np.zeros((n, p)), b2)

    def share(self, dtype: object) -> NDArray[np.float64]:
        """Return the share of the rows (p,) in which a unit may be active or not."""
        found: NDArray[np.float64] = self._undecided(dtype).mean(axis=0)
        return found

    def _undecided(self, dtype: object) -> NDArray[np.bool_]:
        return (self.distance < tolerance(self.W1.shape[1], dtype)) & (self.distance > 0)  # (m, p)


def tolerance(n: int, dtype: object) -> float:
    """Return the rounding error of a sum of n products in units of its spread."""
    return float((np.sqrt(n) + 4) * np.finfo(np.dtype(dtype)).eps)  # type: ignore[call-overload]  # knows no np.dtype[Any]


def undecided_rows(
    parameters: Parameters,
    X: ArrayLike,
    *,
    dtype: Any,
    activation: Activation = "sigmoid",
    k: int | None = None,
    bandwidth: float | None = None,
    pre_bias: bool = False,
    **_: object,
) -> NDArray[np.bool_]:
    """Say in which rows rounding decides which topk, batchtopk or jumprelu units are active, or near their threshold.

    Parameters
    ----------
    parameters : Parameters
    X : array_like (m, n)
    dtype : dtype
        What is computed in.
    activation, k, bandwidth, pre_bias
        As in `evaluate_reference`; its other keywords are ignored.  For batchtopk the selection is the threshold's that
        the parameters have, as kernels see it.

    Returns
    -------
    ndarray of bool (m,)
        None is True for sigmoid and relu.
    """
    given = parameters.astype(np.float64)
    rows = np.asarray(X, dtype=np.float64)
    if activation in ("sigmoid", "relu") or _is_exact(given, rows, dtype):
        return np.zeros(len(rows), bool)
    pre = pre_activate(given, rows, pre_bias)
    error = tolerance(rows.shape[1], dtype) * pre.spread  # (m, p)
    if activation == "topk":
        return _undecided_topk(pre, error, k or 0)
    assert given.threshold is not None
    distance = abs(pre.z - given.threshold)  # (m, p)
    undecided = distance < error
    if bandwidth:
        undecided |= abs(distance - bandwidth / 2) < error + np.finfo(np.dtype(dtype)).eps * given.threshold
    return np.asarray(undecided.any(axis=1))


def _undecided_topk(pre: PreActivation, error: Matrix, k: int) -> NDArray[np.bool_]:
    """Whether a value that is kept, and one that is not, or 0, are nearer to each other than rounding."""
    m, p = pre.z.shape
    z, each = np.maximum(pre.z, 0), np.arange(m)
    order = np.argsort(-z, axis=1, kind="stable")
    last = order[:, min(k, p) - 1]
    kept_is_near_zero = (abs(pre.z) < error) & (z >= z[each, last][:, None])  # its slope is undecided
    undecided = kept_is_near_zero.any(axis=1)
    if k < p:
        after = order[:, k:]  # (m, p - k)
        gap = z[each, last][:, None] - z[each[:, None], after]
        rival = (gap < error[each, last][:, None] + error[each[:, None], after]) & (z[each, last] > 0)[:, None]
        undecided |= rival.any(axis=1)
    return np.asarray(undecided)


def _is_exact(parameters: Parameters, rows: Matrix, dtype: Any) -> bool:
    """Whether every product and every partial sum of the pre-activations is exact in the dtype."""
    W1, b1, _, b2, *_ = parameters
    parts = (W1, b1, b2, rows)
    if any((part * UNIT != np.rint(part * UNIT)).any() for part in parts):
        return False
    largest = ((abs(rows) + abs(b2)) @ abs(W1).T + abs(b1)).max(initial=0.0)
    return bool(largest * UNIT**2 < 2.0 ** np.finfo(np.dtype(dtype)).nmant)
