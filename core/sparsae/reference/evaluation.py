"""Cost and gradient in plain float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from sparsae._types import Activation, Output
from sparsae.model import Parameters
from sparsae.reference.forward import Forward, forward
from sparsae.reference.kinks import Kinks
from sparsae.reference.penalties import Penalty, count, divergence, lasso
from sparsae.reference.result import Reference
from sparsae.reference.scales import Scales, scales


def evaluate_reference(
    parameters: Parameters,
    X: ArrayLike,
    *,
    target: ArrayLike | None = None,
    activation: Activation = "sigmoid",
    k: int | None = None,
    rho: float = 0.01,
    beta: float = 3.0,
    l1: float = 0.0,
    l1_weighted: bool = True,
    l0: float = 0.0,
    bandwidth: float | None = None,
    weight_decay: float = 1e-4,
    pre_bias: bool = False,
    output: Output = "sigmoid",
) -> Reference:
    """Cost and gradient of the sparse autoencoder in float64, with their error model.

    Shapes as in `sparsae.cost_and_gradient`; nothing is checked here, and no default follows the activation.
    For "batchtopk" all rows are one batch.
    """
    given = parameters.astype(np.float64)
    f = forward(given, X, target, activation=activation, k=k, pre_bias=pre_bias, output=output)
    if activation == "sigmoid":
        penalty = divergence(f.a2.mean(axis=0), given.W2, rho=rho, beta=beta)
    elif activation == "relu":
        penalty = lasso(f.a2.mean(axis=0), f.a2_scale.mean(axis=0), given.W2, l1=l1, weighted=l1_weighted)
    else:
        penalty = count((f.a2 != 0).mean(axis=0), given.W2, l0=l0)
    squared_error = np.square(f.a3 - f.y).sum() / (2 * len(f.y))
    decay = weight_decay / 2 * (np.square(given.W1).sum() + np.square(given.W2).sum())
    gradient = _gradient(given, f, penalty, weight_decay, pre_bias)
    scale = scales(given, f, penalty, weight_decay, pre_bias)
    if given.threshold is not None and bandwidth is not None:
        gradient, scale = _with_threshold(gradient, scale, given, f, l0, bandwidth)
    return Reference(
        cost=float(squared_error + decay + penalty.value),
        gradient=gradient,
        rho_hat=f.a2.mean(axis=0),
        density=(f.a2 != 0).mean(axis=0),
        squared_error=float(squared_error),
        cost_scale=float(scale.squares + decay + penalty.scale),
        gradient_scale=scale.gradient,
        rho_hat_scale=f.a2_scale.mean(axis=0),
        squared_error_scale=scale.squares,
        sparsity=np.asarray(penalty.s, np.float64),
        rho_hat_sensitivity=_sensitivity(penalty, f, gradient),
        underflow_sensitivity=_underflow_sensitivity(given, f, penalty),
        kinks=_kinks(given, f, penalty, scale, pre_bias) if activation == "relu" else None,
    )


def _gradient(parameters: Parameters, f: Forward, penalty: Penalty, weight_decay: float, pre_bias: bool) -> Parameters:
    """Gradient of the cost; thresholds aside."""
    W1, _, W2, *_ = parameters
    m = len(f.y)
    delta2 = (f.delta3 @ W2 + penalty.s) * f.q  # (m, p)
    return Parameters(
        W1=delta2.T @ f.pre.x / m + weight_decay * W1,  # (p, n)
        b1=delta2.mean(axis=0),  # (p,)
        W2=f.delta3.T @ f.a2 / m + weight_decay * W2 + penalty.W2,  # (n, p)
        b2=f.delta3.mean(axis=0) - (delta2.mean(axis=0) @ W1 if pre_bias else 0),  # (n,)
    )


def _with_threshold(
    gradient: Parameters, scale: Scales, parameters: Parameters, f: Forward, l0: float, bandwidth: float
) -> tuple[Parameters, Scales]:
    """Add the straight-through estimate of the gradient of the thresholds, and its scale."""
    theta, W2 = np.asarray(parameters.threshold), parameters.W2  # (p,), (n, p)
    near = abs(f.pre.z - theta) < bandwidth / 2  # (m, p)
    part = -(theta * (f.delta3 @ W2) + l0) * near / bandwidth  # (m, p)
    part_scale = (theta * (scale.delta3 @ abs(W2)) + l0) * near / bandwidth  # (m, p)
    gradient = gradient._replace(threshold=part.mean(axis=0))
    return gradient, scale._replace(gradient=scale.gradient._replace(threshold=part_scale.mean(axis=0)))


def _sensitivity(penalty: Penalty, f: Forward, gradient: Parameters) -> Parameters:
    """What one unit of relative error in rho_hat adds to each component of the gradient."""
    zeros = gradient._replace(**{name: np.zeros_like(part) for name, part in gradient._asdict().items()})
    W1 = penalty.s_slope[:, None] * (f.q.T @ f.pre.x_scale) / len(f.y)  # (p, n)
    return zeros._replace(W1=W1, b1=penalty.s_slope * f.q.mean(axis=0))


def _underflow_sensitivity(parameters: Parameters, f: Forward, penalty: Penalty) -> float:
    """What one unit of absolute error in an activation can do to a component of the gradient at most."""
    largest_weight = 1 + abs(penalty.s).max() + abs(parameters.W2).sum(axis=0).max()
    return float(largest_weight * (1 + f.pre.x_scale.max()))


def _kinks(parameters: Parameters, f: Forward, penalty: Penalty, scale: Scales, pre_bias: bool) -> Kinks:
    """What the slopes of relu units near 0 do to the gradient."""
    z, spread = f.pre.z, f.pre.spread
    W2 = abs(parameters.W2)
    distance = np.divide(abs(z), spread, out=np.zeros_like(z), where=spread > 0)  # (m, p)
    back = abs(f.delta3 @ parameters.W2 + penalty.s) + 1e-3 * (scale.delta3 @ W2)  # (m, p)
    return Kinks(distance, back / len(z), f.pre.x_scale, np.asarray(parameters.W1, np.float64), pre_bias)
