"""L-BFGS with a strong Wolfe line search, the default optimiser.

Source: Liu and Nocedal, *On the limited memory BFGS method for large scale optimization*,
Mathematical Programming 45 (1989); the direction comes from the compact representation in `pairs.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from sparsae.errors import OptimizationError, ParameterError
from sparsae.model import check_size
from sparsae.optimize.base import Function, Outcome, StepMethod, Vector, is_finite
from sparsae.optimize.lbfgs_history import Pairs
from sparsae.optimize.linesearch import Found, Point, strong_wolfe

LEAST_MEMORY, MOST_MEMORY = 5, 100
_EPS = float(np.finfo(np.float64).eps)


@final
@dataclass(frozen=True)
class LBFGSState:
    """Where L-BFGS stands, between two steps.

    Attributes
    ----------
    theta, gradient : ndarray (size,)
    cost : float
    iteration : int
    outcome : str
        "", "stalled" or "not finite".
    pairs : Pairs
        Moves on with the newest state; `version` tells whether this is the one.
    version : int
    """

    theta: Vector
    cost: float
    gradient: Vector
    iteration: int
    outcome: Outcome
    pairs: Pairs
    version: int


@final
@dataclass(frozen=True)
class LBFGS(StepMethod):
    """L-BFGS.

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
        if not 0 < self.decrease < self.curvature < 1:
            raise ParameterError(
                f"decrease and curvature must satisfy 0 < decrease < curvature < 1; "
                f"given decrease={self.decrease}, curvature={self.curvature}."
            )
        check_size("trials", self.trials, least=2)

    def init(self, function: Function, theta: Vector) -> LBFGSState:
        """State at the starting point; evaluates the function once."""
        theta = np.array(theta, dtype=np.float64)
        cost, gradient = function(theta)
        if not is_finite(cost, gradient):
            raise OptimizationError(
                f"The cost at the starting point is {cost} and its gradient has "
                f"{np.count_nonzero(~np.isfinite(gradient))} components that are not finite; "
                f"start from smaller weights or check the scale of the data."
            )
        return LBFGSState(theta, float(cost), gradient, 0, "", Pairs(len(theta), self.memory), 0)

    def step(self, function: Function, state: LBFGSState) -> LBFGSState:
        """One iteration.

        Where no decrease is found the memory is dropped and steepest descent is tried, before the step gives up.
        """
        pairs = state.pairs
        if pairs.version != state.version:
            raise ParameterError(
                "This L-BFGS state has been stepped from before, and its memory has moved on with the state that came "
                "out; step from that one, or pack() and unpack() a state to keep a copy."
            )
        found = self._search(function, state)
        if found.point is None and pairs.count > 0:
            pairs.clear()
            found = self._search(function, state)
        if found.point is None:
            outcome: Outcome = "stalled" if found.finite else "not finite"
            return LBFGSState(state.theta, state.cost, state.gradient, state.iteration, outcome, pairs, pairs.version)
        theta, gradient = found.point.theta, found.point.gradient
        s = np.subtract(theta, state.theta, out=pairs.spare[0])
        y = np.subtract(gradient, state.gradient, out=pairs.spare[1])
        difference = pairs.moved(gradient)
        sy, yy = float(s @ y), float(y @ y)
        if sy > _EPS * abs(float(s @ state.gradient)) and yy > 0:  # else H would not stay positive definite
            pairs.add(s, y, difference, gradient, sy, yy)
        return LBFGSState(theta, found.point.cost, gradient, state.iteration + 1, "", pairs, pairs.version)

    def _search(self, function: Function, state: LBFGSState) -> Found:
        """Search along the quasi-Newton direction; along -gradient, one unit of length at most, without a memory."""
        direction = state.pairs.descent(state.gradient)
        slope = float(direction @ state.gradient)
        length = 1.0
        if state.pairs.count == 0:
            norm = np.sqrt(-slope)
            length = min(1.0, 1.0 / norm) if norm > 0 else 1.0
        if not slope < 0:  # at a stationary point, or rounding has spoilt the memory
            return Found(None, 0, finite=True)
        start = Point(0.0, state.cost, slope, state.theta, state.gradient)
        return strong_wolfe(
            function,
            start,
            direction,
            length,
            decrease=self.decrease,
            curvature=self.curvature,
            trials=self.trials,
        )

    def pack(self, state: LBFGSState) -> dict[str, NDArray[Any]]:
        """The state as named arrays, for a checkpoint."""
        pairs = state.pairs
        return {
            "theta": state.theta,
            "gradient": state.gradient,
            "cost": np.array(state.cost),
            "counts": np.array([state.iteration, pairs.memory, pairs.count, pairs.first], dtype=np.int64),
            "rows": pairs.rows[: 2 * pairs.count],
            "sy": pairs.sy,
            "yy": pairs.yy,
            "products": pairs.products,
        }

    def unpack(self, arrays: dict[str, NDArray[Any]]) -> LBFGSState:
        """Undo `pack`: the state, bit for bit, with copies of the arrays."""
        iteration, memory, count, first = (int(number) for number in arrays["counts"])
        theta = np.array(arrays["theta"])
        pairs = Pairs(len(theta), memory)
        pairs.rows[: 2 * count] = arrays["rows"]
        pairs.sy[...], pairs.yy[...], pairs.products[...] = arrays["sy"], arrays["yy"], arrays["products"]
        pairs.count, pairs.first = count, first
        return LBFGSState(theta, float(arrays["cost"]), np.array(arrays["gradient"]), iteration, "", pairs, 0)
