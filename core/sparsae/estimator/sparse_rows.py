"""A sparse matrix whose rows become dense block by block, when they are read."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray


@final
class SparseRows:
    """Rows of a sparse matrix, with shape, dtype and row slicing: what `Objective` reads block by block.

    The matrix is never dense as a whole, unless all of it is kept in memory for a fit because it is small.

    Parameters
    ----------
    matrix : scipy.sparse matrix or array (n_samples, n_visible)
        In CSR format, of float32 or float64.
    """

    def __init__(self, matrix: Any) -> None:
        self._matrix = matrix
        self.shape: tuple[int, int] = matrix.shape
        self.dtype: np.dtype[Any] = matrix.dtype

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.intp]) -> NDArray[Any]:
        """Return those rows as a new dense array."""
        dense: NDArray[Any] = self._matrix[rows].toarray()
        return dense
