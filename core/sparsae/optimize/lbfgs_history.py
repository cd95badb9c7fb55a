"""The limited memory of L-BFGS in compact form.

Source: Byrd, Nocedal, Schnabel, *Representations of quasi-Newton matrices and their use in limited memory methods*,
Mathematical Programming 63 (1994), theorem 2.2 and equation 3.1.

With the pairs s_i = theta_{i+1} - theta_i and y_i = gradient_{i+1} - gradient_i as the columns of S and Y, in order of
time, R the upper triangle of S'Y, D its diagonal and gamma = s'y / y'y of the last pair,

    H g = gamma g + S R^-T ((D + gamma Y'Y) u - gamma Y'g) - gamma Y u,    u = R^-1 S'g.

All rows are stored in one matrix, s and y alternating, so that a direction takes two products with it:
one for S'g and Y'g, one for the combination.
The small matrices need no product of their own: S'y and Y'y are differences of successive S'g and Y'g.
"""

from __future__ import annotations

from typing import final

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dtrsv

from sparsae.optimize.objective_functions import Vector


@final
class CurvatureHistory:
    """The last `memory` pairs (s, y) and their inner products.

    It is changed in place and belongs to the newest state: copying 20 pairs of 300,000 parameters would take longer
    than using them.

    Parameters
    ----------
    size : int
        Number of parameters.
    memory : int
        Number of pairs kept.

    Attributes
    ----------
    rows : ndarray (2 memory, size)
        Ring of s (even rows) and y (odd rows).
    count, first : int
        How many pairs there are, and which slot holds the oldest.
    sy, yy : ndarray (memory, memory)
        s_i'y_j for i <= j, and y_i'y_j, in order of time.
    products : ndarray (2 memory,)
        rows @ gradient at the present point; of the rows that exist.
    spare : ndarray (2, size)
        Scratch for the pair of the present step.
    version : int
        Grows with every change, so that a state can tell that it is not the newest one.
    """

    __slots__ = ("count", "first", "memory", "products", "rows", "size", "spare", "sy", "version", "yy")

    def __init__(self, size: int, memory: int) -> None:
        self.size, self.memory = size, memory
        self.rows = np.zeros((2 * memory, size))
        self.spare = np.empty((2, size))
        self.sy = np.zeros((memory, memory), order="F")
        self.yy = np.zeros((memory, memory), order="F")
        self.products = np.zeros(2 * memory)
        self.count = self.first = self.version = 0

    def clear(self) -> None:
        """Drop every pair."""
        self.version += 1
        self.count = self.first = 0
        self.products[:] = 0

    def update_products(self, gradient: Vector) -> Vector:
        """Store the inner products of the rows with the gradient at a new point.

        Returns
        -------
        ndarray (2 count,)
            rows @ (gradient - gradient before), which `add` takes.
        """
        self.version += 1
        used = 2 * self.count
        new = self.rows[:used] @ gradient
        difference: Vector = new - self.products[:used]
        self.products[:used] = new
        return difference

    def add(self, s: Vector, y: Vector, difference: Vector, gradient: Vector, sy: float, yy: float) -> None:
        """Add a pair; it replaces the oldest one when the history is full.

        Parameters
        ----------
        s, y : ndarray (size,)
        difference : ndarray (2 count,)
            rows @ y, from `update_products`.
        gradient : ndarray (size,)
            At the new point.
        sy, yy : float
            s'y and y'y.
        """
        self.version += 1
        order = self._order()
        s_y, y_y = difference[2 * order], difference[2 * order + 1]
        if self.count == self.memory:
            slot = self.first
            self.first = (self.first + 1) % self.memory
            self.sy[:-1, :-1] = self.sy[1:, 1:]
            self.yy[:-1, :-1] = self.yy[1:, 1:]
            s_y, y_y = s_y[1:], y_y[1:]
            last = self.memory - 1
        else:
            slot = last = self.count
            self.count += 1
        self.rows[2 * slot], self.rows[2 * slot + 1] = s, y
        self.sy[:last, last] = s_y
        self.sy[last, last] = sy
        self.yy[:last, last] = self.yy[last, :last] = y_y
        self.yy[last, last] = yy
        self.products[2 * slot] = s @ gradient
        self.products[2 * slot + 1] = y @ gradient

    def descent(self, gradient: Vector) -> Vector:
        """Return -H g at the point of the last `update_products`; -g while there are no pairs."""
        k = self.count
        if k == 0:
            return -gradient
        order = self._order()
        s_g, y_g = self.products[2 * order], self.products[2 * order + 1]  # (k,)
        sy, yy = self.sy[:k, :k], self.yy[:k, :k]
        gamma = sy[-1, -1] / yy[-1, -1]
        u = dtrsv(sy, s_g)  # (k,)
        v = dtrsv(sy, sy.diagonal() * u + gamma * (yy @ u - y_g), trans=1)  # (k,)
        weights = np.empty(2 * k)
        weights[2 * order] = -v
        weights[2 * order + 1] = gamma * u
        direction: Vector = weights @ self.rows[: 2 * k]
        direction -= gamma * gradient
        return direction

    def _order(self) -> NDArray[np.intp]:
        """Return the slots from the oldest pair to the newest."""
        return (self.first + np.arange(self.count)) % self.memory
