"""A quantity beside its correct value."""

from __future__ import annotations

from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import ArrayLike, NDArray


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
        with np.errstate(over="ignore"):  # where the bound is 0
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
