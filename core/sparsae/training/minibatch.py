"""Cost and gradient of mini-batches, on the row workers of the backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural
from sparsae.cost import Evaluation
from sparsae.engine.auxiliary import AuxiliaryLoss
from sparsae.engine.batch_sums import BatchSums
from sparsae.engine.casting import ParameterCast
from sparsae.engine.engine_types import RowsEngine
from sparsae.errors import ParameterError
from sparsae.model import Parameters
from sparsae.objective import Objective
from sparsae.optimize.adam_update import check_adam
from sparsae.optimize.objective_functions import AdamPass, MiniBatchEvaluation, Vector
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
        self._engine: RowsEngine = objective.engine.batch_engine(
            backend=objective.backend,
            granted=objective.grant,
            batch_rows=self.batch_rows,
            direct=objective.size > FLOAT64_PARAMETERS,
        )
        self._theta: Vector | None = None
        again = not objective.engine.cluster
        self._cast = ParameterCast(objective.n_visible, objective.n_hidden, objective.dtype, again=again)
        self._auxiliary: AuxiliaryLoss | None = None
        self._adam: dict[np.dtype[Any], AdamPass | None] = {}
        fewer = f", all there are for batch_rows={batch_rows}," if batch_rows > self.batch_rows else ""
        self.note = (
            f"Mini-batches of {plural(self.batch_rows, 'row')}{fewer} ran in "
            f"{plural(self._engine.partition.n_blocks, 'block')} on {self._engine.place}."
        )

    def close(self) -> None:
        """End the threads."""
        self._engine.close()

    def read_ahead(self, rows: NDArray[np.intp]) -> None:
        """Begin to read rows that `gradient` is asked for next."""
        self._engine.read_ahead(rows)

    def run_tasks(self, task: Callable[[int], None], count: int) -> None:
        """Call ``task(i)`` for i below `count`, on all threads."""
        self._engine.run_tasks(task, count)

    def adam(self, dtype: np.dtype[Any]) -> AdamPass | None:
        """Return the kernel's own update of Adam for parameters of that dtype, compared with NumPy's, if it has one."""
        if dtype not in self._adam:
            kernel = self._engine.kernels[0]
            if kernel.has_adam:
                check_adam(kernel, dtype)
            self._adam[dtype] = kernel.adam if kernel.has_adam else None
        return self._adam[dtype]

    def gradient(
        self,
        theta: Vector,
        rows: NDArray[np.intp],
        rho_hat: Vector,
        rho_decay: float,
        dead: NDArray[np.bool_] | None = None,
    ) -> MiniBatchEvaluation:
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
        dead : ndarray of bool (n_hidden,), optional
            Units that the auxiliary loss revives.
        """
        cost, running, penalty = self._objective.cost, rho_hat, 0.0
        parameters = self._parameters(theta)

        def sparsity_of_total(total: Vector) -> Vector:
            nonlocal running, penalty
            running = rho_decay * rho_hat + (1 - rho_decay) / len(rows) * total
            penalty, sparsity = cost.penalty_and_sparsity(running)
            return sparsity

        known = cost.known_sparsity(parameters)
        given, smallest = self._given(theta, rows)
        sums = self._engine.evaluate(given, sparsity_of_total if known is None else known, rows)
        total = sums.total
        if known is not None:
            running = rho_decay * rho_hat + (1 - rho_decay) / total.rows * total.hidden
            penalty = cost.sparsity_term(total, parameters, running)
        gradient, revival = self._gradient(sums, theta, rows, given, dead)
        return MiniBatchEvaluation(
            gradient=gradient,
            squared_error=total.squared_error / (2 * total.rows),
            sparsity=penalty + revival,
            rho_hat=running,
            fired=total.fired.copy(),
            smallest_kept=smallest,
        )

    def evaluate(self, theta: Vector, rows: NDArray[np.intp], threshold: float | None = None) -> Evaluation:
        """Cost over those rows, any number of them, with their own mean activation; the gradient is left out."""
        o = self._objective
        total, k = Sums(o.n_visible, o.n_hidden), None
        if o.settings.activation == "batchtopk" and threshold is None:
            k = o.settings.k
        found = self._engine.figures(lambda piece: self._given(theta, piece, threshold)[0], rows, k)
        total.vector[: len(found)] = found
        terms = o.cost.terms(total, theta)
        return Evaluation(
            cost=sum(terms),
            gradient=np.empty(0),
            terms=terms,
            rho_hat=total.hidden / total.rows,
            squared_error_sum=total.squared_error,
            density=total.fired / total.rows,
        )

    def constrain(self, theta: Vector) -> None:
        """Give columns of W2 unit length again, and keep thresholds from falling below 0, in place.

        Raises
        ------
        ParameterError
            When a column of W2 is zero, which has no direction.
        """
        parameters = self._parameters(theta)
        if self._objective.settings.unit_norm:
            lengths = np.sqrt(np.einsum("np,np->p", parameters.W2, parameters.W2))
            if not lengths.all():
                raise ParameterError(
                    f"unit_norm: {plural(int(np.count_nonzero(lengths == 0)), 'column')} of W2 without direction, all "
                    f"zeros; give other starting weights, or unit_norm=False."
                )
            np.divide(parameters.W2, lengths, out=parameters.W2)
        if parameters.threshold is not None:
            np.maximum(parameters.threshold, 0, out=parameters.threshold)

    def _gradient(
        self,
        sums: BatchSums,
        theta: Vector,
        rows: NDArray[np.intp],
        given: Parameters,
        dead: NDArray[np.bool_] | None,
    ) -> tuple[BatchGradient, float]:
        """Return the gradient of the cost, and the auxiliary loss.

        Where only weight decay has to be added to the sums, the gradient is not made whole.
        """
        cost, total, unit_norm = self._objective.cost, sums.total, bool(self._objective.settings.unit_norm)
        n_weights = 2 * total.W1.size
        if cost.activation == "sigmoid" and not cost.pre_bias and not unit_norm:
            return BatchGradient(sums.gradient, 1 / total.rows, cost.weight_decay, n_weights), 0.0
        flat = total.gradient[: theta.size]
        for part in sums.gradient[1:]:
            flat += part[: theta.size]
        flat /= total.rows
        parameters = self._parameters(theta)
        gradient = Parameters.from_flat(flat, self._objective.n_visible, self._objective.n_hidden)
        cost.complete(gradient, parameters, total, self._engine.run_tasks)
        revival = self._revive(gradient, parameters, given, rows, dead)
        if not unit_norm:
            return BatchGradient((flat,), 1.0, cost.weight_decay, n_weights), revival
        W2 = parameters.W2
        gradient.W2[...] -= np.einsum("np,np->p", gradient.W2, W2) * W2  # along the columns, which have unit length
        undecayed = float(self._objective.n_hidden)
        return BatchGradient((flat,), 1.0, cost.weight_decay, n_weights // 2, undecayed), revival

    def _revive(
        self,
        gradient: Parameters,
        parameters: Parameters,
        given: Parameters,
        rows: NDArray[np.intp],
        dead: NDArray[np.bool_] | None,
    ) -> float:
        """Add the gradient of the auxiliary loss where units are dead; return that loss."""
        if dead is None or not dead.any():
            return 0.0
        o, settings = self._objective, self._objective.settings
        if self._auxiliary is None:
            self._auxiliary = AuxiliaryLoss(
                backend=o.backend,
                problem=o.problem,
                workers=o.grant.workers,
                aux=settings.aux or 0.0,
                k_aux=settings.k_aux or 1,
                pre_bias=settings.pre_bias,
            )
        x, target = self._engine.take(rows)
        error = np.empty_like(x)
        step = self._engine.partition.block_rows

        def leave_over(number: int) -> None:
            here = slice(number * step, (number + 1) * step)
            a2 = o.problem.activate(x[here] @ given.W1.T + given.b1, given.threshold)
            error[here] = target[here] - o.problem.output_activate(a2 @ given.W2.T + given.b2)

        self._engine.run_tasks(leave_over, -(-len(x) // step))
        term = self._auxiliary.evaluate(parameters.astype(o.dtype), x, error, dead)
        if term is None:
            return 0.0
        term.add_to(gradient)
        return term.value

    def _given(self, theta: Vector, rows: NDArray[np.intp], threshold: float | None = None) -> tuple[Parameters, float]:
        """Return what the kernel is given, in its dtype, and the smallest value that batch top-k keeps of the rows.

        The kernel is checked at its first use.
        """
        o, smallest, parameters = self._objective, 0.0, self._parameters(theta)
        model = parameters if theta.dtype == o.dtype else self._cast(theta, self._engine.run_tasks)
        given = o.cost.kernel_parameters(parameters)
        given = model if given is parameters else given.astype(o.dtype)
        if o.settings.activation == "batchtopk":
            if threshold is None:
                threshold, smallest = o.engine.batch_threshold(given, o.settings.k or 0, rows)
            thresholds = np.full(o.n_hidden, threshold, o.dtype)
            given, model = given._replace(threshold=thresholds), model._replace(threshold=thresholds)
        o.check_kernel(model)
        return given, smallest

    def _parameters(self, theta: Vector) -> Parameters:
        """Return views of theta, which mini-batch methods change in place."""
        if theta is not self._theta:
            self._theta = theta
            self._views = Parameters.from_flat(theta, self._objective.n_visible, self._objective.n_hidden)
        return self._views
