"""The gradient methods of ``scipy.optimize.minimize``, by name."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NoReturn, cast, final

import numpy as np
from numpy.typing import NDArray

from sparsae.cost import Evaluation
from sparsae.errors import ParameterError
from sparsae.model import check_size
from sparsae.optimize.base import (
    BoundMethod,
    Callback,
    Function,
    Method,
    OptimizerState,
    Outcome,
    PointState,
    dataclass_settings,
    evaluate_start,
    is_finite,
)
from sparsae.optimize.objective_functions import ObjectiveFunctions, Vector
from sparsae.optimize.packing import pack_evaluation, unpack_counts, unpack_evaluation

PREFIX = "scipy:"
LIMITED = ("L-BFGS-B", "CG", "TNC", "Newton-CG")
DENSE = ("BFGS", "SLSQP", "trust-constr")
DENSE_LIMIT = 2000  # 2,000 parameters: a matrix of 32 MB, updated in every iteration
UNLIMITED = 2**31 - 1


class _CallbackStop(Exception):  # noqa: N818 (a signal between our own functions, not an error)
    """Raised in SciPy's callback to end the run; every method of SciPy lets it through."""


class _NotFinite(Exception):  # noqa: N818
    """Raised in the cost function: SciPy's methods would go on with it."""


@final
@dataclass(frozen=True)
class ScipyMethod(Method):
    """A method of ``scipy.optimize.minimize`` that uses gradients.

    SciPy does not give its state out: a resumed fit starts the method afresh at the parameters saved.

    Parameters
    ----------
    name : str
        "scipy:" and the method's name, in SciPy's spelling.
    memory : int or None
        Pairs kept, for L-BFGS-B only.

    Raises
    ------
    ParameterError
        When there is no such method, or it does not use gradients.
    """

    resumes_exactly: ClassVar[bool] = False

    name: str
    memory: int | None = None

    def __post_init__(self) -> None:
        known = {method.lower(): method for method in (*LIMITED, *DENSE)}
        given = str(self.name).removeprefix(PREFIX)
        if not str(self.name).startswith(PREFIX) or given.lower() not in known:
            raise ParameterError(
                f"No method named {self.name!r}; the methods of SciPy that use gradients are "
                f"{', '.join(PREFIX + method for method in known.values())}."
            )
        object.__setattr__(self, "name", PREFIX + known[given.lower()])
        if self.memory is not None and self.method != "L-BFGS-B":
            raise ParameterError(f"memory goes with scipy:L-BFGS-B; {self.name} has none.")
        if self.memory is not None:
            check_size("memory", self.memory)

    @property
    def method(self) -> str:
        """SciPy's name."""
        return self.name.removeprefix(PREFIX)

    def settings(self) -> dict[str, Any]:
        """Return the settings as plain values."""
        return dataclass_settings(self)

    def bind(self, objective: ObjectiveFunctions, seed: int) -> BoundMethod:
        """Join with an objective.

        Raises
        ------
        ParameterError
            When the method needs a dense matrix of more than 2,000 x 2,000.
        """
        self._check_size(objective.size)
        return BoundScipyMethod(self, objective.evaluate)

    def run(self, function: Function, start: Vector | OptimizerState, callback: Callback) -> OptimizerState:
        """Minimise a function of your own; see `BoundMethod.run`."""
        self._check_size(len(start if isinstance(start, np.ndarray) else start.theta))
        return BoundScipyMethod(self, function).run(start, callback)

    def _check_size(self, size: int) -> None:
        """Raise `ParameterError` where the method would need a dense matrix of more than 2,000 x 2,000."""
        if self.method in DENSE and size > DENSE_LIMIT:
            raise ParameterError(
                f"{self.name} keeps a dense matrix of {size} x {size} numbers ({8e-9 * size * size:.1f} GB) and works "
                f"on all of it in every iteration; it is limited to {DENSE_LIMIT} parameters. "
                f"Use lbfgs or {', '.join(PREFIX + method for method in LIMITED)}."
            )

    def scipy_options(self) -> dict[str, Any]:
        """Return options of SciPy that switch its own stop rules off, as far as they can be."""
        match self.method:
            case "L-BFGS-B":
                limits = {"maxiter": UNLIMITED, "maxfun": UNLIMITED, "ftol": 0.0, "gtol": 0.0}
                return limits | ({} if self.memory is None else {"maxcor": self.memory})
            case "TNC":
                return {"maxfun": UNLIMITED, "ftol": 0.0, "xtol": 0.0, "gtol": 0.0}
            case "Newton-CG":
                return {"maxiter": UNLIMITED, "xtol": 0.0}
            case "SLSQP":
                return {"maxiter": UNLIMITED, "ftol": 0.0}
            case "trust-constr":
                # below the last bit of any parameter, so that a search that finds nothing lower ends
                return {"maxiter": UNLIMITED, "xtol": 1e-18, "gtol": 0.0}
            case _:
                return {"maxiter": UNLIMITED, "gtol": 0.0}


@final
class BoundScipyMethod(BoundMethod):
    """A method of SciPy and the function that it minimises."""

    def __init__(self, method: ScipyMethod, function: Function) -> None:
        self._method, self._function = method, function

    def run(self, start: Vector | OptimizerState, callback: Callback) -> OptimizerState:
        """Run SciPy's loop; `callback` decides when it ends."""
        from scipy.optimize import minimize

        if isinstance(start, np.ndarray):
            first = PointState(start.copy(), evaluate_start(self._function, start), 0, "")
        else:
            first = cast(PointState, start)  # as `unpack` returned it
        adapter = _ScipyAdapter(self._function, callback, first)
        if callback(adapter.last):
            return adapter.last
        outcome: Outcome = "stalled"
        try:
            with np.errstate(all="ignore"):  # what overflows in SciPy's arithmetic shows in what it returns
                minimize(
                    adapter.function,
                    first.theta,
                    jac=True,
                    method=self._method.method,
                    callback=adapter.callback,
                    options=self._method.scipy_options(),
                )
        except _CallbackStop:
            outcome = ""
        except _NotFinite:
            outcome = "not finite"
        return replace(adapter.last, outcome=outcome)

    def result(self, state: Any) -> tuple[Vector, Evaluation]:
        """Return the last parameters and their evaluation."""
        return state.theta, state.evaluation

    def pack(self, state: PointState) -> dict[str, NDArray[Any]]:
        """Return parameters and evaluation."""
        return {"theta": state.theta, **pack_evaluation(state.evaluation), "iteration": np.array(state.iteration)}

    def unpack(self, arrays: dict[str, NDArray[Any]]) -> PointState:
        """Undo `pack`."""
        (iteration,) = unpack_counts(arrays["iteration"].reshape(-1), 1)
        return PointState(np.array(arrays["theta"]), unpack_evaluation(arrays), iteration, "")


class _ScipyAdapter:
    """The function and callback that SciPy sees: counts iterations and remembers the evaluations of recent points."""

    def __init__(self, function: Function, callback: Callback, start: PointState) -> None:
        self._function, self._callback = function, callback
        self._recent: deque[tuple[Vector, Evaluation]] = deque([(start.theta.copy(), start.evaluation)], maxlen=20)
        self.last = start

    def function(self, theta: Vector) -> tuple[float, Vector]:
        evaluation = self._evaluate(theta)
        return evaluation.cost, evaluation.gradient.copy()

    def callback(self, theta: Vector, *_: object) -> None:
        """Count an iteration; trust-constr also calls after a step that it took back, which is none."""
        if np.array_equal(theta, self.last.theta):
            if self._callback(self.last):  # limits, and signals
                _stop()
            return
        self.last = PointState(theta.copy(), self._evaluate(theta), self.last.iteration + 1, "")
        if self._callback(self.last):
            _stop()

    def _evaluate(self, theta: Vector) -> Evaluation:
        """Return what is known of a recent point, or evaluate it."""
        for known, evaluation in self._recent:
            if np.array_equal(known, theta):
                return evaluation
        evaluation = self._function(theta)
        if not is_finite(evaluation.cost, evaluation.gradient):
            raise _NotFinite
        self._recent.appendleft((theta.copy(), evaluation))
        return evaluation


def _stop() -> NoReturn:
    raise _CallbackStop
