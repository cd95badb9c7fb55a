"""The judge: cost and gradient in plain float64, and how far a correct implementation may be from them.

Nothing here is fast and nothing here is shared with the code that it judges, the formulas included:
the guard, the conformance kit, the race and the tests compare everybody, bundled or not, with this.

Source: Ng, *Sparse autoencoder*, CS294A lecture notes, equations for J_sparse and its gradient; UFLDL.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsae._types import Output
from sparsae.model import Parameters

Float = NDArray[np.float64]
KL_EDGE = 1e-6  # outside [KL_EDGE, 1 - KL_EDGE] the sparsity term goes on along its tangent
ERROR_CONSTANT = 1.0  # C of the error model


class Reference(NamedTuple):
    """What the reference found at one point.

    Attributes
    ----------
    cost : float
        J = squared error / 2m + weight_decay / 2 (|W1|^2 + |W2|^2) + beta sum KL(rho || rho_hat).
    gradient : Parameters
        Of the cost; biases are not decayed.
    cost_scale : float
        Sum of the absolute values of the terms that were added to the cost, for the error model.
    gradient_scale : Parameters
        The same for each component of the gradient.
    condition : Parameters
        What one unit of relative error in rho_hat adds to each component of the gradient.
    rho_hat : ndarray (n_hidden,)
        Mean activations.
    reach : float
        What one unit of absolute error in an activation can do to a component of the gradient at most;
        it matters where activations underflow.
    rho_hat_scale : ndarray (n_hidden,)
        Sum of the absolute values of the terms of rho_hat, rounding in the pre-activation included.
    """

    cost: float
    gradient: Parameters
    cost_scale: float
    gradient_scale: Parameters
    condition: Parameters
    rho_hat: Float
    reach: float
    rho_hat_scale: Float

    def bound(self, dtype: object, block_rows: int | None = None) -> tuple[float, Parameters]:
        """Largest errors of cost and gradient that rounding explains, for work in `dtype`.

        C eps (sqrt n + sqrt p + sqrt block_rows) times the scale of the terms,
        plus the condition of the sparsity vector.
        Sums across blocks are float64 by promise, so that only the rows of one block (default: 10,000) count.
        """
        info = np.finfo(np.dtype(dtype))  # type: ignore[call-overload]
        eps, floor = float(info.eps), 4 * float(info.tiny) * self.reach
        p, n = self.gradient.W1.shape
        factor = ERROR_CONSTANT * eps * (np.sqrt(n) + np.sqrt(p) + np.sqrt(block_rows or 10_000))
        bounds = [factor * a + 4 * eps * c + floor for a, c in zip(self.gradient_scale, self.condition, strict=True)]
        return factor * self.cost_scale, Parameters(*bounds)


def evaluate_reference(
    parameters: Parameters,
    X: ArrayLike,
    *,
    target: ArrayLike | None = None,
    rho: float = 0.01,
    beta: float = 3.0,
    weight_decay: float = 1e-4,
    output: Output = "sigmoid",
) -> Reference:
    """Cost and gradient of the sparse autoencoder in float64, with their error model.

    Shapes as in `sparsae.cost_and_gradient`; nothing is checked here.
    """
    W1, b1, W2, b2 = parameters.astype(np.float64)
    x = np.array(X, dtype=np.float64, order="C")  # (m, n)
    y = x if target is None else np.array(target, dtype=np.float64, order="C")  # (m, n)
    m = len(x)
    a2 = _logistic(x @ W1.T + b1)  # (m, p)
    z3 = a2 @ W2.T + b2  # (m, n)
    a3 = _logistic(z3) if output == "sigmoid" else z3
    slope3 = a3 * (1 - a3) if output == "sigmoid" else np.ones_like(a3)
    rho_hat = a2.mean(axis=0)  # (p,)

    r = np.clip(rho_hat, KL_EDGE, 1 - KL_EDGE)
    s = beta * (-rho / r + (1 - rho) / (1 - r))  # (p,) the derivative at the edge is the tangent beyond it
    kl = rho * np.log(rho / r) + (1 - rho) * np.log((1 - rho) / (1 - r))
    squares = np.square(a3 - y).sum() / (2 * m)
    decay = weight_decay / 2 * (np.square(W1).sum() + np.square(W2).sum())
    cost = squares + decay + beta * kl.sum() + (s * (rho_hat - r)).sum()

    delta3 = (a3 - y) * slope3  # (m, n)
    q = a2 * (1 - a2)  # (m, p)
    delta2 = (delta3 @ W2 + s) * q  # (m, p)
    gradient = Parameters(
        W1=delta2.T @ x / m + weight_decay * W1,
        b1=delta2.mean(axis=0),
        W2=delta3.T @ a2 / m + weight_decay * W2,
        b2=delta3.mean(axis=0),
    )

    # The scale of the terms.  An output is granted absolute accuracy eps (it stands in no denominator) and what
    # rounding in z3 does to it; reach is what that does to delta3, and at least |delta3|.
    z3_scale = 1 + a2 @ abs(W2).T + abs(b2)  # (m, n)
    shift3 = 1 + slope3 * z3_scale if output == "sigmoid" else z3_scale + abs(y)
    reach = shift3 * (slope3 + abs(a3 - y)) if output == "sigmoid" else shift3
    # Hidden activations are granted accuracy relative to themselves (rho_hat stands in a denominator),
    # which is absolute accuracy eps for 1 - a2 where a unit is always on.
    z2_scale = 1 + abs(x) @ abs(W1).T + abs(b1)  # (m, p)
    back = abs(delta3) @ abs(W2) + abs(s)  # (m, p)
    d2 = (reach @ abs(W2)) * q + back * (q * z2_scale + a2**2)
    scale = Parameters(
        W1=d2.T @ abs(x) / m + weight_decay * abs(W1),
        b1=d2.mean(axis=0),
        W2=(reach.T @ a2 + abs(delta3).T @ (a2 + q * z2_scale)) / m + weight_decay * abs(W2),
        b2=reach.mean(axis=0),
    )
    bend = beta * (rho / r**2 + (1 - rho) / (1 - r) ** 2)  # (p,) ds / drho_hat
    condition = Parameters(
        W1=bend[:, None] * (q.T @ abs(x)) / m,
        b1=bend * q.mean(axis=0),
        W2=np.zeros_like(W2),
        b2=np.zeros_like(b2),
    )
    shake = beta * (abs(rho * np.log(rho / r)) + abs((1 - rho) * np.log((1 - rho) / (1 - r)))) + abs(s) * rho_hat
    cost_scale = float((reach * abs(a3 - y) + np.square(a3 - y)).sum() / m + decay + shake.sum())
    hidden = (a2 + q * z2_scale).mean(axis=0)
    most = (1 + abs(s).max() + abs(W2).sum(axis=0).max()) * (1 + abs(x).max())
    return Reference(float(cost), gradient, cost_scale, scale, condition, rho_hat, float(most), hidden)


def _logistic(z: Float) -> Float:
    """1 / (1 + exp(-z)) from the side where exp does not overflow."""
    e = np.exp(-np.abs(z))
    a: Float = np.where(z >= 0, 1, e) / (1 + e)
    return a
