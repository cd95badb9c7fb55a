"""What kernels add to and row workers combine: the sums over rows that cost and gradient are made of."""

from __future__ import annotations

import math
from typing import Any, final

import numpy as np
from numpy.typing import NDArray


@final
class Sums:
    """Sums over rows, in one flat float64 vector with named views.

    Adding, sending, saving and checking it is one operation on `vector`.
    What only one pass needs (the q-sums) stands at the end, so that two passes add `head` alone.

    Attributes
    ----------
    vector : ndarray (size,) float64
        Everything below, in this order.
    rows : float
        Number of rows.
    squared_error : float
        sum |a3 - target|^2, without the factor 1/2.
    hidden : ndarray (p,)
        sum a2.
    W1, b1, W2, b2 : ndarrays (p, n), (p,), (n, p), (n,)
        sum delta2' x, sum delta2, sum delta3' a2, sum delta3.
    W1_sparsity, b1_sparsity : ndarrays (p, n), (p,)
        sum q' x, sum q with q = a2 (1 - a2): what the sparsity vector will be multiplied by (one pass only).
    head : ndarray
        View of the vector without the last two.
    """

    __slots__ = (
        "W1",
        "W1_sparsity",
        "W2",
        "b1",
        "b1_sparsity",
        "b2",
        "head",
        "hidden",
        "n_hidden",
        "n_visible",
        "vector",
    )

    def __init__(self, n_visible: int, n_hidden: int, vector: NDArray[np.float64] | None = None) -> None:
        n, p = n_visible, n_hidden
        shapes = {
            "hidden": (p,),
            "W1": (p, n),
            "b1": (p,),
            "W2": (n, p),
            "b2": (n,),
            "W1_sparsity": (p, n),
            "b1_sparsity": (p,),
        }
        self.n_visible, self.n_hidden = n, p
        size = 2 + sum(math.prod(shape) for shape in shapes.values())
        if vector is None:
            vector = np.zeros(size)
        elif vector.shape != (size,) or vector.dtype != np.float64:
            raise ValueError(f"Sums({n}, {p}) needs a float64 vector ({size},), not {vector.dtype} {vector.shape}.")
        self.vector = vector
        start = 2
        for name, shape in shapes.items():
            stop = start + math.prod(shape)
            setattr(self, name, vector[start:stop].reshape(shape))
            start = stop
        self.head = vector[: size - p * n - p]

    hidden: NDArray[np.float64]
    W1: NDArray[np.float64]
    b1: NDArray[np.float64]
    W2: NDArray[np.float64]
    b2: NDArray[np.float64]
    W1_sparsity: NDArray[np.float64]
    b1_sparsity: NDArray[np.float64]

    @property
    def rows(self) -> float:
        """Number of rows."""
        return float(self.vector[0])

    @rows.setter
    def rows(self, value: float) -> None:
        self.vector[0] = value

    @property
    def squared_error(self) -> float:
        """Sum of |a3 - target|^2."""
        return float(self.vector[1])

    @squared_error.setter
    def squared_error(self, value: float) -> None:
        self.vector[1] = value

    def __reduce__(self) -> tuple[Any, ...]:
        return Sums, (self.n_visible, self.n_hidden, self.vector)
