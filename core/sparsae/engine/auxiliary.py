"""The auxiliary loss that revives dead units: they reconstruct, with W2 alone, what the model leaves over.

aux min(d / k_aux, 1) 1/(2m) sum |e - e_hat|^2, with e = target - a3 held constant, d the number of dead units, and
e_hat from the k_aux largest activations of dead units in each row.  It is the same kernel on the sub-model
(W1[dead], b1[dead], W2[:, dead]) with e as target, so that its gradient reaches all three.

Source: Gao et al. 2024, arXiv 2406.04093, section A.2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.engine.engine import Engine
from sparsae.engine.kernel_calls import make_kernel
from sparsae.engine.partition import Partition
from sparsae.engine.sources import DataSource
from sparsae.engine.storage import Storage
from sparsae.errors import BackendDeclinedError
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel, Backend, Problem

LEAST_UNITS = 16  # of a sub-model, which has a power of two of them: kernels are used again while units die and revive


@final
class AuxiliaryTerm(NamedTuple):
    """The auxiliary loss at one point, and its gradient.

    Attributes
    ----------
    value : float
    units : ndarray (d,) of int
        The dead units.
    W1, b1, W2 : ndarrays (d, n), (d,), (n, d) float64
        The gradient with respect to their weights; all other components are 0.
    """

    value: float
    units: NDArray[np.intp]
    W1: NDArray[np.float64]
    b1: NDArray[np.float64]
    W2: NDArray[np.float64]

    def add_to(self, gradient: Parameters) -> None:
        """Add it to the gradient of the cost, in place."""
        gradient.W1[self.units] += self.W1
        gradient.b1[self.units] += self.b1
        gradient.W2[:, self.units] += self.W2


@final
class AuxiliaryLoss:
    """Evaluates the auxiliary loss on the rows of mini-batches, on the row workers of a backend.

    Parameters
    ----------
    backend : Backend
    problem : Problem
        Of the model; `block_rows` is used for the sub-model too.
    workers : int
    aux : float
    k_aux : int
    pre_bias : bool

    Raises
    ------
    BackendDeclinedError
        When the backend cannot compute top-k units with a linear output.
    """

    def __init__(
        self, *, backend: Backend, problem: Problem, workers: int, aux: float, k_aux: int, pre_bias: bool
    ) -> None:
        self._backend, self._workers = backend, workers
        self._aux, self._k_aux, self._pre_bias = aux, k_aux, pre_bias
        self._problem = replace(problem, activation="topk", k=k_aux, bandwidth=None, output="linear")
        self._kernels: dict[int, list[AnyKernel]] = {}
        reason = backend.declines(self._problem)
        if reason is not None:
            raise BackendDeclinedError(
                f"Backend {backend.name!r} cannot compute the auxiliary loss: {reason}. Use aux=0, or another backend."
            )

    def evaluate(self, parameters: Parameters, x: Array, error: Array, dead: NDArray[np.bool_]) -> AuxiliaryTerm | None:
        """Return the loss over some rows, and its gradient; None while no unit is dead.

        Parameters
        ----------
        parameters : Parameters
            Of the model, before a pre-bias is folded in.
        x, error : ndarray (m, n)
            The rows, and target - a3 of the model, in the problem's dtype.
        dead : ndarray of bool (p,)

        Raises
        ------
        BackendError
            When the kernel raised.
        """
        units = np.flatnonzero(dead)
        if not units.size:
            return None
        weight = self._aux * min(units.size / self._k_aux, 1.0)
        given = self._sub_model(parameters, units)
        engine = self._engine(x, error, given.n_hidden)
        try:
            sums = engine.evaluate(given, np.zeros(given.n_hidden))
        finally:
            engine.close()
        d, scale = units.size, weight / sums.rows
        W1, b1, W2 = scale * sums.W1[:d], scale * sums.b1[:d], scale * sums.W2[:, :d]
        if self._pre_bias:
            W1 -= np.outer(b1, parameters.b2)
        return AuxiliaryTerm(weight * sums.squared_error / (2 * sums.rows), units, W1, b1, W2)

    def _sub_model(self, parameters: Parameters, units: NDArray[np.intp]) -> Parameters:
        """Return the dead units as a model without b2; units that are never active fill it up to a power of two."""
        size = max(LEAST_UNITS, 1 << (units.size - 1).bit_length())
        W1, b1, W2, b2, *_ = parameters
        n = len(b2)
        sub = Parameters.from_flat(np.zeros(2 * n * size + size + n, self._problem.dtype), n, size)
        sub.W1[: units.size], sub.b1[: units.size], sub.W2[:, : units.size] = W1[units], b1[units], W2[:, units]
        if self._pre_bias:
            sub.b1[: units.size] -= W1[units] @ b2
        return sub

    def _engine(self, x: Array, error: Array, size: int) -> Engine:
        """Return an engine for a sub-model of that size on these rows; kernels are used again."""
        partition = Partition(len(x), min(self._problem.block_rows, len(x)))
        problem = replace(self._problem, n_hidden=size, k=min(self._k_aux, size))
        workers = min(self._workers, partition.n_segments)
        kernels = self._kernels.setdefault(size, [])
        while len(kernels) < workers:
            kernels.append(make_kernel(self._backend, problem))
        return Engine(
            DataSource(x, "X"),
            DataSource(error, "error"),
            backend=self._backend,
            problem=problem,
            partition=partition,
            storage=Storage(kept=False, passes=1),
            workers=workers,
            kernels=kernels[:workers],
        )
