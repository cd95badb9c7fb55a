"""Cost and gradient of mini-batches, on the row workers of the backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural
from sparsae.cost import Evaluation
from sparsae.engine.batch_engine import BatchEngine, BatchSums
from sparsae.model import Parameters
from sparsae.objective import Objective
from sparsae.optimize.base import MiniBatchEvaluation, Vector
from sparsae.optimize.stochastic import FLOAT64_PARAMETERS
from sparsae.optimize.update import BatchGradient
from sparsae.plugins.sums import Sums


@final
class MiniBatches:
    """Evaluates subsets of the rows of an objective, with an engine of its own.

    Parameters
    ----------
    objective : Objective
        Gives data, settings and backend; it is entered.
    batch_rows : int
        Rows in a mini-batch, at most.
    """

    def __init__(self, objective: Objective, batch_rows: int) -> None:
        self.batch_rows = min(batch_rows, objective.n_samples)
        self._objective = objective
        x, target = objective.sources
        self._engine = BatchEngine(
            x,
            target,
            backend=objective.backend,
            problem=objective.problem,
            granted=objective.grant,
            batch_rows=self.batch_rows,
            direct=objective.size > FLOAT64_PARAMETERS,
        )
        self._theta: Vector | None = None
        self.note = (
            f"Mini-batches of {plural(self.batch_rows, 'row')} ran in "
            f"{plural(self._engine.partition.n_blocks, 'block')} "
            f"on {plural(len(self._engine.kernels), 'row worker')}."
        )

    def close(self) -> None:
        """End the threads."""
        self._engine.close()

    def read_ahead(self, rows: NDArray[np.intp]) -> None:
        """Begin to read rows that `gradient` is asked for next."""
        self._engine.read_ahead(rows)

    def spread(self, task: Callable[[int], None], count: int) -> None:
        """Call ``task(i)`` for i below `count`, on all threads."""
        self._engine.spread(task, count)

    def gradient(self, theta: Vector, rows: NDArray[np.intp], rho_hat: Vector, rho_decay: float) -> MiniBatchEvaluation:
        """Cost and gradient over those rows.

        Parameters
        ----------
        theta : ndarray (size,)
            The same array as the last time, usually, with other values.
        rows : ndarray (m,) of int
            Sorted.
        rho_hat : ndarray (n_hidden,)
            The running mean activation before.
        rho_decay : float
            Share of it that is kept.
        """
        cost, running = self._objective.cost, rho_hat
        parameters = self._parameters(theta)

        def sparsity_of_total(total: Vector) -> Vector:
            nonlocal running
            running = rho_decay * rho_hat + (1 - rho_decay) / len(rows) * total
            return cost.sparsity(running)

        known = cost.known_sparsity(parameters)
        given = self._given(parameters)
        sums = self._engine.evaluate(given, sparsity_of_total if known is None else known, rows)
        total = sums.total
        if known is not None:
            running = rho_decay * rho_hat + (1 - rho_decay) / total.rows * total.hidden
        return MiniBatchEvaluation(
            gradient=self._gradient(sums, theta),
            squared_error=total.squared_error / (2 * total.rows),
            sparsity=cost.sparsity_term(total, parameters, running),
            rho_hat=running,
        )

    def evaluate(self, theta: Vector, rows: NDArray[np.intp]) -> Evaluation:
        """Cost over those rows, any number of them, with their own mean activation; the gradient is left out."""
        o, parameters = self._objective, self._parameters(theta)
        given, total = self._given(parameters), Sums(o.n_visible, o.n_hidden)
        at = total.layout
        zeros = np.zeros(o.n_hidden)
        pieces = [rows[start : start + self.batch_rows] for start in range(0, len(rows), self.batch_rows)]
        for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
            if following is not None:
                self._engine.read_ahead(following)
            total.vector[: at.W1] += self._engine.evaluate(given, zeros, piece).total.vector[: at.W1]
        terms = o.cost.terms(total, theta)
        return Evaluation(
            cost=sum(terms),
            gradient=np.empty(0),
            terms=terms,
            rho_hat=total.hidden / total.rows,
            squared_error_sum=total.squared_error,
            density=total.fired / total.rows,
        )

    def _gradient(self, sums: BatchSums, theta: Vector) -> BatchGradient:
        """Return the gradient of the cost; where only weight decay has to be added, it is not made whole."""
        cost, total = self._objective.cost, sums.total
        n_weights = 2 * total.W1.size
        if cost.activation == "sigmoid" and not cost.pre_bias:
            return BatchGradient(sums.gradient, 1 / total.rows, cost.weight_decay, n_weights)
        for part in sums.gradient[1:]:
            total.gradient[:] += part
        return BatchGradient((cost.evaluate(total, theta).gradient,), n_weights=n_weights)

    def _given(self, parameters: Parameters) -> Parameters:
        """Return what the kernel is given, in its dtype; it is checked at its first use."""
        given = self._objective.cost.kernel_parameters(parameters).astype(self._objective.dtype)
        self._objective.check_kernel(given)
        return given

    def _parameters(self, theta: Vector) -> Parameters:
        """Return views of theta, which mini-batch methods change in place."""
        if theta is not self._theta:
            self._theta = theta
            self._views = Parameters.from_flat(theta, self._objective.n_visible, self._objective.n_hidden)
        return self._views
