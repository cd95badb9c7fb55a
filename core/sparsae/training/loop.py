"""What happens around the evaluations of a fit: the clock, the learning curve, observers, checkpoints, stop rules."""

from __future__ import annotations

import time
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from sparsae.errors import CheckpointWarning
from sparsae.objective import Evaluation, Objective
from sparsae.optimize.base import Method, State, Vector
from sparsae.training.checkpoint import Checkpoint, Saved, save
from sparsae.training.interrupt import Interrupt
from sparsae.training.result import History, Reason
from sparsae.training.stopping import Stop, converged

T = TypeVar("T")
COLUMNS = (
    "iteration",
    "evaluations",
    "cost",
    "squared_error",
    "weight_decay",
    "sparsity",
    "gradient_max",
    "seconds",
    "evaluation_seconds",
)
COST, GRADIENT_MAX = 2, 6
Row = tuple[float, ...]


@final
class Counts(NamedTuple):
    """What a fit has used so far: evaluations, wall time, and how much of it the evaluations took."""

    evaluations: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0


@final
class CheckpointWriter:
    """Writes checkpoints when they are due; where it cannot, the fit goes on and it tries again the next time.

    Parameters
    ----------
    plan : Checkpoint
    method : Method
    header : callable
        Gives what the checkpoint should hold besides arrays.
    rotate : bool
        Whether what is at the path is whole.
    """

    def __init__(
        self, plan: Checkpoint, method: Method, header: Callable[[], Mapping[str, Any]], *, rotate: bool = True
    ) -> None:
        self._plan, self._method, self._header = plan, method, header
        self._path = Path(plan.path)
        self._rotate = rotate
        self._warned = False
        self._time, self._iteration = time.perf_counter(), 0

    def consider(self, state: State, rows: list[Row], counts: Counts, now: float) -> None:
        """Save when that many iterations or seconds have passed since the last time."""
        every, seconds = self._plan.every, self._plan.seconds
        by_count = every is not None and state.iteration - self._iteration >= every
        if by_count or (seconds is not None and now - self._time >= seconds):
            self.save(state, rows, counts)

    def start(self, iteration: int) -> None:
        """Count from here."""
        self._time, self._iteration = time.perf_counter(), iteration

    def save(self, state: State, rows: list[Row], counts: Counts) -> None:
        """Save now; a failure is said once."""
        header = {**self._header(), "iteration": state.iteration, "columns": COLUMNS, "counts": counts}
        saved = Saved(header, self._method.pack(state), np.array(rows))
        try:
            save(self._path, saved, rotate=self._rotate)
            self._rotate = True
        except OSError as error:
            if not self._warned:
                warnings.warn(
                    f"Iteration {state.iteration}: the checkpoint {self._path} could not be written "
                    f"({error.strerror or error}). Training goes on, and tries again at the next one.",
                    CheckpointWarning,
                    stacklevel=2,
                )
            self._warned = True
        self.start(state.iteration)


@final
class Loop:
    """Sees every evaluation and every state of a fit.

    Parameters
    ----------
    objective : Objective
    max_iter : int
    stop : Stop
    interrupt : Interrupt
    tell : callable or None
        ``tell(state, row) -> bool`` informs observers; True: one of them wants to stop.
    rows : sequence of tuple
        The learning curve so far, when the fit is resumed.
    counts : Counts, optional
        And what it has used: more than the last row says, in the middle of an epoch.

    Attributes
    ----------
    rows : list of tuple
        The learning curve.
    reason, detail : str
        Why the loop ended, once it has.
    evaluation : Evaluation or None
        At the last recorded point, where there was one (full batch).
    """

    def __init__(
        self,
        objective: Objective,
        *,
        max_iter: int,
        stop: Stop,
        interrupt: Interrupt,
        tell: Callable[[State, Row], bool] | None,
        rows: Sequence[Row] = (),
        counts: Counts | None = None,
    ) -> None:
        self.rows: list[Row] = list(rows)
        self.reason: Reason | None = None
        self.detail = ""
        self.evaluation: Evaluation | None = None
        self.keeper: CheckpointWriter | None = None
        self._max_iter, self._stop, self._interrupt, self._tell = max_iter, stop, interrupt, tell
        self._evaluate = self.timed(objective.evaluate)
        self._recent: deque[Evaluation] = deque(maxlen=30)
        self._evaluations, before, self._inside = counts or Counts()
        self._recorded = int(self.rows[-1][0]) if self.rows else -1
        self._start = time.perf_counter()
        self._origin = self._start - before

    @property
    def counts(self) -> Counts:
        """What the fit has used so far."""
        return Counts(self._evaluations, time.perf_counter() - self._origin, self._inside)

    def timed(self, function: Callable[..., T]) -> Callable[..., T]:
        """Return the function on the clock and counted."""

        def call(*arguments: Any) -> T:
            before = time.perf_counter()
            found = function(*arguments)
            self._inside += time.perf_counter() - before
            self._evaluations += 1
            return found

        return call

    def function(self, theta: Vector) -> tuple[float, Vector]:
        """Cost and gradient over all rows, for the optimiser."""
        found = self._evaluate(theta)
        self._recent.append(found)
        return found.cost, found.gradient

    def visit(self, state: State) -> bool:
        """Record a new iteration, inform, save, and say whether to stop."""
        now = time.perf_counter()
        wish = False
        if state.iteration > self._recorded:
            row = self._record(state, now)
            wish = self._tell is not None and self._tell(state, row)
        self.reason, self.detail = self._why(state, now, wish=wish)
        if self.keeper is not None and self.reason is None:
            self.keeper.consider(state, self.rows, self.counts, now)
        return self.reason is not None

    def _record(self, state: State, now: float) -> Row:
        """Add a row to the learning curve."""
        terms = getattr(state, "terms", None)
        if terms is None:
            self.evaluation = next(e for e in reversed(self._recent) if _is_at(e, state))
            self._recent.clear()
            terms = self.evaluation.terms
        self._recorded = state.iteration
        row = (
            state.iteration,
            self._evaluations,
            state.cost,
            *(float(term) for term in terms),
            float(np.abs(state.gradient).max()),
            now - self._origin,
            self._inside,
        )
        self.rows.append(row)
        return row

    def _why(self, state: State, now: float, *, wish: bool) -> tuple[Reason | None, str]:
        """Return the reason to stop, and what its sentence needs; None: go on."""
        rows, stop = self.rows, self._stop
        if not hasattr(state, "terms"):
            before = rows[-2][COST] if len(rows) > 1 else None
            rule = converged(stop, before, rows[-1][COST], rows[-1][GRADIENT_MAX])
            if rule is not None:
                return "converged", rule
        if wish:
            return "stopped", ""
        if self._interrupt.signal is not None:
            return "interrupted", f" by {self._interrupt.signal.name}"
        if state.iteration >= self._max_iter:
            return "iteration limit", self._pace()
        if stop.evaluations is not None and self._evaluations >= stop.evaluations:
            return "evaluation limit", str(stop.evaluations)
        if stop.seconds is not None and now - self._start >= stop.seconds:
            return "time limit", f"{stop.seconds:g}"
        return None, ""

    def _pace(self) -> str:
        """How fast the cost still falls."""
        if len(self.rows) <= 10:
            return ""
        share = 1 - self.rows[-1][COST] / self.rows[-11][COST]
        return f"; the last ten lowered the cost by {100 * share:.2g} %" if share > 0 else ""

    def history(self) -> History:
        """The learning curve as arrays."""
        columns: NDArray[np.float64] = np.array(self.rows).T.copy()
        return History(
            **{
                name: column.astype(np.int64) if name in ("iteration", "evaluations") else column
                for name, column in zip(COLUMNS, columns, strict=True)
            }
        )


def _is_at(evaluation: Evaluation, state: State) -> bool:
    """Whether the evaluation is the one at that state."""
    same = evaluation.gradient is state.gradient
    return same or (evaluation.cost == state.cost and np.array_equal(evaluation.gradient, state.gradient))
