"""The reference: cost and gradient in plain float64, and how far a correct implementation may be from them.

Nothing here is fast, and no code is shared with what is compared with it, the formulas included.
The guard, the conformance kit, the race and the tests compare every backend, bundled or not, with this.

Source: Ng, *Sparse autoencoder*, CS294A lecture notes, equations for J_sparse and its gradient; UFLDL.
"""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsae._types import Output
from sparsae.model import Parameters

Vector = NDArray[np.float64]
KL_EDGE = 1e-6  # outside [KL_EDGE, 1 - KL_EDGE] the sparsity term continues along its tangent
ERROR_CONSTANT = 1.0  # C of the error model
ALL_ROWS = 10_000  # of a block, where the block size is not known


@final
class Comparison(NamedTuple):
    """A quantity beside its correct value, and the error that rounding explains.

    Attributes
    ----------
    name : str
    found, expected, bound : ndarray
        `bound` has a shape that broadcasts to that of `expected`.
    """

    name: str
    found: NDArray[Any]
    expected: NDArray[Any]
    bound: NDArray[Any]

    @property
    def ratio(self) -> float:
        """Largest error in units of what rounding explains; infinite for NaN and for a wrong shape."""
        if self.found.shape != self.expected.shape:
            return np.inf
        error, bound = self._error(), np.broadcast_to(self.bound, self.expected.shape)
        ratios = np.divide(error, bound, out=np.where(error == 0, 0.0, np.inf), where=bound > 0)
        return float(np.max(np.where(np.isfinite(error), ratios, np.inf), initial=0.0))

    @property
    def agrees(self) -> bool:
        """Whether every error is explained by rounding; NaN never agrees."""
        return self.found.shape == self.expected.shape and bool(np.all(self._error() <= self.bound))

    def __str__(self) -> str:
        """Say by how much it is off, where, and how much rounding explains."""
        if self.found.shape != self.expected.shape:
            return f"{self.name} has shape {self.found.shape}; expected {self.expected.shape}"
        error, bound = self._error(), np.broadcast_to(self.bound, self.expected.shape)
        wrong = ~(error <= bound)
        excess = np.where(np.isfinite(error), error, np.inf) / np.maximum(bound, np.finfo(np.float64).tiny)
        worst = np.unravel_index(int(np.argmax(np.where(wrong, excess, -1))), error.shape)
        where = f" at {[int(i) for i in worst]}" if error.ndim else ""
        return (
            f"{self.name} is {float(self.found[worst]):.9g}{where} and should be {float(self.expected[worst]):.9g}: "
            f"off by {float(error[worst]):.3g} where rounding explains {float(bound[worst]):.3g} "
            f"({int(wrong.sum())} of {wrong.size} wrong)"
        )

    def _error(self) -> NDArray[Any]:
        with np.errstate(invalid="ignore"):  # infinity - infinity
            return np.asarray(np.abs(self.found - self.expected))


def compare(name: str, found: ArrayLike, expected: ArrayLike, bound: ArrayLike) -> Comparison:
    """Return the comparison of anything that arrays can be made from."""
    return Comparison(name, np.asarray(found), np.asarray(expected), np.asarray(bound))


@final
class Reference(NamedTuple):
    """Cost and gradient at one point, with the scales of the error model.

    A scale is the sum of the absolute values of the terms that a quantity is the sum of.

    Attributes
    ----------
    cost : float
        J = squared error / 2m + weight_decay / 2 (|W1|^2 + |W2|^2) + beta sum KL(rho || rho_hat).
    gradient : Parameters
        Of the cost; biases are not decayed.
    rho_hat : ndarray (n_hidden,)
        Mean activations.
    squared_error : float
        The first term of the cost.
    cost_scale : float
    gradient_scale : Parameters
    rho_hat_scale : ndarray (n_hidden,)
        Rounding in the pre-activation included.
    squared_error_scale : float
    sparsity : ndarray (n_hidden,)
        The sparsity vector.
    rho_hat_sensitivity : Parameters
        What one unit of relative error in rho_hat adds to each component of the gradient.
    underflow_sensitivity : float
        What one unit of absolute error in an activation can do to a component of the gradient at most;
        it matters where activations underflow.
    """

    cost: float
    gradient: Parameters
    rho_hat: Vector
    squared_error: float
    cost_scale: float
    gradient_scale: Parameters
    rho_hat_scale: Vector
    squared_error_scale: float
    sparsity: Vector
    rho_hat_sensitivity: Parameters
    underflow_sensitivity: float

    def bound(self, dtype: object, block_rows: int | None = None) -> tuple[float, Parameters]:
        """Largest errors of cost and gradient that rounding explains, for work in `dtype`.

        C eps (sqrt n + sqrt p + sqrt block_rows) times the scale of the terms,
        plus the effect of errors of the mean activations.
        Sums across blocks are float64 by promise, so that only the rows of one block (default: 10,000) count.
        """
        info = np.finfo(np.dtype(dtype))  # type: ignore[call-overload]  # its overloads know no np.dtype[Any]
        eps, floor = float(info.eps), 4 * float(info.tiny) * self.underflow_sensitivity
        factor = self._factor(eps, block_rows)
        gradient = [
            factor * scale + 4 * eps * sensitivity + floor
            for scale, sensitivity in zip(self.gradient_scale, self.rho_hat_sensitivity, strict=True)
        ]
        return factor * self.cost_scale, Parameters(*gradient)

    def errors(
        self,
        dtype: object,
        *,
        block_rows: int | None = None,
        cost: float | None = None,
        gradient: Parameters | None = None,
        rho_hat: Vector | None = None,
        squared_error: float | None = None,
    ) -> list[Comparison]:
        """Compare what an implementation found with the reference.

        Parameters
        ----------
        dtype : dtype
            What it computes in.
        block_rows : int, optional
            Rows of the blocks whose sums it adds in that dtype; 10,000 when left out.
        cost, gradient, rho_hat, squared_error
            What it found; what is left out is not compared.

        Returns
        -------
        list of Comparison
            One for each quantity given, one for each part of the gradient.
        """
        info = np.finfo(np.dtype(dtype))  # type: ignore[call-overload]  # its overloads know no np.dtype[Any]
        eps, tiny = float(info.eps), float(info.tiny)
        factor = self._factor(eps, block_rows)
        cost_bound, gradient_bound = self.bound(dtype, block_rows)
        # The errors granted to the mean activations reach the cost through the sparsity term.
        cost_bound += float(4 * eps * (abs(self.sparsity) * self.rho_hat_scale).sum())
        found: list[Comparison] = []
        if rho_hat is not None:
            found.append(compare("mean activation", rho_hat, self.rho_hat, factor * self.rho_hat_scale + 4 * tiny))
        if squared_error is not None:
            bound = factor * self.squared_error_scale
            found.append(compare("squared error", squared_error, self.squared_error, bound))
        if cost is not None:
            found.append(compare("cost", cost, self.cost, cost_bound))
        if gradient is not None:
            parts = zip(self.gradient.names, gradient, self.gradient, gradient_bound, strict=True)
            found += [compare(f"gradient of {name}", part, true, bound) for name, part, true, bound in parts]
        return found

    def _factor(self, eps: float, block_rows: int | None) -> float:
        p, n = self.gradient.W1.shape
        return float(ERROR_CONSTANT * eps * (np.sqrt(n) + np.sqrt(p) + np.sqrt(block_rows or ALL_ROWS)))


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
    a3 = _logistic(z3) if output == "sigmoid" else z3  # (m, n)
    slope3 = a3 * (1 - a3) if output == "sigmoid" else np.ones_like(a3)  # (m, n)
    rho_hat = a2.mean(axis=0)  # (p,)

    r = np.clip(rho_hat, KL_EDGE, 1 - KL_EDGE)  # (p,)
    s = beta * (-rho / r + (1 - rho) / (1 - r))  # (p,) the derivative at the edge is the slope of the tangent beyond it
    kl = rho * np.log(rho / r) + (1 - rho) * np.log((1 - rho) / (1 - r))  # (p,)
    squared_error = np.square(a3 - y).sum() / (2 * m)
    decay = weight_decay / 2 * (np.square(W1).sum() + np.square(W2).sum())
    cost = squared_error + decay + beta * kl.sum() + (s * (rho_hat - r)).sum()

    delta3 = (a3 - y) * slope3  # (m, n)
    q = a2 * (1 - a2)  # (m, p)
    delta2 = (delta3 @ W2 + s) * q  # (m, p)
    gradient = Parameters(
        W1=delta2.T @ x / m + weight_decay * W1,  # (p, n)
        b1=delta2.mean(axis=0),  # (p,)
        W2=delta3.T @ a2 / m + weight_decay * W2,  # (n, p)
        b2=delta3.mean(axis=0),  # (n,)
    )

    # Outputs are granted absolute accuracy eps (they are in no denominator) and what rounding in z3 does to them:
    # a3_error, in units of eps.  delta3_scale is what that does to delta3, and at least |delta3|.
    z3_scale = 1 + a2 @ abs(W2).T + abs(b2)  # (m, n)
    a3_error = 1 + slope3 * z3_scale if output == "sigmoid" else z3_scale + abs(y)  # (m, n)
    delta3_scale = a3_error * (slope3 + abs(a3 - y)) if output == "sigmoid" else a3_error  # (m, n)
    # Hidden activations are granted accuracy relative to themselves (rho_hat is in a denominator),
    # which is absolute accuracy eps for 1 - a2 where a unit is always on.
    z2_scale = 1 + abs(x) @ abs(W1).T + abs(b1)  # (m, p)
    a2_scale = a2 + q * z2_scale  # (m, p)
    back_scale = abs(delta3) @ abs(W2) + abs(s)  # (m, p)
    delta2_scale = (delta3_scale @ abs(W2)) * q + back_scale * (q * z2_scale + a2**2)  # (m, p)
    gradient_scale = Parameters(
        W1=delta2_scale.T @ abs(x) / m + weight_decay * abs(W1),  # (p, n)
        b1=delta2_scale.mean(axis=0),  # (p,)
        W2=(delta3_scale.T @ a2 + abs(delta3).T @ a2_scale) / m + weight_decay * abs(W2),  # (n, p)
        b2=delta3_scale.mean(axis=0),  # (n,)
    )
    s_slope = beta * (rho / r**2 + (1 - rho) / (1 - r) ** 2)  # (p,) ds / drho_hat
    rho_hat_sensitivity = Parameters(
        W1=s_slope[:, None] * (q.T @ abs(x)) / m,  # (p, n)
        b1=s_slope * q.mean(axis=0),  # (p,)
        W2=np.zeros_like(W2),
        b2=np.zeros_like(b2),
    )
    kl_scale = beta * (abs(rho * np.log(rho / r)) + abs((1 - rho) * np.log((1 - rho) / (1 - r))))  # (p,)
    squares_scale = (delta3_scale * abs(a3 - y) + np.square(a3 - y)).sum() / m
    largest_weight = 1 + abs(s).max() + abs(W2).sum(axis=0).max()
    return Reference(
        cost=float(cost),
        gradient=gradient,
        rho_hat=rho_hat,
        squared_error=float(squared_error),
        cost_scale=float(squares_scale + decay + (kl_scale + abs(s) * rho_hat).sum()),
        gradient_scale=gradient_scale,
        rho_hat_scale=a2_scale.mean(axis=0),
        squared_error_scale=float(squares_scale),
        sparsity=s,
        rho_hat_sensitivity=rho_hat_sensitivity,
        underflow_sensitivity=float(largest_weight * (1 + abs(x).max())),
    )


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
    factor : float
        The error that rounding explains is factor eps (sqrt m + sqrt n) times the sum of absolute values of the terms.
    """
    expected, scale = gradient_sums(a1, a2, a3, W2, sparsity, target, output)
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
) -> tuple[Parameters, Parameters]:
    """Gradient sums of given activations in float64, and the sums of the absolute values of their terms."""
    x, h, o, v, s, y = (np.asarray(a, dtype=np.float64) for a in (a1, a2, a3, W2, sparsity, target))
    slope3 = o * (1 - o) if output == "sigmoid" else np.ones_like(o)  # (m, n)
    delta3, scale3 = (o - y) * slope3, (abs(o) + abs(y)) * abs(slope3)  # (m, n)
    q = h * (1 - h)  # (m, p)
    delta2, scale2 = (delta3 @ v + s) * q, (scale3 @ abs(v) + abs(s)) * abs(h)  # (m, p)
    sums = Parameters(delta2.T @ x, delta2.sum(axis=0), delta3.T @ h, delta3.sum(axis=0))
    return sums, Parameters(scale2.T @ abs(x), scale2.sum(axis=0), scale3.T @ abs(h), scale3.sum(axis=0))


def _logistic(z: Vector) -> Vector:
    """1 / (1 + exp(-z)) from the side where exp does not overflow."""
    e = np.exp(-np.abs(z))
    a: Vector = np.where(z >= 0, 1, e) / (1 + e)
    return a
