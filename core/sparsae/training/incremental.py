"""Training on data that comes in portions: one pass of a mini-batch method over each, its state kept in between."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Unpack, cast, final

import numpy as np
from numpy.typing import ArrayLike

from sparsae._text import plural
from sparsae.errors import ParameterError
from sparsae.model import Parameters
from sparsae.model.settings import keywords
from sparsae.objective import Objective, ObjectiveOptions
from sparsae.optimize import StochasticMethod
from sparsae.optimize.epoch_state import EpochState
from sparsae.optimize.epochs import NOTHING
from sparsae.optimize.objective_functions import Vector
from sparsae.optimize.unit_state import MOST_ROWS
from sparsae.training.curve import FitCounts, LearningCurve, MeteredObjective
from sparsae.training.fit import describe_fit
from sparsae.training.fit_figures import fit_figures
from sparsae.training.options import FitOptions
from sparsae.training.result import Status, TrainResult
from sparsae.training.stopping import FitEnd, describe_end


@final
class IncrementalFit:
    """A fit that is given its data in portions; it can be pickled in between.

    Parameters
    ----------
    n_hidden : int
    options : FitOptions
        Method, seed and starting parameters; `max_iter`, `stop` and checkpoints have no meaning here.

    Raises
    ------
    ParameterError
        When the method has no mini-batches, or holds rows out or lowers its learning rate towards the end, which a
        portion does not know.
    """

    def __init__(self, n_hidden: int, options: FitOptions) -> None:
        method = options.method
        if not isinstance(method, StochasticMethod):
            raise ParameterError(
                f"Method {method.name!r} needs all rows at once; use adam or sgd for data in portions."
            )
        if method.held_out > 0:
            raise ParameterError(
                f"held_out={method.held_out:g} has no meaning for data in portions; use held_out=0, "
                f"and compare scores of data of your own."
            )
        if method.decay > 0:
            raise ParameterError(
                f"decay={method.decay:g} is a share of a fit whose length is known, and portions have no end; "
                f"use decay=0, and a smaller learning_rate for the last portions."
            )
        self.n_hidden = n_hidden
        self._options, self._method = options, method
        self._state: Any = None
        self._seed = 0
        self._curve, self._counts = LearningCurve(), FitCounts()
        self._rows = 0
        self._settings: ObjectiveOptions = {}  # with the defaults that were derived from the first portion

    def train_on(self, X: ArrayLike, **objective_options: Unpack[ObjectiveOptions]) -> TrainResult:
        """Do one pass over a portion of the data, in mini-batches in random order.

        Parameters
        ----------
        X : array_like (n_samples, n_visible)
        **objective_options
            As in `Objective`.

        Returns
        -------
        TrainResult
            Its cost and metrics are means over the mini-batches of this pass, each at the parameters of its time.

        Raises
        ------
        SparsaeError
            As `Objective`, or when the portion has another number of columns.
        """
        given = {name: value for name, value in objective_options.items() if value is not None}
        defaults = dict(self._settings)
        if "dead_after" in keywords(objective_options.get("activation") or "sigmoid"):
            defaults.setdefault("dead_after", MOST_ROWS)  # its default is a share of the fit's rows
        objective = Objective(X, self.n_hidden, **cast(ObjectiveOptions, {**defaults, **given}))
        self._settings = cast(ObjectiveOptions, objective.settings.to_dict())
        with objective:
            metered = MeteredObjective(objective, self._counts)
            try:
                theta = self._pass_over(objective, metered)
            finally:
                metered.close()
        self._rows += objective.n_samples
        return self._result(objective, metered, theta)

    def _pass_over(self, objective: Objective, metered: MeteredObjective) -> Vector:
        """Take steps until each row was used once; return the parameters of the model."""
        if self._state is None:
            theta, self._seed = self._options.start(objective)
            bound = self._method.bind(metered, self._seed)
            state = bound.init(theta)
            self._curve.record(state, metered.counts, self._figures(objective, state))
        else:
            bound = self._method.bind(metered, self._seed)
            state = self._state._replace(outcome="")
        pass_number = state.iteration + 1
        while state.iteration < pass_number and not state.outcome:
            state = bound.step(state)
        if not state.outcome:
            self._curve.record(state, metered.counts, self._figures(objective, state))
        self._state = state._replace(position=0, term_sums=NOTHING, fired=np.zeros_like(state.fired))
        self._counts = metered.counts
        return bound.kept(state)

    def _figures(self, objective: Objective, state: EpochState) -> dict[str, float]:
        """Return the figures of merit of a pass over a portion."""
        squares = 2 * objective.n_samples * float(state.terms.squared_error)
        variance = objective.engine.summaries()[1].variance_sum
        return fit_figures(squares, variance, state.rho_hat, rho=objective.settings.rho, density=state.density)

    def _result(self, objective: Objective, metered: MeteredObjective, theta: Vector) -> TrainResult:
        """Put the result together."""
        state, receipt = self._state, objective.receipt
        seed = self._options.start_seed
        return TrainResult(
            parameters=Parameters.from_flat(np.array(theta, dtype=np.float64), objective.n_visible, objective.n_hidden),
            cost=state.cost,
            history=self._curve.history(),
            receipt=replace(receipt, seed=seed, notes=(*receipt.notes, *metered.notes)),
            status=self._status(),
            settings=describe_fit(objective, self._method, max_iter=state.iteration, seed=seed),
            metrics=self._figures(objective, state),
        )

    def _status(self) -> Status:
        """Return how the last pass ended."""
        passes = self._state.iteration
        if self._state.outcome:
            rate, costs = self._method.learning_rate, [row.cost for row in self._curve.rows]
            return describe_end(
                FitEnd(
                    reason=self._state.outcome,
                    iteration=passes,
                    detail="",
                    first_cost=costs[0],
                    last_cost=costs[-1],
                    learning_rate=rate,
                )
            )
        return Status(
            "iteration limit",
            f"Trained on {plural(passes, 'portion')} of data with {plural(self._rows, 'row')} in all.",
        )
