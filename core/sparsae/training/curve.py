"""The learning curve of a fit as it grows, and the count and time of its evaluations."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from sparsae.objective import Evaluation, Objective
from sparsae.optimize.base import OptimizerState
from sparsae.optimize.objective_functions import RowFunctions, Vector
from sparsae.training.minibatch import MiniBatches
from sparsae.training.result import COUNTED, History

T = TypeVar("T")


@final
class CurveRow(NamedTuple):
    """One entry of the learning curve; the fields are those of `History`."""

    iteration: int
    evaluations: int
    cost: float
    squared_error: float
    weight_decay: float
    sparsity: float
    gradient_max: float
    seconds: float
    evaluation_seconds: float
    explained_variance: float
    l0: float
    dead_share: float


COLUMNS = CurveRow._fields
FIGURES = ("explained_variance", "l0", "dead_share")


@final
class FitCounts(NamedTuple):
    """What a fit has used so far: evaluations, wall time, and how much of it the evaluations took."""

    evaluations: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0


@final
class MeteredObjective:
    """The objective of a fit, with its evaluations counted and timed.

    Parameters
    ----------
    objective : Objective
    used : FitCounts
        What the fit had used before it was resumed.
    epochs : int
        Iterations that are planned, for schedules of mini-batch methods.

    Attributes
    ----------
    notes : list of str
        For the receipt.
    """

    def __init__(self, objective: Objective, used: FitCounts, epochs: int = 1) -> None:
        self.size, self.n_samples, self.dtype = objective.size, objective.n_samples, objective.dtype
        self.n_hidden, self.settings, self.epochs = objective.n_hidden, objective.settings, epochs
        self.notes: list[str] = []
        self._objective = objective
        self._batches: list[MiniBatches] = []
        self.evaluations, before, self._evaluation_seconds = used
        self.started = time.perf_counter()
        self._origin = self.started - before

    @property
    def counts(self) -> FitCounts:
        """What the fit has used so far."""
        return FitCounts(self.evaluations, time.perf_counter() - self._origin, self._evaluation_seconds)

    def evaluate(self, theta: Vector) -> Evaluation:
        """Cost and gradient over all rows."""
        return self._meter(self._objective.evaluate, theta)

    def mini_batches(self, batch_rows: int) -> RowFunctions:
        """Cost and gradient over some rows."""
        batches = MiniBatches(self._objective, batch_rows)
        self._batches.append(batches)
        self.notes.append(batches.note)
        return _MeteredMiniBatches(batches, self._meter)

    def close(self) -> None:
        """End the worker threads of mini-batches."""
        for batches in self._batches:
            batches.close()

    def _meter(self, function: Callable[..., T], *arguments: Any, **options: Any) -> T:
        """Call the function; count and time it."""
        before = time.perf_counter()
        value = function(*arguments, **options)
        self._evaluation_seconds += time.perf_counter() - before
        self.evaluations += 1
        return value


@final
class _MeteredMiniBatches:
    """Mini-batches whose evaluations are counted and timed."""

    def __init__(self, batches: MiniBatches, meter: Callable[..., Any]) -> None:
        self.batch_rows = batches.batch_rows
        self.read_ahead, self.run_tasks, self.constrain = batches.read_ahead, batches.run_tasks, batches.constrain
        self.adam = batches.adam
        self.gradient, self.evaluate = partial(meter, batches.gradient), partial(meter, batches.evaluate)


@final
class LearningCurve:
    """Entries of the learning curve, one for each iteration.

    Parameters
    ----------
    rows : sequence of CurveRow
        Those before a resume.
    """

    def __init__(self, rows: Sequence[CurveRow] = ()) -> None:
        self.rows = list(rows)

    @property
    def last_iteration(self) -> int:
        """Iteration of the last entry; -1 where there is none."""
        return int(self.rows[-1].iteration) if self.rows else -1

    def record(self, state: OptimizerState, counts: FitCounts, figures: Mapping[str, float]) -> CurveRow:
        """Add an entry, with those of the figures of merit that are columns, and return it."""
        terms = state.terms
        row = CurveRow(
            iteration=state.iteration,
            evaluations=counts.evaluations,
            cost=state.cost,
            squared_error=float(terms.squared_error),
            weight_decay=float(terms.weight_decay),
            sparsity=float(terms.sparsity),
            gradient_max=state.gradient_max,
            seconds=counts.seconds,
            evaluation_seconds=counts.evaluation_seconds,
            **{name: figures.get(name, math.nan) for name in FIGURES},
        )
        self.rows.append(row)
        return row

    def recent_decrease(self, iterations: int = 10) -> float:
        """Return by what share of it the last iterations lowered the cost; 0 where there are fewer, or it was 0."""
        if len(self.rows) <= iterations:
            return 0.0
        before, now = self.rows[-1 - iterations].cost, self.rows[-1].cost
        return 1 - now / before if before != 0 else 0.0

    def history(self) -> History:
        """Return the learning curve as arrays."""
        columns: NDArray[np.float64] = np.array(self.rows).T.copy()
        return History(
            **{
                name: column.astype(np.int64) if name in COUNTED else column
                for name, column in zip(COLUMNS, columns, strict=True)
            }
        )
