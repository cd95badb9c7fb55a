"""`ZCA`: whitening that stays closest to the data.

Source: Bell and Sejnowski, Vision Research 37 (1997) 3327.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import NDArray

from sparsae.engine.moments import ColumnMoments
from sparsae.errors import DataError, ParameterError
from sparsae.machine.resources import gibibytes, memory_limit
from sparsae.model.checks import as_number
from sparsae.transforms.base import Affine, Rows, Transform
from sparsae.transforms.checks import check_names, read_array, read_size

COPIES = 5  # matrices (n_visible, n_visible) that fitting needs: products, eigenvectors, work, result
SYMMETRIC = 1e-9  # largest relative asymmetry of a matrix that was fitted; rounding leaves 1e-15


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class ZCA(Transform):
    """Whitens: ``(X - mean) @ matrix``, whose covariance is the identity where the variance is well above the floor.

    The option `epsilon` of `fit` (default 0.01) is added to the variances, as a share of the largest one, so that noise
    is not blown up.

    Attributes
    ----------
    mean : ndarray (n_visible,)
    matrix : ndarray (n_visible, n_visible)
        ``E diag(1 / sqrt(variance + floor)) E'``: symmetric and positive definite.
    """

    name: ClassVar[str] = "zca"
    n_visible: int
    mean: Rows
    matrix: Rows

    @classmethod
    def fitter(cls, n_visible: int, **options: Any) -> ZCAFitter:
        """Return what finds mean and covariance; the option is `epsilon`, at least 0."""
        return ZCAFitter(n_visible, **options)

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make it from mean and matrix."""
        check_names("settings", settings, ("n_visible",))
        check_names("arrays", arrays, ("mean", "matrix"))
        n = read_size(settings, "n_visible")
        matrix = read_array(arrays, "matrix", (n, n))
        if not (np.abs(matrix - matrix.T) <= SYMMETRIC * np.abs(matrix).max()).all() or not (np.diag(matrix) > 0).all():
            raise ValueError("its matrix is not symmetric and positive definite")
        return cls(n_visible=n, mean=read_array(arrays, "mean", (n,)), matrix=matrix)

    def settings(self) -> dict[str, Any]:
        """Return n_visible."""
        return {"n_visible": self.n_visible}

    def arrays(self) -> dict[str, Rows]:
        """Return mean and matrix."""
        return {"mean": self.mean, "matrix": self.matrix}

    @property
    def summary(self) -> str:
        """What becomes of the covariance."""
        return "zca (whitened, mean 0)"

    def apply_rows(self, rows: Rows) -> Rows:
        """Take off the mean, whiten."""
        result: Rows = (rows - self.mean) @ self.matrix
        return result

    def invert_rows(self, rows: Rows) -> Rows:
        """Colour again, add the mean."""
        result: Rows = rows @ self.inverse_matrix
        result += self.mean
        return result

    def affine(self) -> Affine:
        """The matrix and the offset."""
        return Affine(self.matrix, -self.mean @ self.matrix)

    @cached_property
    def inverse_matrix(self) -> Rows:
        """Inverse of the matrix, computed when it is first needed.

        Raises
        ------
        DataError
            When the matrix is singular to rounding, as with epsilon 0 on columns that depend on each other.
        """
        values, vectors = np.linalg.eigh(self.matrix)
        if not values[0] > 0:
            raise DataError(
                "The matrix of the transform 'zca' is singular and has no inverse; fit with a larger epsilon."
            )
        inverse: Rows = (vectors / values) @ vectors.T
        return inverse


@final
class ZCAFitter:
    """Finds mean and covariance.

    Parameters
    ----------
    n_visible : int
    epsilon : float
    """

    def __init__(self, n_visible: int, *, epsilon: float = 0.01) -> None:
        if not 0 <= as_number("epsilon", epsilon) < np.inf:
            raise ParameterError(f"epsilon must be a number of at least 0, not {epsilon!r}.")
        needed = COPIES * 8 * n_visible**2
        if needed > memory_limit() // 2:
            raise ParameterError(
                f"Whitening {n_visible:,} columns needs {gibibytes(needed)} for the covariance and its eigenvectors, "
                f"more than half of the memory; use standardise, or fewer columns."
            )
        self._epsilon = float(epsilon)
        self._moments = ColumnMoments(n_visible, products=True)

    def add(self, rows: Rows) -> None:
        """Take in rows."""
        self._moments.add(rows)

    def finish(self, name: str = "X") -> ZCA:
        """Return the whitening."""
        mean = self._moments.mean(name)
        variances, directions = np.linalg.eigh(self._moments.spread / self._moments.count)
        if not variances[-1] > 0:
            raise ParameterError(f"All rows of {name} are equal; there is nothing to whiten.")
        floor = max(self._epsilon * float(variances[-1]), np.finfo(np.float64).tiny)
        matrix = (directions / np.sqrt(np.maximum(variances, 0) + floor)) @ directions.T
        return ZCA(n_visible=len(mean), mean=mean, matrix=(matrix + matrix.T) / 2)
