"""Cost and gradient of mini-batches, on the row workers of the backend."""

from __future__ import annotations

from dataclasses import replace
from typing import final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural
from sparsae.engine.engine import Engine
from sparsae.engine.partition import Partition
from sparsae.engine.storage import Storage
from sparsae.model import Parameters
from sparsae.objective import Objective
from sparsae.optimize.base import MiniBatchEvaluation, Vector
from sparsae.plugins.contract import Backend, Problem
from sparsae.plugins.sums import Sums

LEAST_ROWS = 64  # in a block that is one of several: fewer make its matrix products slow
LEAST_PRODUCTS = 2_000_000  # rows times weights of such a block: about 1 ms, when handing it to a worker takes 50 us
BLOCKS = 4


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
        block_rows = choose_batch_blocks(self.batch_rows, objective.backend, objective.problem)
        partition = Partition(self.batch_rows, block_rows)
        x, target = objective.sources
        self._engine = Engine(
            x,
            target,
            backend=objective.backend,
            problem=replace(objective.problem, block_rows=block_rows),
            partition=partition,
            storage=Storage(kept=False, passes=2),
            workers=objective.grant.workers,
        )
        self.note = (
            f"Mini-batches of {plural(self.batch_rows, 'row')} ran in {plural(partition.n_blocks, 'block')} "
            f"on {plural(len(self._engine.kernels), 'row worker')}."
        )

    def close(self) -> None:
        """End the worker threads."""
        self._engine.close()

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
        cost, running = self._objective.cost, rho_hat

        def sparsity_of_total(total: Vector) -> Vector:
            nonlocal running
            running = rho_decay * rho_hat + (1 - rho_decay) / len(rows) * total
            return cost.sparsity(running)

        sums = self._engine.evaluate_rows(self._parameters(theta), sparsity_of_total, rows)
        evaluation = cost.evaluate(sums, theta, running)
        return MiniBatchEvaluation(evaluation.gradient, np.array(evaluation.terms), running)

    def cost(self, theta: Vector, rows: NDArray[np.intp]) -> float:
        """Cost over those rows, with their own mean activation."""
        o, parameters = self._objective, self._parameters(theta)
        total = Sums(o.n_visible, o.n_hidden)
        for start in range(0, len(rows), self.batch_rows):
            some = rows[start : start + self.batch_rows]
            total.head += self._engine.evaluate_rows(parameters, np.zeros_like, some).head
        return sum(o.cost.terms(total, theta))

    def _parameters(self, theta: Vector) -> Parameters:
        """Return the parameters for the kernel, which is checked at its first use."""
        o = self._objective
        parameters = Parameters.from_flat(theta, o.n_visible, o.n_hidden).astype(o.dtype)
        o.check_kernel(parameters)
        return parameters


def choose_batch_blocks(batch_rows: int, backend: Backend, problem: Problem) -> int:
    """Return the number of rows in a block of a mini-batch: a function of sizes alone, so that threads change no bit.

    Backends with row workers get up to four blocks, while each is worth a worker's time; the others get one.
    """
    if backend.threading != "workers":
        return batch_rows
    least = max(LEAST_ROWS, -(-LEAST_PRODUCTS // (problem.n_visible * problem.n_hidden)))
    return min(batch_rows, max(least, -(-batch_rows // BLOCKS)))
