"""The cost and its gradient from sums over rows, written once: full batches, mini-batches and held-out rows use it.

J(W, b) = 1/(2m) sum |a3 - target|^2 + weight_decay/2 (|W1|^2 + |W2|^2) + beta sum_j KL(rho || rho_hat_j)

Source: Ng, *Sparse autoencoder*, CS294A lecture notes; UFLDL.  Biases are not decayed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Protocol, final

import numpy as np
from numpy.typing import NDArray

from sparsae.errors import ParameterError

KL_EDGE = 1e-6  # outside [KL_EDGE, 1 - KL_EDGE] the divergence continues along its tangent


@final
class Terms(NamedTuple):
    """The three terms of the cost; they add up to it."""

    squared_error: float
    weight_decay: float
    sparsity: float


@final
class Evaluation(NamedTuple):
    """Cost and gradient at one point, with what they are made of.

    Attributes
    ----------
    cost : float
    gradient : ndarray (size,) float64
        Flat, in the order of `Parameters.flatten`; a new array.
    terms : Terms
    rho_hat : ndarray (n_hidden,) float64
        Mean activation of each hidden unit.
    squared_error_sum : float
        sum |a3 - target|^2 over all rows.
    """

    cost: float
    gradient: NDArray[np.float64]
    terms: Terms
    rho_hat: NDArray[np.float64]
    squared_error_sum: float


class GradientSums(Protocol):
    """The part of `sparsae.Sums` that the cost is computed from; the sparsity vector is already applied."""

    rows: float
    squared_error: float
    hidden: NDArray[np.float64]
    W1: NDArray[np.float64]
    b1: NDArray[np.float64]
    W2: NDArray[np.float64]
    b2: NDArray[np.float64]


@final
@dataclass(frozen=True, kw_only=True)
class Cost:
    """The cost beside the data: its settings, checked.

    Attributes
    ----------
    rho : float
        Sparsity target, in (0, 1).
    beta, weight_decay : float
        Weights of the sparsity term and of the weight decay, at least 0.

    Raises
    ------
    ParameterError
        When a setting cannot be used; names it.
    """

    rho: float = 0.01
    beta: float = 3.0
    weight_decay: float = 1e-4

    def __post_init__(self) -> None:
        for field in fields(self):
            object.__setattr__(self, field.name, _finite(field.name, getattr(self, field.name)))
        if not 0 < self.rho < 1:
            raise ParameterError(f"rho must lie strictly between 0 and 1 (it is a mean activation); given {self.rho}.")
        for name in ("beta", "weight_decay"):
            if getattr(self, name) < 0:
                raise ParameterError(f"{name} must be at least 0; given {getattr(self, name)}.")

    def check_dtype(self, dtype: np.dtype[Any]) -> None:
        """Refuse a `beta` with which the sparsity vector overflows in that dtype.

        Raises
        ------
        ParameterError
            Names the largest `beta` that can be used.
        """
        largest = float(np.finfo(dtype).max) * KL_EDGE
        if self.beta > largest:
            raise ParameterError(
                f"beta={self.beta:g} overflows in {dtype}: the sparsity vector reaches beta / {KL_EDGE:g}. "
                f"Use a beta of at most {largest:.1g}."
            )

    def penalty(self, rho_hat: NDArray[np.float64]) -> float:
        """Return beta sum KL(rho || rho_hat) for mean activations (p,).

        Outside [1e-6, 1 - 1e-6] the divergence continues along its tangent,
        so that cost and gradient stay finite and consistent where a unit is always off or always on.
        """
        r = np.clip(rho_hat, KL_EDGE, 1 - KL_EDGE)  # (p,)
        divergence = self.rho * np.log(self.rho / r) + (1 - self.rho) * np.log((1 - self.rho) / (1 - r))  # (p,)
        return float(self.beta * divergence.sum() + (self.sparsity(rho_hat) * (rho_hat - r)).sum())

    def sparsity(self, rho_hat: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the sparsity vector s (p,): the derivative of `penalty` by the mean activations (p,)."""
        r = np.clip(rho_hat, KL_EDGE, 1 - KL_EDGE)  # (p,)
        s: NDArray[np.float64] = self.beta * ((1 - self.rho) / (1 - r) - self.rho / r)  # (p,)
        return s

    def terms(
        self, sums: GradientSums, theta: NDArray[np.float64], rho_hat: NDArray[np.float64] | None = None
    ) -> Terms:
        """Return the three terms of the cost; of `sums` only rows, squared_error and hidden are used.

        Parameters
        ----------
        sums : Sums
        theta : ndarray (size,) float64
            Flat parameters, in the order of `Parameters.flatten`.
        rho_hat : ndarray (p,), optional
            Mean activations; those of the rows when left out.
        """
        weights = theta[: 2 * sums.W1.size]
        return Terms(
            squared_error=sums.squared_error / (2 * sums.rows),
            weight_decay=self.weight_decay / 2 * float(weights @ weights),
            sparsity=self.penalty(sums.hidden / sums.rows if rho_hat is None else rho_hat),
        )

    def evaluate(
        self, sums: GradientSums, theta: NDArray[np.float64], rho_hat: NDArray[np.float64] | None = None
    ) -> Evaluation:
        """Return cost and gradient; parameters as in `terms`."""
        if rho_hat is None:
            rho_hat = sums.hidden / sums.rows  # (p,)
        gradient = np.concatenate([part.ravel() for part in (sums.W1, sums.W2, sums.b1, sums.b2)])  # (size,)
        gradient /= sums.rows
        n_weights = 2 * sums.W1.size
        gradient[:n_weights] += self.weight_decay * theta[:n_weights]
        terms = self.terms(sums, theta, rho_hat)
        return Evaluation(sum(terms), gradient, terms, rho_hat, sums.squared_error)


def _finite(name: str, value: object) -> float:
    """Return a finite number as a float."""
    try:
        number = float(value)  # type: ignore[arg-type]  # anything else is caught
    except (TypeError, ValueError, OverflowError):
        raise ParameterError(f"{name} must be a number; given {value!r}.") from None
    if not np.isfinite(number):
        raise ParameterError(f"{name} must be finite; given {value!r}.")
    return number
