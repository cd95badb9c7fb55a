"""What every optimiser of full-batch costs is: `init` and `step` on a state that is a value."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol, final

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]
Function = Callable[[Vector], tuple[float, Vector]]
"""theta (size,) -> (cost, gradient (size,)); the gradient must not be a view of scratch."""

Outcome = Literal["", "converged", "stalled", "not finite"]
"""How a step ended: "" (go on), "converged" (a rule of the method's own was met), "stalled" (no decrease was found),
"not finite" (nor was a finite cost)."""


class State(Protocol):
    """What the loop may read of any state.

    A state holds everything that the next step depends on:
    going on from one that was saved and read back gives the bits that never having stopped gives.
    """

    @property
    def theta(self) -> Vector:
        """Where the optimiser stands (size,)."""

    @property
    def cost(self) -> float:
        """Cost there."""

    @property
    def gradient(self) -> Vector:
        """Gradient there (size,)."""

    @property
    def iteration(self) -> int:
        """Number of steps taken."""

    @property
    def outcome(self) -> Outcome:
        """How the last step ended."""


Visit = Callable[[State], bool]


@final
class PlainState(NamedTuple):
    """A state that is a point and nothing else: what can be known of methods that keep theirs to themselves."""

    theta: Vector
    cost: float
    gradient: Vector
    iteration: int
    outcome: Outcome = ""


class Method(ABC):
    """An optimiser: meant for subclassing.  Instances are frozen settings.

    There is no I/O, no clock and no global state in an optimiser; the function is its only view of the world.
    """

    name: str

    @abstractmethod
    def run(self, function: Function, start: Vector | State, visit: Visit) -> State:
        """Go on from parameters or from a state until `visit` or the method itself says stop.

        Parameters
        ----------
        function : callable
        start : ndarray (size,) or State
        visit : callable
            ``visit(state) -> bool`` is called at the starting point and after each iteration; True: stop.

        Returns
        -------
        State
            The last one visited, or one with an outcome.
        """

    def best(self, state: Any) -> Vector:
        """Return the parameters to keep when the run ends in that state (size,)."""
        theta: Vector = state.theta
        return theta

    def pack(self, state: Any) -> dict[str, NDArray[Any]]:
        """The state as named arrays, for a checkpoint: here the point, from which the method starts afresh."""
        return {
            "theta": state.theta,
            "gradient": state.gradient,
            "cost": np.array(state.cost),
            "iteration": np.array(state.iteration),
        }

    def unpack(self, arrays: dict[str, NDArray[Any]]) -> Any:
        """Undo `pack`."""
        return PlainState(arrays["theta"], float(arrays["cost"]), arrays["gradient"], int(arrays["iteration"]))


class StepMethod(Method):
    """An optimiser that owns no loop: meant for subclassing.

    Going on from a state that was packed and unpacked gives the bits of never having stopped.
    """

    @abstractmethod
    def init(self, function: Function, theta: Vector) -> Any:
        """State at the starting point; evaluates the function once.

        Raises
        ------
        OptimizationError
            When cost or gradient is not finite there.
        """

    @abstractmethod
    def step(self, function: Function, state: Any) -> Any:
        """One iteration: a new state.  The one given is consumed: what it refers to may live on in the new one."""

    @abstractmethod
    def pack(self, state: Any) -> dict[str, NDArray[Any]]:
        """The state as named arrays, for a checkpoint."""

    @abstractmethod
    def unpack(self, arrays: dict[str, NDArray[Any]]) -> Any:
        """Undo `pack`: the state, bit for bit."""

    def run(self, function: Function, start: Vector | State, visit: Visit) -> State:
        """Step until `visit` says stop or a step ends with an outcome."""
        state: State = self.init(function, start) if isinstance(start, np.ndarray) else start
        while not visit(state) and not state.outcome:
            state = self.step(function, state)
        return state


def is_finite(cost: float, gradient: Vector) -> bool:
    """Whether cost and gradient are finite; one pass without a temporary in the usual case."""
    # A sum of squares is finite only if every term is; only an overflow needs the slow answer.
    return bool(np.isfinite(cost) and (np.isfinite(gradient @ gradient) or np.isfinite(gradient).all()))
