"""What kernels add to and row workers combine: the sums over rows that cost and gradient are made of."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple, Self, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import FLOATS
from sparsae.errors import ParameterError


@final
class SumsLayout(NamedTuple):
    """Where each quantity of `Sums` starts in its vector, and the sizes of the vector; for compiled code.

    Attributes
    ----------
    rows, squared_error, hidden, fired, near, W1, W2, b1, b2, threshold, W1_sparsity, b1_sparsity : int
        Index of the first number.  Matrices are stored row by row.
        W1 to threshold lie in the order of `Parameters.flatten`.
    size : int
        Length of the vector.
    """

    rows: int
    squared_error: int
    hidden: int
    fired: int
    near: int
    W1: int
    W2: int
    b1: int
    b2: int
    threshold: int
    W1_sparsity: int
    b1_sparsity: int
    size: int

    @property
    def head_size(self) -> int:
        """Length of the vector without the q-sums."""
        return self.W1_sparsity

    @classmethod
    def of(cls, n_visible: int, n_hidden: int) -> Self:
        """Return the layout for n inputs and p hidden units."""
        n, p = n_visible, n_hidden
        return cls(*accumulate((1, 1, p, p, p, p * n, n * p, p, n, p, p * n, p), initial=0))


@final
class Sums:
    """Sums over rows, in one flat vector with named views: float64, or float32 where a kernel offers that.

    Adding, sending, saving and checking it is one operation on `vector`.
    The q-sums, which only one pass needs, are last, so that two passes add `head` alone.

    Attributes
    ----------
    vector : ndarray (size,) of float64 or float32
        Everything below, in this order.  float32 for mini-batches of large models, where the kernel has `direct_sums`.
    layout : SumsLayout
        Where each of them starts in the vector.
    rows : float
        Number of rows.
    squared_error : float
        sum |a3 - target|^2, without the factor 1/2.
    hidden : ndarray (p,)
        sum a2.
    fired : ndarray (p,)
        Number of rows in which a2 is not 0.  A kernel leaves it out for the sigmoid unit, which is always active.
    near : ndarray (p,)
        Number of rows in which the pre-activation lies within half the bandwidth of the threshold
        (activation "jumprelu" with a bandwidth only).
    W1, b1, W2, b2 : ndarrays (p, n), (p,), (n, p), (n,)
        sum delta2' x, sum delta2, sum delta3' a2, sum delta3.
    threshold : ndarray (p,)
        sum delta3 W2 over the rows that `near` counts.
    W1_sparsity, b1_sparsity : ndarrays (p, n), (p,)
        The q-sums: sum q' x, sum q with q = a2 (1 - a2), the slope of the hidden unit.
        The sparsity vector is multiplied by them (one pass only).
    gradient : ndarray (2 n p + 2 p + n,)
        View of W1, W2, b1, b2 and threshold.
    head : ndarray
        View of the vector without the q-sums.

    Raises
    ------
    ParameterError
        When a vector of another dtype or length is given.
    """

    __slots__ = (
        "W1",
        "W1_sparsity",
        "W2",
        "b1",
        "b1_sparsity",
        "b2",
        "fired",
        "gradient",
        "head",
        "hidden",
        "layout",
        "n_hidden",
        "n_visible",
        "near",
        "threshold",
        "vector",
    )

    def __init__(self, n_visible: int, n_hidden: int, vector: NDArray[Any] | None = None) -> None:
        n, p = n_visible, n_hidden
        self.n_visible, self.n_hidden = n, p
        at = self.layout = SumsLayout.of(n, p)
        if vector is None:
            vector = np.zeros(at.size)
        elif vector.shape != (at.size,) or vector.dtype not in FLOATS:
            raise ParameterError(
                f"Sums({n}, {p}) needs a vector ({at.size},) of float64 or float32; "
                f"given {vector.dtype} {vector.shape}."
            )
        self.vector = vector
        self.head = vector[: at.head_size]
        self.hidden = vector[at.hidden : at.fired]
        self.fired = vector[at.fired : at.near]
        self.near = vector[at.near : at.W1]
        self.gradient = vector[at.W1 : at.W1_sparsity]
        self.W1 = vector[at.W1 : at.W2].reshape(p, n)
        self.W2 = vector[at.W2 : at.b1].reshape(n, p)
        self.b1 = vector[at.b1 : at.b2]
        self.b2 = vector[at.b2 : at.threshold]
        self.threshold = vector[at.threshold : at.W1_sparsity]
        self.W1_sparsity = vector[at.W1_sparsity : at.b1_sparsity].reshape(p, n)
        self.b1_sparsity = vector[at.b1_sparsity :]

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
