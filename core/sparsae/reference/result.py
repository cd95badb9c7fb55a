"""The result of the reference, and how far a correct implementation may be from it."""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae.model import Parameters
from sparsae.reference.comparison import Comparison, compare
from sparsae.reference.kinks import Kinks

Vector = NDArray[np.float64]
ERROR_CONSTANT = 1.0  # C of the error model
ALL_ROWS = 10_000  # of a block, where the block size is not known


@final
class Reference(NamedTuple):
    """Cost and gradient at one point, with the scales of the error model.

    A scale is the sum of the absolute values of the terms that a quantity is the sum of.

    Attributes
    ----------
    cost : float
        J = squared error / 2m + weight_decay / 2 (|W1|^2 + |W2|^2) + the penalty of the hidden unit.
    gradient : Parameters
        Of the cost; biases are not decayed.
    rho_hat : ndarray (n_hidden,)
        Mean activations.
    density : ndarray (n_hidden,)
        Share of the rows in which each unit is active.
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
    kinks : Kinks or None
        What undecided slopes of relu units may do to the gradient.
    """

    cost: float
    gradient: Parameters
    rho_hat: Vector
    density: Vector
    squared_error: float
    cost_scale: float
    gradient_scale: Parameters
    rho_hat_scale: Vector
    squared_error_scale: float
    sparsity: Vector
    rho_hat_sensitivity: Parameters
    underflow_sensitivity: float
    kinks: Kinks | None = None

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
        if self.kinks is not None:
            gradient = [bound + slack for bound, slack in zip(gradient, self.kinks.slack(dtype), strict=True)]
        return factor * self.cost_scale, Parameters(*gradient)

    def errors(
        self,
        dtype: object,
        *,
        block_rows: int | None = None,
        cost: float | None = None,
        gradient: Parameters | None = None,
        rho_hat: Vector | None = None,
        density: Vector | None = None,
        squared_error: float | None = None,
    ) -> list[Comparison]:
        """Compare what an implementation found with the reference.

        Parameters
        ----------
        dtype : dtype
            What it computes in.
        block_rows : int, optional
            Rows of the blocks whose sums it adds in that dtype; 10,000 when left out.
        cost, gradient, rho_hat, density, squared_error
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
        if density is not None:
            undecided = 0.0 if self.kinks is None else self.kinks.share(dtype)
            found.append(compare("density", density, self.density, undecided + 4 * eps))
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
