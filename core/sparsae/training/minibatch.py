"""Cost and gradient of mini-batches, by one kernel of the objective's backend in the calling thread."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae.engine.kernel_calls import call_kernel, make_kernel
from sparsae.model import Parameters
from sparsae.objective import Objective
from sparsae.optimize.base import MiniBatchEvaluation, Vector
from sparsae.plugins.sums import Sums


@final
class MiniBatches:
    """Evaluates subsets of the rows of an objective.

    Parameters
    ----------
    objective : Objective
        Gives data, settings and backend.
    batch_rows : int
        Rows in a mini-batch, at most.
    """

    def __init__(self, objective: Objective, batch_rows: int) -> None:
        self.batch_rows = min(batch_rows, objective.n_samples)
        self._objective = objective
        self._x, self._target = objective.sources
        self._kernel = make_kernel(objective.backend, replace(objective.problem, block_rows=self.batch_rows))
        self._sums = Sums(objective.n_visible, objective.n_hidden)

    def gradient(self, theta: Vector, rows: NDArray[np.intp], rho_hat: Vector, rho_decay: float) -> MiniBatchEvaluation:
        """Cost and gradient over those rows.

        Parameters
        ----------
        theta : ndarray (size,)
        rows : ndarray (m,) of int
            Sorted.
        rho_hat : ndarray (n_hidden,)
            The running mean activation before.
        rho_decay : float
            Share of it that is kept.
        """
        o, sums = self._objective, self._sums
        weights, block = self._prepare(theta, rows)
        hidden, total = self._call("encode", weights, block)
        running = rho_decay * rho_hat + (1 - rho_decay) / len(rows) * total
        s = o.cost.sparsity(running).astype(o.dtype)
        sums.vector.fill(0)
        self._call("accumulate", weights, block, hidden, s, sums)
        self._call("finish", weights, sums)
        found = o.cost.evaluate(sums, theta, running)
        return MiniBatchEvaluation(found.gradient, np.array(found.terms), running)

    def cost(self, theta: Vector, rows: NDArray[np.intp]) -> float:
        """Cost over those rows, with their own mean activation."""
        o, sums = self._objective, self._sums
        sums.vector.fill(0)
        for start in range(0, len(rows), self.batch_rows):
            weights, block = self._prepare(theta, rows[start : start + self.batch_rows])
            self._call("accumulate", weights, block, None, None, sums)
        self._call("finish", weights, sums)
        return sum(o.cost.terms(sums, theta))

    def _prepare(self, theta: Vector, rows: NDArray[np.intp]) -> tuple[Any, Any]:
        """Return the kernel's weights and block."""
        o = self._objective
        parameters = Parameters.from_flat(theta, o.n_visible, o.n_hidden).astype(o.dtype)
        o.check_kernel(parameters)
        x = self._x.take(rows, o.dtype)
        target = x if self._target is self._x else self._target.take(rows, o.dtype)
        return self._call("begin", parameters), self._call("prepare", x, target, False)

    def _call(self, method: str, *arguments: Any) -> Any:
        """Call the kernel."""
        return call_kernel(self._objective.backend.name, self._kernel, method, *arguments)
