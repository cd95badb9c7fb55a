"""What an optimiser is: settings that `bind` to an objective, and states that are values.

A `Method` holds settings.  `Method.bind` joins it with an objective and a seed to a `BoundMethod`, which a fit runs.
An optimiser has no I/O, no clock and no global state: the objective is all that it sees.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Protocol, final

import numpy as np
from numpy.typing import NDArray

from sparsae.cost import Evaluation, Terms
from sparsae.errors import OptimizationError
from sparsae.optimize.activity import UnitActivity
from sparsae.optimize.objective_functions import ObjectiveFunctions, Vector

Function = Callable[[Vector], Evaluation]
"""theta (size,) -> `Evaluation`; its gradient must not be a view of scratch."""

Outcome = Literal["", "converged", "stalled", "not finite"]
"""How a step ended: "" (go on), "converged" (a rule of the method's own is met), "stalled" (no decrease was found),
"not finite" (no finite cost was found)."""


class OptimizerState(Protocol):
    """What a fit reads of any state.

    A state holds everything that the next step depends on:
    going on from one that was saved and read back gives the bits of never having stopped.
    """

    @property
    def theta(self) -> Vector:
        """The present parameters (size,)."""

    @property
    def cost(self) -> float:
        """Cost at these parameters."""

    @property
    def terms(self) -> Terms:
        """The terms of that cost."""

    @property
    def gradient_max(self) -> float:
        """Largest absolute component of the gradient."""

    @property
    def iteration(self) -> int:
        """Number of iterations done."""

    @property
    def outcome(self) -> Outcome:
        """How the last step ended."""


@dataclass(frozen=True)
class PointState:
    """Parameters and their evaluation; states of full-batch methods add what the next step needs.

    Attributes
    ----------
    theta : ndarray (size,)
    evaluation : Evaluation
        Cost, gradient and their parts at `theta`.
    iteration : int
    outcome : str
    """

    theta: Vector
    evaluation: Evaluation
    iteration: int
    outcome: Outcome

    @property
    def cost(self) -> float:
        """Cost at `theta`."""
        return self.evaluation.cost

    @property
    def terms(self) -> Terms:
        """The terms of the cost."""
        return self.evaluation.terms

    @property
    def gradient(self) -> Vector:
        """Gradient at `theta` (size,)."""
        return self.evaluation.gradient

    @property
    def gradient_max(self) -> float:
        """Largest absolute component of the gradient."""
        return float(np.abs(self.evaluation.gradient).max())


Callback = Callable[[OptimizerState], bool]
"""Called with the state at the start, after each iteration, and again after a step that was taken back; True ends the
run."""


class BoundMethod(ABC):
    """A method joined with its objective.

    Attributes
    ----------
    full_batch : bool
        Whether costs and gradients are those of all rows, so that the tolerances of `Stop` apply.
    """

    full_batch: ClassVar[bool] = True

    @abstractmethod
    def run(self, start: Vector | OptimizerState, callback: Callback) -> OptimizerState:
        """Go on from parameters or from a state until `callback` or a step's outcome ends the run.

        Returns
        -------
        OptimizerState
            The last one that `callback` saw, or one with an outcome.
        """

    @abstractmethod
    def result(self, state: Any) -> tuple[Vector, Evaluation]:
        """Return the parameters to keep when the run ends in that state, and the evaluation of all rows there.

        Mini-batch methods leave the gradient out.
        """

    def comparable_cost(self, theta: Vector, evaluation: Evaluation) -> float:
        """Return the cost at the parameters kept, over the rows that the first entry of the learning curve is of."""
        return evaluation.cost

    def activity(self, state: Any) -> UnitActivity:
        """Return what the hidden units do at a state, over the rows that its cost is of."""
        return UnitActivity(state.evaluation.rho_hat, state.evaluation.density)

    @abstractmethod
    def pack(self, state: Any) -> dict[str, NDArray[Any]]:
        """Return the state as named arrays, for a checkpoint."""

    @abstractmethod
    def unpack(self, arrays: dict[str, NDArray[Any]]) -> Any:
        """Undo `pack`."""


class Method(ABC):
    """An optimiser's settings: a frozen record, meant for subclassing.

    Attributes
    ----------
    name : str
        What users call it.
    resumes_exactly : bool
        Whether going on from a packed state gives the bits of never having stopped.
    """

    name: str
    resumes_exactly: ClassVar[bool] = True

    @abstractmethod
    def bind(self, objective: ObjectiveFunctions, seed: int) -> BoundMethod:
        """Join with an objective.

        Parameters
        ----------
        objective : ObjectiveFunctions
        seed : int
            Of what the method draws at random.

        Raises
        ------
        ParameterError, DataError
            When the method cannot be used for this objective.
        """

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values; none where a subclass does not say."""
        return {}


class StepMethod(Method):
    """A full-batch optimiser without a loop of its own: meant for subclassing."""

    @abstractmethod
    def init(self, function: Function, theta: Vector) -> Any:
        """Return the state at the starting point; evaluates the function once.

        Raises
        ------
        OptimizationError
            When cost or gradient is not finite there.
        """

    @abstractmethod
    def step(self, function: Function, state: Any) -> Any:
        """Do one iteration and return a new state; the one given must not be used any more."""

    @abstractmethod
    def pack(self, state: Any) -> dict[str, NDArray[Any]]:
        """Return the state as named arrays, for a checkpoint; `pack_evaluation` helps."""

    @abstractmethod
    def unpack(self, arrays: dict[str, NDArray[Any]]) -> Any:
        """Undo `pack`: the state, bit for bit; `unpack_evaluation` helps."""

    def bind(self, objective: ObjectiveFunctions, seed: int) -> BoundMethod:
        """Join with an objective."""
        return BoundSteps(self, objective.evaluate)

    def run(self, function: Function, start: Vector | OptimizerState, callback: Callback) -> OptimizerState:
        """Minimise a function of your own; see `BoundMethod.run`."""
        return BoundSteps(self, function).run(start, callback)


@final
class BoundSteps(BoundMethod):
    """A `StepMethod` and the function that it minimises."""

    def __init__(self, method: StepMethod, function: Function) -> None:
        self._method, self._function = method, function

    def run(self, start: Vector | OptimizerState, callback: Callback) -> OptimizerState:
        """Step until `callback` returns True or a step ends with an outcome."""
        method, function = self._method, self._function
        state = method.init(function, start) if isinstance(start, np.ndarray) else start
        return run_steps(lambda state: method.step(function, state), state, callback)

    def result(self, state: Any) -> tuple[Vector, Evaluation]:
        """Return the last parameters and their evaluation, which the state carries."""
        return state.theta, state.evaluation

    def pack(self, state: Any) -> dict[str, NDArray[Any]]:
        """As the method does."""
        return self._method.pack(state)

    def unpack(self, arrays: dict[str, NDArray[Any]]) -> Any:
        """As the method does."""
        return self._method.unpack(arrays)


def run_steps(step: Callable[[Any], Any], state: Any, callback: Callback) -> OptimizerState:
    """Step from a state until `callback` returns True or a step ends with an outcome."""
    while not callback(state) and not state.outcome:
        state = step(state)
    last: OptimizerState = state
    return last


def evaluate_start(function: Function, theta: Vector) -> Evaluation:
    """Evaluate the starting point.

    Raises
    ------
    OptimizationError
        When cost or gradient is not finite there.
    """
    start = function(theta)
    check_start(start.cost, start.gradient)
    return start


def check_start(cost: float, gradient: Vector | None = None) -> None:
    """Raise `OptimizationError` when the cost at the starting point, or its gradient, is not finite."""
    if np.isfinite(cost) and (gradient is None or is_finite(cost, gradient)):
        return
    components = ""
    if gradient is not None:
        components = f" and its gradient has {np.count_nonzero(~np.isfinite(gradient))} components that are not finite"
    raise OptimizationError(
        f"The cost at the starting point is {cost}{components}; "
        f"start from smaller weights or check the scale of the data."
    )


def is_finite(cost: float, gradient: Vector) -> bool:
    """Whether cost and gradient are finite; one pass without a temporary in the usual case."""
    with np.errstate(over="ignore", invalid="ignore"):
        squares = gradient @ gradient  # finite only if every term is; only an overflow needs the slow answer
    return bool(np.isfinite(cost) and (np.isfinite(squares) or np.isfinite(gradient).all()))


def dataclass_settings(method: Any) -> dict[str, Any]:
    """Return the fields of a method that is a dataclass, its name aside."""
    return {field.name: getattr(method, field.name) for field in fields(method) if field.name != "name"}
