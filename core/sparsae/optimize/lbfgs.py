"""L-BFGS with a strong Wolfe line search, the default optimiser.

Source: Liu and Nocedal, *On the limited memory BFGS method for large scale optimization*,
Mathematical Programming 45 (1989); the direction comes from the compact representation in `lbfgs_history.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from sparsae.errors import ParameterError
from sparsae.model import check_size
from sparsae.model.checks import make_floats
from sparsae.optimize.base import (
    Function,
    Outcome,
    PointState,
    StepMethod,
    dataclass_settings,
    evaluate_start,
)
from sparsae.optimize.lbfgs_history import CurvatureHistory
from sparsae.optimize.linesearch import LinePoint, LineSearchResult, strong_wolfe
from sparsae.optimize.objective_functions import Vector
from sparsae.optimize.packing import check_packed, pack_evaluation, unpack_counts, unpack_evaluation

LEAST_MEMORY, MOST_MEMORY = 5, 100
_EPS = float(np.finfo(np.float64).eps)


@final
@dataclass(frozen=True)
class LBFGSState(PointState):
    """State of L-BFGS between two iterations.

    Attributes
    ----------
    history : CurvatureHistory
        Shared with the states before, and changed by each step.
    version : int
        That of `history` when this state was the newest.
    """

    history: CurvatureHistory
    version: int


@final
@dataclass(frozen=True)
class LBFGS(StepMethod):
    """L-BFGS.

    Made for smooth functions.  The cost of relu units has kinks, where pre-activations pass 0, at which a line search
    may find no decrease ("stalled"); see docs/training.md for how it fares.

    Parameters
    ----------
    memory : int
        Pairs kept, 5 to 100.
    decrease, curvature : float
        Constants of the strong Wolfe conditions, 0 < decrease < curvature < 1.
    trials : int
        Evaluations in one line search, at most.

    Raises
    ------
    ParameterError
        When a setting is out of range.
    """

    name: ClassVar[str] = "lbfgs"  # type: ignore[misc]
    memory: int = 20
    decrease: float = 1e-3
    curvature: float = 0.9
    trials: int = 20

    def __post_init__(self) -> None:
        memory = check_size("memory", self.memory)
        if not LEAST_MEMORY <= memory <= MOST_MEMORY:
            raise ParameterError(f"memory must lie from {LEAST_MEMORY} to {MOST_MEMORY}; given {memory}.")
        make_floats(self, "decrease", "curvature")
        if not 0 < self.decrease < self.curvature < 1:
            raise ParameterError(
                f"decrease and curvature must satisfy 0 < decrease < curvature < 1; "
                f"given decrease={self.decrease}, curvature={self.curvature}."
            )
        check_size("trials", self.trials, least=2)

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return dataclass_settings(self)

    def init(self, function: Function, theta: Vector) -> LBFGSState:
        """Return the state at the starting point; evaluates the function once."""
        theta = np.array(theta, dtype=np.float64)
        start = evaluate_start(function, theta)
        return LBFGSState(theta, start, 0, "", CurvatureHistory(len(theta), self.memory), 0)

    def step(self, function: Function, state: LBFGSState) -> LBFGSState:
        """Do one iteration.

        Where no decrease is found, the history is dropped and steepest descent is tried, before the step gives up.
        """
        history = state.history
        if history.version != state.version:
            raise ParameterError(
                "This L-BFGS state is not the newest one: a step from it has changed the history that both share. "
                "Step from the state that came out, or pack() and unpack() a state to keep a copy."
            )
        search = self._search(function, state)
        if search.point is None and history.count > 0:
            history.clear()
            search = self._search(function, state)
        if search.point is None:
            outcome: Outcome = "stalled" if search.finite else "not finite"
            return LBFGSState(state.theta, state.evaluation, state.iteration, outcome, history, history.version)
        theta, evaluation = search.point.theta, search.point.evaluation
        gradient = evaluation.gradient
        s = np.subtract(theta, state.theta, out=history.spare[0])
        y = np.subtract(gradient, state.gradient, out=history.spare[1])
        difference = history.update_products(gradient)
        sy, yy = float(s @ y), float(y @ y)
        if sy > _EPS * abs(float(s @ state.gradient)) and yy > 0:  # else H would not stay positive definite
            history.add(s, y, difference, gradient, sy, yy)
        return LBFGSState(theta, evaluation, state.iteration + 1, "", history, history.version)

    def _search(self, function: Function, state: LBFGSState) -> LineSearchResult:
        """Search along the quasi-Newton direction; without a history along -gradient, at most one unit of length."""
        direction = state.history.descent(state.gradient)
        slope = float(direction @ state.gradient)
        length = 1.0
        if state.history.count == 0:
            norm = np.sqrt(-slope)
            length = min(1.0, 1.0 / norm) if norm > 0 else 1.0
        if not slope < 0:  # at a stationary point, or rounding has spoilt the history
            return LineSearchResult(None, 0, finite=True)
        return strong_wolfe(
            function,
            LinePoint(0.0, slope, state.theta, state.evaluation),
            direction,
            length,
            decrease=self.decrease,
            curvature=self.curvature,
            trials=self.trials,
        )

    def pack(self, state: LBFGSState) -> dict[str, NDArray[Any]]:
        """Return the state as named arrays, for a checkpoint."""
        history = state.history
        return {
            "theta": state.theta,
            **pack_evaluation(state.evaluation),
            "counts": np.array([state.iteration, history.memory, history.count, history.first], dtype=np.int64),
            "rows": history.rows[: 2 * history.count],
            "sy": history.sy,
            "yy": history.yy,
            "products": history.products,
        }

    def unpack(self, arrays: dict[str, NDArray[Any]]) -> LBFGSState:
        """Undo `pack`: the state, bit for bit, with copies of the arrays."""
        check_packed(arrays, {"theta": (arrays["theta"].size,)})
        iteration, memory, count, first = unpack_counts(arrays["counts"], 4)
        theta = np.array(arrays["theta"])
        if not (LEAST_MEMORY <= memory <= MOST_MEMORY and count <= memory and first < memory):
            raise ParameterError(f"counts are {arrays['counts'].tolist()}")
        square = (memory, memory)
        shapes = {"rows": (2 * count, len(theta)), "sy": square, "yy": square, "products": (2 * memory,)}
        check_packed(arrays, shapes)
        history = CurvatureHistory(len(theta), memory)
        history.rows[: 2 * count] = arrays["rows"]
        history.sy[...], history.yy[...], history.products[...] = arrays["sy"], arrays["yy"], arrays["products"]
        history.count, history.first = count, first
        return LBFGSState(theta, unpack_evaluation(arrays), iteration, "", history, 0)
