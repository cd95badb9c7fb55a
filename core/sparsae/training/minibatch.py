"""Mini-batches: which rows, their cost and gradient with a running mean activation, and epochs of them.

The sparsity vector needs the mean activation of all rows, and a mini-batch sees few of them.
So a running mean r is kept, r <- rho_decay r + (1 - rho_decay) (mean over the mini-batch),
and the sparsity vector is that of r; how far this is from the full gradient stands in docs/training.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

from sparsae.cost import sparsity_terms
from sparsae.engine.kernel_calls import call_kernel, make_kernel
from sparsae.errors import DataError, OptimizationError
from sparsae.model import Parameters
from sparsae.objective import Evaluation, Objective
from sparsae.optimize.base import Function, Outcome, StepMethod, Vector, is_finite
from sparsae.optimize.stochastic import Moments, StochasticMethod
from sparsae.plugins.sums import Sums

Rows = NDArray[np.intp]


@final
class Batch(NamedTuple):
    """Cost and gradient of a mini-batch.

    Attributes
    ----------
    gradient : ndarray (size,)
    terms : ndarray (3,)
        Squared error, weight decay, sparsity (of the running mean activation).
    rho_hat : ndarray (n_hidden,)
        The running mean activation, this mini-batch included.
    """

    gradient: Vector
    terms: Vector
    rho_hat: Vector


@final
class MiniBatches:
    """Evaluates subsets of the rows of an objective, with one kernel of its backend in the calling thread.

    Parameters
    ----------
    objective : Objective
        Gives data, settings and backend.
    batch_rows : int
        Rows in a mini-batch, at most.
    """

    def __init__(self, objective: Objective, batch_rows: int) -> None:
        self.objective = objective
        self.batch_rows = min(batch_rows, objective.n_samples)
        self._x, self._target = objective.sources
        problem = replace(objective.problem, block_rows=self.batch_rows)
        self._kernel = make_kernel(objective.backend, problem)
        self._sums = Sums(objective.n_visible, objective.n_hidden)

    def gradient(self, theta: Vector, rows: Rows, rho_hat: Vector, rho_decay: float) -> Batch:
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
        o, sums = self.objective, self._sums
        sums.vector.fill(0)
        weights, block = self._begin(theta, rows)
        hidden, total = self._call("encode", weights, block)
        running = rho_decay * rho_hat + (1 - rho_decay) / len(rows) * total
        cost, s = sparsity_terms(running, o.rho, o.beta)
        self._call("accumulate", weights, block, hidden, s.astype(o.dtype), sums)
        self._call("finish", weights, sums)
        gradient = np.concatenate([part.ravel() for part in (sums.W1, sums.W2, sums.b1, sums.b2)])
        gradient /= len(rows)
        decayed = theta[: 2 * o.n_visible * o.n_hidden]
        gradient[: len(decayed)] += o.weight_decay * decayed
        decay = o.weight_decay / 2 * float(decayed @ decayed)
        return Batch(gradient, np.array([sums.squared_error / (2 * len(rows)), decay, cost]), running)

    def cost(self, theta: Vector, rows: Rows) -> float:
        """Cost over those rows, with their own mean activation."""
        o, sums = self.objective, self._sums
        sums.vector.fill(0)
        for start in range(0, len(rows), self.batch_rows):
            weights, block = self._begin(theta, rows[start : start + self.batch_rows])
            self._call("accumulate", weights, block, None, None, sums)
        self._call("finish", weights, sums)
        decayed = theta[: 2 * o.n_visible * o.n_hidden]
        sparsity, _ = sparsity_terms(sums.hidden / len(rows), o.rho, o.beta)
        return sums.squared_error / (2 * len(rows)) + o.weight_decay / 2 * float(decayed @ decayed) + sparsity

    def _begin(self, theta: Vector, rows: Rows) -> tuple[Any, Any]:
        """Weights and block."""
        o = self.objective
        parameters = Parameters.from_flat(theta, o.n_visible, o.n_hidden).astype(o.dtype)
        x = self._x.take(rows, o.dtype)
        target = x if self._target is self._x else self._target.take(rows, o.dtype)
        return self._call("begin", parameters), self._call("prepare", x, target, False)

    def _call(self, method: str, *arguments: object) -> Any:
        return call_kernel(self.objective.backend.name, self._kernel, method, *arguments)


@final
@dataclass(frozen=True, kw_only=True)
class EpochState:
    """Where a mini-batch method stands, between two mini-batches.

    Attributes
    ----------
    moments : Moments
    gradient : ndarray (size,)
        Of the last mini-batch.
    rho_hat : ndarray (n_hidden,)
        Running mean activation.
    iteration : int
        Epochs finished.
    position : int
        Rows of the present epoch that are done.
    terms : ndarray (3,)
        Of the last finished epoch: means over its mini-batches, each at the parameters of its moment.
    sums : ndarray (3,)
        The same of the present epoch so far, times rows.
    best_theta : ndarray (size,)
    best_cost : float
        Least held-out cost (cost of an epoch where nothing is held out), and the parameters there.
    best_epoch : int
    outcome : str
    """

    moments: Moments
    gradient: Vector
    rho_hat: Vector
    iteration: int
    position: int
    terms: Vector
    sums: Vector
    best_theta: Vector
    best_cost: float
    best_epoch: int
    outcome: Outcome

    @property
    def theta(self) -> Vector:
        """Parameters (size,)."""
        return self.moments.theta

    @property
    def cost(self) -> float:
        """Cost of the last finished epoch."""
        return float(self.terms.sum())


@final
class Epochs(StepMethod):
    """A mini-batch method on an objective; a step is a mini-batch, an iteration is an epoch.

    Parameters
    ----------
    method : StochasticMethod
    objective : Objective
    seed : int
        Which rows are held out, and the order of the others in each epoch.
    timed : callable
        Wraps the evaluation of a mini-batch: for the loop's clock and counter.
    """

    def __init__(
        self,
        method: StochasticMethod,
        objective: Objective,
        *,
        seed: int,
        timed: Callable[[Callable[..., Any]], Callable[..., Any]] = lambda function: function,
    ) -> None:
        self.name = method.name
        self.method, self.objective, self.seed = method, objective, seed
        self._batches = MiniBatches(objective, method.batch_rows)
        self._evaluate: Callable[..., Evaluation] = timed(objective.evaluate)
        self._gradient: Callable[..., Batch] = timed(self._batches.gradient)
        self._cost: Callable[..., float] = timed(self._batches.cost)
        order = np.random.default_rng([seed, 0]).permutation(objective.n_samples)
        held = round(method.held_out * objective.n_samples)
        if method.held_out > 0 and not 0 < held < objective.n_samples:
            raise DataError(f"held_out={method.held_out} of {objective.n_samples} samples leaves none on one side.")
        self.held_out: Rows = np.sort(order[:held])
        self.trained_on: Rows = np.sort(order[held:])
        self._order: tuple[int, Rows] = (-1, self.trained_on)

    def init(self, function: Function, theta: Vector) -> EpochState:
        """State at the starting point; one full evaluation gives cost and mean activation."""
        found = self._evaluate(theta)
        if not is_finite(found.cost, found.gradient):
            raise OptimizationError(f"The cost at the starting point is {found.cost}, or its gradient is not finite.")
        best = self._cost(theta, self.held_out) if len(self.held_out) else found.cost
        return EpochState(
            moments=self.method.start(np.array(theta, dtype=np.float64)),
            gradient=found.gradient,
            rho_hat=found.rho_hat,
            iteration=0,
            position=0,
            terms=np.array(found.terms),
            sums=np.zeros(3),
            best_theta=theta,
            best_cost=best,
            best_epoch=0,
            outcome="",
        )

    def step(self, function: Function, state: EpochState) -> EpochState:
        """One mini-batch, and what is due at the end of an epoch."""
        rows = self._rows(state)
        batch = self._gradient(state.theta, rows, state.rho_hat, self.method.rho_decay)
        if not is_finite(float(batch.terms.sum()), batch.gradient):
            return replace(state, outcome="not finite")
        moments = self.method.update(state.moments, batch.gradient)
        after = replace(
            state,
            moments=moments,
            gradient=batch.gradient,
            rho_hat=batch.rho_hat,
            position=state.position + len(rows),
            sums=state.sums + len(rows) * batch.terms,
        )
        return after if after.position < len(self.trained_on) else self._epoch_ends(after)

    def _epoch_ends(self, state: EpochState) -> EpochState:
        """Take the epoch's cost, look whether it is the best so far, and whether to go on."""
        terms = state.sums / state.position
        epoch = state.iteration + 1
        cost = self._cost(state.theta, self.held_out) if len(self.held_out) else float(terms.sum())
        after = replace(state, iteration=epoch, position=0, terms=terms, sums=np.zeros(3))
        if not np.isfinite(cost):
            return replace(after, outcome="not finite")
        if cost < state.best_cost:
            return replace(after, best_theta=state.theta, best_cost=cost, best_epoch=epoch)
        waited = epoch - state.best_epoch >= self.method.patience
        return replace(after, outcome="converged") if waited and len(self.held_out) else after

    def _rows(self, state: EpochState) -> Rows:
        """Rows of the next mini-batch: sorted, since their order changes nothing but the way they are read."""
        epoch, order = self._order
        if epoch != state.iteration:
            rng = np.random.default_rng([self.seed, 1, state.iteration])
            order = rng.permutation(self.trained_on)
            self._order = (state.iteration, order)
        return np.sort(order[state.position : state.position + self._batches.batch_rows])

    def best(self, state: Any) -> Vector:
        """Return the parameters to keep: the best on the held-out rows, and after a breakdown; else the last."""
        keep = len(self.held_out) > 0 or state.outcome == "not finite"
        return state.best_theta if keep else state.theta  # type: ignore[no-any-return]

    def pack(self, state: EpochState) -> dict[str, NDArray[Any]]:
        """The state as named arrays, for a checkpoint."""
        return {
            "theta": state.theta,
            "first": state.moments.first,
            "second": state.moments.second,
            "gradient": state.gradient,
            "rho_hat": state.rho_hat,
            "terms": state.terms,
            "sums": state.sums,
            "best_theta": state.best_theta,
            "best_cost": np.array(state.best_cost),
            "counts": np.array([state.moments.updates, state.iteration, state.position, state.best_epoch]),
        }

    def unpack(self, arrays: dict[str, NDArray[Any]]) -> EpochState:
        """Undo `pack`: the state, bit for bit."""
        updates, iteration, position, best_epoch = (int(number) for number in arrays["counts"])
        waited = position == 0 and len(self.held_out) > 0 and iteration - best_epoch >= self.method.patience
        return EpochState(
            moments=Moments(arrays["theta"], arrays["first"], arrays["second"], updates),
            gradient=arrays["gradient"],
            rho_hat=arrays["rho_hat"],
            iteration=iteration,
            position=position,
            terms=arrays["terms"],
            sums=arrays["sums"],
            best_theta=arrays["best_theta"],
            best_cost=float(arrays["best_cost"]),
            best_epoch=best_epoch,
            outcome="converged" if waited else "",
        )
