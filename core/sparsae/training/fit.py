"""One fit, from an objective and options to a `TrainResult`."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np

from sparsae._text import printable
from sparsae.cost import Evaluation
from sparsae.errors import CheckpointError, ClusterError
from sparsae.model import Parameters
from sparsae.objective import Objective
from sparsae.optimize import Method, OptimizerState, describe
from sparsae.optimize.base import BoundMethod
from sparsae.optimize.objective_functions import Vector
from sparsae.receipt import Receipt
from sparsae.training.checkpoint import CheckpointSearch, SavedFit
from sparsae.training.checkpoint_writer import CheckpointWriter, pack_fit
from sparsae.training.curve import CurveRow, FitCounts, LearningCurve, MeteredObjective
from sparsae.training.fit_figures import fit_figures
from sparsae.training.interrupt import Interrupt
from sparsae.training.notices import Notices
from sparsae.training.observers import ObserverSet, Progress
from sparsae.training.options import FitOptions, check_full_batch
from sparsae.training.result import Reason, TrainResult
from sparsae.training.resume import (
    check_identity,
    fit_identity,
    is_same_fit,
    plan_notes,
    planned_epochs,
    resume_notes,
    resumed_method,
)
from sparsae.training.stopping import FitEnd, describe_end, met_tolerance


@final
class FinishedFit(NamedTuple):
    """A result, and what another fit needs to go on from it where that was asked for."""

    result: TrainResult
    saved: SavedFit | None


class _Ending(NamedTuple):
    """What a result is made of when the optimiser's state is gone: parameters, their evaluation, and the reason."""

    theta: Vector
    evaluation: Evaluation
    end: FitEnd


@final
class Fit:
    """One fit.

    Parameters
    ----------
    objective : Objective
        Entered by the caller.
    options : FitOptions
    observers : ObserverSet
    interrupt : Interrupt
    checkpoint_path : Path or None
        Where checkpoints are written, as `check_place` returned it.
    search : CheckpointSearch
        What to resume from.
    earlier : SavedFit, optional
        A fit in memory to go on from, for up to ``options.max_iter`` further iterations, where data, settings and
        optimiser are the same; else this fit begins at ``options.initial``.

    Raises
    ------
    ParameterError, DataError
        When an option cannot be used for this objective.
    CheckpointError
        When the checkpoint belongs to another fit.
    """

    def __init__(
        self,
        objective: Objective,
        options: FitOptions,
        *,
        observers: ObserverSet,
        interrupt: Interrupt,
        checkpoint_path: Path | None,
        search: CheckpointSearch,
        earlier: SavedFit | None = None,
    ) -> None:
        self._objective, self._options = objective, options
        self._observers, self._interrupt = observers, interrupt
        self._notices = Notices()
        theta, self._shuffle_seed = options.start(objective)
        self._method, self._start_seed = options.method, options.start_seed
        self._curve, used = LearningCurve(), FitCounts()
        saved, self._planned = search.saved, max(1, options.max_iter)
        if saved is not None:
            assert checkpoint_path is not None
            check_identity(checkpoint_path, saved.header["identity"], self._identity())
            self._method = resumed_method(checkpoint_path, saved.header, options.method)
            self._planned = planned_epochs(checkpoint_path, saved.header, self._method, options.max_iter)
            self._notices.notes += plan_notes(saved.header, objective.settings, options.max_iter)
        elif earlier is not None and is_same_fit(earlier.header, self._identity(), options.method):
            saved = earlier
            self._start_seed = saved.header["identity"]["seed"]
            self._options = replace(options, max_iter=options.max_iter + saved.header["iteration"])
            self._planned = max(1, self._options.max_iter)
        if saved is not None:
            self._notices.notes += resume_notes(saved.header, objective.receipt, self._method)
            self._shuffle_seed, used = saved.header["shuffle_seed"], FitCounts(*saved.header["counts"])
            self._curve = LearningCurve([CurveRow(*row) for row in saved.history.tolist()])
        self._variance = objective.engine.summaries()[1].variance_sum
        self._metered = MeteredObjective(objective, used, self._planned)
        self._bound = self._method.bind(self._metered, self._shuffle_seed)
        if self._bound.full_batch:
            check_full_batch(objective.settings, self._method.name)
        self._start: Vector | OptimizerState = theta
        if saved is not None:
            self._start = _unpack(self._bound, saved, objective, checkpoint_path)
        self._writer = self._make_writer(checkpoint_path, rotate=not search.damaged)
        self._end: tuple[Reason, str] | None = None
        self._last: OptimizerState | None = None  # the last that the callback saw

    def run(self, *, keep_state: bool = False) -> FinishedFit:
        """Run the iterations, save the last state, and return the result, with that state if it is to be kept.

        Raises
        ------
        OptimizationError
            When the cost at the starting point is not finite.
        DataError, BackendError
            When data or kernel fail.
        """
        try:
            state = self._bound.run(self._take_start(), self._after_iteration)
        except ClusterError as error:
            raise ClusterError(f"{error} {self._save_last_state()}") from error
        if self._writer is not None:
            self._writer.write(state, self._curve, self._metered.counts)
        saved, ending = self._pack(state) if keep_state else None, self._ending(state)
        del state  # the optimiser's state is larger than the result
        self._last = None
        return FinishedFit(self._result(ending), saved)

    def _pack(self, state: OptimizerState) -> SavedFit:
        """Return what another fit needs to go on from a state, in memory."""
        saved = pack_fit(self._saved_header(), self._bound, state, self._curve, self._metered.counts)
        arrays = {name: array if array.flags.writeable else array.copy() for name, array in saved.arrays.items()}
        return replace(saved, arrays=arrays)

    def _take_start(self) -> Vector | OptimizerState:
        """Return the start and forget it: mini-batch methods copy it, and need its memory."""
        start, self._start = self._start, np.empty(0)
        return start

    def _save_last_state(self) -> str:
        """Write a checkpoint of the last whole state after a cluster failed; return how to go on."""
        if self._writer is None or self._last is None or self._options.checkpoint is None:
            return "Give train a checkpoint to be able to go on from the last iteration."
        self._writer.write(self._last, self._curve, self._metered.counts)
        where = self._options.checkpoint.path
        return f"The fit was saved in {where}; go on, on a cluster or without one, with resume=True."

    def close(self) -> None:
        """End the worker threads that the fit has started."""
        self._metered.close()

    def _after_iteration(self, state: OptimizerState) -> bool:
        """Record the state, inform observers, write a checkpoint when it is due; return whether to stop."""
        asked_to_stop, self._last = False, state
        if state.iteration > self._curve.last_iteration:
            row = self._curve.record(state, self._metered.counts, self._figures(state))
            if self._observers:
                asked_to_stop = self._observers.notify(self._progress(row, state.theta), self._notices)
        self._end = self._reason_to_stop(state, asked_to_stop=asked_to_stop)
        if self._writer is not None and self._end is None:
            self._writer.write_if_due(state, self._curve, self._metered.counts)
        return self._end is not None

    def _figures(self, state: OptimizerState) -> dict[str, float]:
        """Return the figures of merit of the rows that the cost of a state is of."""
        activity, o = self._bound.activity(state), self._objective
        squares, variance = 2 * float(state.terms.squared_error), self._variance / o.n_samples
        return fit_figures(squares, variance, activity.mean, rho=o.settings.rho, density=activity.density)

    def _progress(self, row: CurveRow, theta: Vector) -> Progress:
        """Return what observers see."""
        n, p = self._objective.n_visible, self._objective.n_hidden
        present = np.array(theta, dtype=np.float64)  # a copy: mini-batch methods change their parameters in place
        return Progress(
            **row._asdict(),
            max_iter=self._options.max_iter,
            make_parameters=lambda: Parameters.from_flat(present.copy(), n, p),
        )

    def _reason_to_stop(self, state: OptimizerState, *, asked_to_stop: bool) -> tuple[Reason, str] | None:
        """Return the reason to stop and its detail; None: go on."""
        rows, stop, evaluations = self._curve.rows, self._options.stop, self._metered.evaluations
        if self._bound.full_batch:
            before = rows[-2].cost if len(rows) > 1 else None
            rule = met_tolerance(stop, before, rows[-1].cost, rows[-1].gradient_max)
            if rule is not None:
                return "converged", rule
        if asked_to_stop:
            return "stopped", ""
        if self._interrupt.signal is not None:
            return "interrupted", f" by {self._interrupt.signal.name}"
        if state.iteration >= self._options.max_iter:
            share = self._curve.recent_decrease()
            return "iteration limit", f"; the last ten lowered the cost by {100 * share:.2g} %" if share > 0 else ""
        if stop.evaluations is not None and evaluations >= stop.evaluations:
            return "evaluation limit", str(stop.evaluations)
        if stop.seconds is not None and time.perf_counter() - self._metered.started >= stop.seconds:
            return "time limit", f"{stop.seconds:g}"
        return None

    def _ending(self, state: OptimizerState) -> _Ending:
        """Return how the run ended, with the parameters to keep."""
        before = time.perf_counter()
        theta, evaluation = self._bound.result(state)
        last_cost = self._bound.comparable_cost(theta, evaluation)
        if not self._bound.full_batch:
            seconds = time.perf_counter() - before
            self._metered.notes.append(f"The evaluation of all rows at the end took {seconds:.3g} s more.")
        reason: Reason
        if state.outcome:  # only mini-batch methods converge by a rule of their own
            reason, detail = state.outcome, "the held-out cost has not fallen any more"
        else:
            assert self._end is not None
            reason, detail = self._end
        end = FitEnd(
            reason=reason,
            iteration=state.iteration,
            detail=detail,
            first_cost=self._curve.rows[0].cost,
            last_cost=last_cost,
            learning_rate=self._method.settings().get("learning_rate"),
        )
        return _Ending(theta, evaluation, end)

    def _result(self, ending: _Ending) -> TrainResult:
        """Put the result together."""
        objective = self._objective
        theta, evaluation, end = ending
        self._metered.close()  # frees memory for the result
        return TrainResult(
            parameters=Parameters.from_flat(np.array(theta, dtype=np.float64), objective.n_visible, objective.n_hidden),
            cost=evaluation.cost,
            history=self._curve.history(),
            receipt=self._receipt(),
            status=describe_end(end),
            settings=self._describe(),
            metrics=fit_figures(
                evaluation.squared_error_sum,
                self._variance,
                evaluation.rho_hat,
                rho=objective.settings.rho,
                density=evaluation.density,
            ),
        )

    def _receipt(self) -> Receipt:
        """Return the objective's receipt with the seed and the notes of the fit."""
        receipt = self._objective.receipt
        later = (note for note in self._objective.engine.notes if note not in receipt.notes)  # seen during the fit
        notes = (*receipt.notes, *later, *self._metered.notes, *self._notices.notes)
        return replace(receipt, seed=self._start_seed, notes=notes)

    def _identity(self) -> dict[str, Any]:
        """Return what must be the same for a checkpoint to belong to this fit."""
        return fit_identity(self._objective, self._options.method, self._start_seed)

    def _describe(self) -> dict[str, Any]:
        """Return hyper-parameters and options as plain values."""
        return describe_fit(self._objective, self._method, max_iter=self._options.max_iter, seed=self._start_seed)

    def _saved_header(self) -> dict[str, Any]:
        """Return what is the same in everything that is saved of this fit."""
        return {
            "identity": self._identity(),
            "method": describe(self._method),
            "settings": self._describe(),
            "shuffle_seed": self._shuffle_seed,
            "planned": self._planned,
            "receipt": self._objective.receipt.to_dict(),
        }

    def _make_writer(self, path: Path | None, *, rotate: bool) -> CheckpointWriter | None:
        """Return what writes checkpoints, if any are wanted."""
        if path is None or self._options.checkpoint is None:
            return None
        return CheckpointWriter(
            self._options.checkpoint,
            path,
            self._bound,
            self._saved_header(),
            rotate=rotate,
            iteration=max(0, self._curve.last_iteration),
            notices=self._notices,
        )


def describe_fit(objective: Objective, method: Method, *, max_iter: int, seed: int | None) -> dict[str, Any]:
    """Return hyper-parameters and options of a fit as plain values."""
    return {**objective.settings.to_dict(), "max_iter": max_iter, "seed": seed, **describe(method)}


def _unpack(bound: BoundMethod, saved: SavedFit, objective: Objective, path: Path | None) -> OptimizerState:
    """Return the state of the optimiser from a checkpoint.

    Raises
    ------
    CheckpointError
        When its arrays are not those of this method and this problem.
    """
    arrays = {name: array.copy() for name, array in saved.arrays.items()}  # mini-batch methods change theirs in place
    try:
        state: OptimizerState = bound.unpack(arrays)
        if state.theta.shape != (objective.size,) or bound.activity(state).mean.shape != (objective.n_hidden,):
            raise ValueError(f"it has {state.theta.size} parameters and the model {objective.size}")
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise CheckpointError(
            f"The checkpoint {path or 'of the fit before'} does not hold the state of this optimiser: "
            f"{type(error).__name__}: {printable(error)}."
        ) from error
    return state
