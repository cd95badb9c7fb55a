"""Gradient sums of given activations, what `sparsae.backprop` returns, in plain float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sparsae._types import Activation, Output
from sparsae.model import Parameters
from sparsae.reference.comparison import Comparison, compare


def compare_gradient_sums(
    found: Parameters,
    a1: ArrayLike,
    a2: ArrayLike,
    a3: ArrayLike,
    W2: ArrayLike,
    sparsity: ArrayLike,
    target: ArrayLike,
    *,
    output: Output,
    dtype: Any,
    activation: Activation = "sigmoid",
    factor: float = 8.0,
) -> list[Comparison]:
    """Compare gradient sums of given activations, what `sparsae.backprop` returns, with the formulas in float64.

    Parameters
    ----------
    found : Parameters
        What an implementation returned.
    a1, a2, a3, W2, sparsity, target
        As in `sparsae.backprop`.
    output : {"sigmoid", "linear"}
    dtype : dtype
        What it computes in.
    activation : str
        Hidden unit; its slope is taken from the activations given.
    factor : float
        The error that rounding explains is factor eps (sqrt m + sqrt n) times the sum of absolute values of the terms.
    """
    expected, scale = gradient_sums(a1, a2, a3, W2, sparsity, target, output, activation)
    m, n = np.shape(a1)
    eps = factor * float(np.finfo(dtype).eps) * (np.sqrt(m) + np.sqrt(n))
    parts = zip(expected.names, found, expected, scale, strict=True)
    floor = 4 * float(np.finfo(dtype).tiny) * (m + n) * (1 + np.abs(W2).max() + np.abs(a1).max())  # underflow
    return [compare(f"the sum {name}", np.asarray(f, np.float64), e, eps * s + floor) for name, f, e, s in parts]


def gradient_sums(
    a1: ArrayLike,
    a2: ArrayLike,
    a3: ArrayLike,
    W2: ArrayLike,
    sparsity: ArrayLike,
    target: ArrayLike,
    output: Output,
    activation: Activation = "sigmoid",
) -> tuple[Parameters, Parameters]:
    """Gradient sums of given activations in float64, and the sums of the absolute values of their terms."""
    x, h, o, v, s, y = (np.asarray(a, dtype=np.float64) for a in (a1, a2, a3, W2, sparsity, target))
    slope3 = o * (1 - o) if output == "sigmoid" else np.ones_like(o)  # (m, n)
    delta3, scale3 = (o - y) * slope3, (abs(o) + abs(y)) * abs(slope3)  # (m, n)
    sigmoid = activation == "sigmoid"
    q = h * (1 - h) if sigmoid else np.where(h == 0, 0.0, 1.0)  # (m, p)
    delta2, scale2 = (delta3 @ v + s) * q, (scale3 @ abs(v) + abs(s)) * (abs(h) if sigmoid else q)  # (m, p)
    sums = Parameters(delta2.T @ x, delta2.sum(axis=0), delta3.T @ h, delta3.sum(axis=0))
    return sums, Parameters(scale2.T @ abs(x), scale2.sum(axis=0), scale3.T @ abs(h), scale3.sum(axis=0))
