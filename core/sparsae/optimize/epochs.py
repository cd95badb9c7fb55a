"""Epochs of mini-batches: the loop of `Adam` and `SGD`.

The sparsity vector needs the mean activation of all rows, and a mini-batch has few of them.
So a running mean r is kept, r <- rho_decay r + (1 - rho_decay) (mean over the mini-batch), and the sparsity vector is
that of r; docs/training.md says how far the resulting gradient is from the full one.  It starts with the mean over the
first mini-batch, whose cost at the start is the first entry of the learning curve.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from typing import TYPE_CHECKING, Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from sparsae.cost import Evaluation, Terms
from sparsae.errors import DataError, ParameterError
from sparsae.optimize.activity import UnitActivity
from sparsae.optimize.base import (
    BoundMethod,
    Callback,
    OptimizerState,
    Outcome,
    check_start,
    is_finite,
    run_steps,
)
from sparsae.optimize.epoch_state import EpochState
from sparsae.optimize.file_vector import FileVector
from sparsae.optimize.objective_functions import ObjectiveFunctions, Vector
from sparsae.optimize.packing import check_packed, unpack_counts
from sparsae.optimize.row_order import RowIndices, RowOrder
from sparsae.optimize.stochastic import Moments
from sparsae.optimize.unit_state import UnitState, rows_until_dead

if TYPE_CHECKING:
    from sparsae.optimize.stochastic import StochasticMethod

NOTHING = Terms(0.0, 0.0, 0.0)


@final
class Epochs(BoundMethod):
    """A mini-batch method and its objective; a step is a mini-batch, an iteration is an epoch.

    Parameters
    ----------
    method : StochasticMethod
    objective : ObjectiveFunctions
    seed : int
        Decides which rows are held out, and the order of the others in each epoch.

    Raises
    ------
    DataError
        When so few rows are held out, or left, that there is none.
    """

    full_batch: ClassVar[bool] = False

    def __init__(self, method: StochasticMethod, objective: ObjectiveFunctions, seed: int) -> None:
        self.method, self.seed = method, seed
        self._objective = objective
        self._batches = objective.mini_batches(method.batch_rows)
        order = np.random.default_rng([seed, 0]).permutation(objective.n_samples)
        held = round(method.held_out * objective.n_samples)
        if method.held_out > 0 and not 0 < held < objective.n_samples:
            raise DataError(f"held_out={method.held_out} of {objective.n_samples} samples leaves none on one side.")
        self.held_out: RowIndices = np.sort(order[:held])
        self.trained_on: RowIndices = np.sort(order[held:])
        self._rows = RowOrder(self.trained_on, seed, self._batches.batch_rows, objective.n_samples)
        trained, epochs = len(self.trained_on), objective.epochs
        self._n_updates = epochs * -(-trained // self._batches.batch_rows)
        self._best: FileVector | None = None  # where the best parameters lie, if not in memory
        self._dead_after = rows_until_dead(objective.settings, epochs * trained)
        self._always_active = objective.settings.activation == "sigmoid"

    def run(self, start: Vector | OptimizerState, callback: Callback) -> OptimizerState:
        """Step until `callback` returns True or a step ends with an outcome."""
        if not isinstance(start, np.ndarray):
            state: Any = start
            state = state._replace(best_theta=self._keep_outside(state.best_theta))
            return run_steps(self.step, state, callback)
        theta = self._as_state(start)
        del start  # all parameters in float64: nobody else has them where the caller has not
        return run_steps(self.step, self._begin(theta, self._keep_outside), callback)

    def _keep_outside(self, theta: Vector) -> Vector:
        """Return a copy in a file where the parameters are many, else one in memory."""
        self._best = FileVector.of(theta)
        return theta.copy() if self._best is None else self._best.array

    def _as_state(self, theta: Vector) -> Vector:
        """Return a copy in the dtype of the state."""
        return theta.astype(self.method.dtype_for(theta.size, self._objective.dtype))

    def init(self, theta: Vector) -> EpochState:
        """Return the state at the starting point; the first mini-batch, or all rows, give cost and mean activation.

        Raises
        ------
        OptimizationError
            When the cost is not finite there.
        """
        return self._begin(self._as_state(theta), np.copy)

    def _begin(self, theta: Vector, copy: Callable[[Vector], Vector]) -> EpochState:
        """As `init`, for parameters that may be changed; `copy` makes the best ones."""
        self._batches.constrain(theta)
        start = self._batches.evaluate(theta, self._start_rows())
        check_start(start.cost)
        best = self._batches.evaluate(theta, self.held_out).cost if len(self.held_out) else start.cost
        moments = self.method.start(theta)
        return EpochState(
            moments=moments,
            rho_hat=start.rho_hat,
            iteration=0,
            position=0,
            epoch_terms=np.array(start.terms),
            term_sums=NOTHING,
            fired=np.zeros(self._objective.n_hidden),
            density=start.density,
            gradient_max=float("nan"),
            units=UnitState.start(self._objective.n_hidden),
            best_theta=copy(moments.theta),
            best_cost=best,
            best_epoch=0,
            outcome="",
        )

    def _start_rows(self) -> RowIndices:
        """Return the rows that the first entry of the learning curve is of."""
        return np.arange(self._objective.n_samples) if self.method.evaluate_start else self._rows.batch(0, 0)

    def comparable_cost(self, theta: Vector, evaluation: Evaluation) -> float:
        """Return the cost over the rows that the first entry of the learning curve is of."""
        rows = self._start_rows()
        if len(rows) == self._objective.n_samples:
            return evaluation.cost
        return self._batches.evaluate(theta[: self._objective.size], rows).cost

    def step(self, state: EpochState) -> EpochState:
        """Do one mini-batch, and at the end of an epoch what is due then.

        The arrays of the moments are changed in place.
        """
        rows = self._rows.batch(state.iteration, state.position)
        position = state.position + len(rows)
        ends = position >= len(self.trained_on)
        dead = None if self._dead_after is None else state.units.silent >= self._dead_after
        batch = self._batches.gradient(state.theta, rows, state.rho_hat, self.method.rho_decay, dead)
        if not ends:
            self._batches.read_ahead(self._rows.batch(state.iteration, position))
        if not isfinite(batch.squared_error + batch.sparsity):
            return state._replace(outcome="not finite")
        moments, report = self.method.update(
            state.moments,
            self.method.clipped(batch.gradient, state.theta, self._batches.run_tasks),
            self._batches.run_tasks,
            measure=ends,
            factor=self.method.rate_factor(state.moments.updates, self._n_updates),
            adam=self._batches.adam(state.theta.dtype),
        )
        if not report.finite:
            return state._replace(outcome="not finite")
        self._batches.constrain(moments.theta)
        decay = batch.gradient.decay / 2 * (report.weight_squares + batch.gradient.undecayed)
        squares, decays, penalties = state.term_sums
        m = len(rows)
        after = EpochState(  # `_replace` takes four times as long
            moments,
            batch.rho_hat,
            state.iteration,
            position,
            state.epoch_terms,
            Terms(squares + m * batch.squared_error, decays + m * decay, penalties + m * batch.sparsity),
            state.fired + batch.fired,
            state.density,
            report.gradient_max if ends else state.gradient_max,
            state.units.after(m, None if self._always_active else batch.fired, batch.smallest_kept),
            state.best_theta,
            state.best_cost,
            state.best_epoch,
            state.outcome,
        )
        return self._end_epoch(after) if ends else after

    def _end_epoch(self, state: EpochState) -> EpochState:
        """Compute the epoch's cost, keep the best parameters, and check the patience."""
        terms = np.array(state.term_sums) / state.position
        epoch = state.iteration + 1
        cost = self._batches.evaluate(state.theta, self.held_out).cost if len(self.held_out) else float(terms.sum())
        density, nothing = state.fired / state.position, np.zeros_like(state.fired)
        after = state._replace(iteration=epoch, epoch_terms=terms, density=density)
        after = after._replace(position=0, term_sums=NOTHING, fired=nothing)
        if not is_finite(cost, state.theta):
            return after._replace(outcome="not finite")
        if cost < state.best_cost:
            return after._replace(best_theta=self._store_best(state), best_cost=cost, best_epoch=epoch)
        return after._replace(outcome="converged") if self._out_of_patience(epoch, state.best_epoch) else after

    def _store_best(self, state: EpochState) -> Vector:
        """Keep the present parameters as the best ones; in memory where their file cannot be written any more."""
        best = self._best
        if best is None or best.array is not state.best_theta:
            np.copyto(state.best_theta, state.theta)
            return state.best_theta
        try:
            best.store(state.theta)
        except OSError:
            return state.theta.copy()
        return best.array

    def _out_of_patience(self, epoch: int, best_epoch: int) -> bool:
        """Whether the held-out cost has not fallen for too many epochs."""
        return len(self.held_out) > 0 and epoch - best_epoch >= self.method.patience

    def result(self, state: Any) -> tuple[Vector, Evaluation]:
        """Return what `kept` does, and the evaluation of all rows there."""
        theta, every = self.kept(state), np.arange(self._objective.n_samples)
        size = self._objective.size
        threshold = state.units.corrected_threshold if len(theta) > size else None
        return theta, self._batches.evaluate(theta[:size], every, threshold)

    def kept(self, state: EpochState) -> Vector:
        """Return the model: the best parameters where rows are held out or the last ones are not finite, else those.

        Those of batch top-k end with the threshold.
        """
        best = len(self.held_out) > 0 or state.outcome == "not finite" or not is_finite(0.0, state.theta)
        theta: Vector = state.best_theta if best else state.theta
        if self._objective.settings.activation != "batchtopk":
            return theta
        threshold = np.full(self._objective.n_hidden, state.units.corrected_threshold, theta.dtype)
        return np.concatenate([theta, threshold])

    def activity(self, state: EpochState) -> UnitActivity:
        """Return the running mean, and in which share of an epoch's rows units were active."""
        return UnitActivity(state.rho_hat, state.density)

    def pack(self, state: EpochState) -> dict[str, NDArray[Any]]:
        """Return the state as named arrays, for a checkpoint."""
        return {
            "theta": state.theta,
            "first": state.moments.first,
            "second": state.moments.second,
            "rho_hat": state.rho_hat,
            "epoch_terms": state.epoch_terms,
            "term_sums": np.array(state.term_sums),
            "fired": state.fired,
            "density": state.density,
            "best_theta": state.best_theta,
            "best_cost": np.array(state.best_cost),
            "gradient_max": np.array(state.gradient_max),
            "silent": state.units.silent,
            "threshold": np.array([state.units.threshold, state.units.updates]),
            "counts": np.array([state.moments.updates, state.iteration, state.position, state.best_epoch]),
            "not_finite": np.array(state.outcome == "not finite"),
        }

    def unpack(self, arrays: Mapping[str, NDArray[Any]]) -> EpochState:
        """Undo `pack`: the state, bit for bit.

        Raises
        ------
        KeyError, ParameterError
            When arrays are missing, or are those of another problem.
        """
        self._check_packed(arrays)
        updates, iteration, position, best_epoch = unpack_counts(arrays["counts"], 4)
        with np.errstate(invalid="ignore"):  # what is too large for an integer is no count either
            (threshold_updates,) = unpack_counts(arrays["threshold"][1:].astype(np.int64), 1)
        outcome: Outcome = "not finite" if arrays["not_finite"] else ""
        if not outcome and position == 0 and self._out_of_patience(iteration, best_epoch):
            outcome = "converged"
        return EpochState(
            moments=Moments(arrays["theta"], arrays["first"], arrays["second"], updates),
            rho_hat=arrays["rho_hat"],
            iteration=iteration,
            position=position,
            epoch_terms=arrays["epoch_terms"],
            term_sums=Terms(*map(float, arrays["term_sums"])),
            fired=arrays["fired"],
            density=arrays["density"],
            gradient_max=float(arrays["gradient_max"]),
            units=UnitState(arrays["silent"], float(arrays["threshold"][0]), threshold_updates),
            best_theta=arrays["best_theta"],
            best_cost=float(arrays["best_cost"]),
            best_epoch=best_epoch,
            outcome=outcome,
        )

    def _check_packed(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Raise unless the arrays have the shapes and dtypes of this problem."""
        size, units = (self._objective.size,), (self._objective.n_hidden,)
        second = (len(self.method.start(np.empty(1)).second) * size[0],)
        check_packed(arrays, {"theta": size, "first": size, "second": second, "best_theta": size})
        check_packed(arrays, dict.fromkeys(("rho_hat", "fired", "density", "silent"), units))
        check_packed(arrays, {"epoch_terms": (3,), "term_sums": (3,), "threshold": (2,)})
        check_packed(arrays, dict.fromkeys(("best_cost", "gradient_max", "not_finite"), ()))
        dtype = self.method.dtype_for(size[0], self._objective.dtype)
        wrong = [name for name in ("theta", "first", "second", "best_theta") if arrays[name].dtype != dtype]
        if wrong:
            raise ParameterError(f"{', '.join(wrong)} are not {dtype}")
        if arrays["silent"].dtype.kind != "i":
            raise ParameterError("silent has no integers")
