"""The gradient methods of ``scipy.optimize.minimize``, by name."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, NoReturn, final

import numpy as np

from sparsae.errors import OptimizationError, ParameterError
from sparsae.optimize.base import Function, Method, Outcome, PlainState, State, Vector, Visit, is_finite

PREFIX = "scipy:"
LIMITED = ("L-BFGS-B", "CG", "TNC", "Newton-CG")
DENSE = ("BFGS", "SLSQP", "trust-constr")
DENSE_LIMIT = 2000  # 2,000 parameters: a matrix of 32 MB, updated in every iteration
UNLIMITED = 2**31 - 1


class _Halt(Exception):  # noqa: N818 (a signal between our own functions, not an error)
    """Raised in SciPy's callback to end the run; every method lets it through."""


class _NotFinite(Exception):  # noqa: N818
    """Raised in the cost function: SciPy's methods would go on with it."""


@final
@dataclass(frozen=True)
class ScipyMethod(Method):
    """A method of ``scipy.optimize.minimize`` that uses gradients.

    SciPy keeps its state to itself: going on from a point starts the method afresh there.

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

    name: str
    memory: int | None = None

    def __post_init__(self) -> None:
        known = {method.lower(): method for method in (*LIMITED, *DENSE)}
        given = self.name.removeprefix(PREFIX)
        if not self.name.startswith(PREFIX) or given.lower() not in known:
            raise ParameterError(
                f"No method named {self.name!r}; the methods of SciPy that use gradients are "
                f"{', '.join(PREFIX + method for method in known.values())}."
            )
        object.__setattr__(self, "name", PREFIX + known[given.lower()])
        if self.memory is not None and self.method != "L-BFGS-B":
            raise ParameterError(f"memory goes with scipy:L-BFGS-B; {self.name} has none.")

    @property
    def method(self) -> str:
        """SciPy's name."""
        return self.name.removeprefix(PREFIX)

    def run(self, function: Function, start: Vector | State, visit: Visit) -> State:
        """Run SciPy's loop; its own stop rules are switched off as far as they can be, `visit` decides."""
        from scipy.optimize import minimize

        theta = start if isinstance(start, np.ndarray) else start.theta
        self.check_size(len(theta))
        watch = _Watch(function, visit, theta, 0 if isinstance(start, np.ndarray) else start.iteration)
        if watch.stopped:
            return watch.last
        outcome: Outcome = "stalled"
        try:
            with np.errstate(all="ignore"):  # what overflows in SciPy's arithmetic shows in what it returns
                minimize(
                    watch.function, theta, jac=True, method=self.method, callback=watch.visit, options=self._options()
                )
        except _Halt:
            outcome = ""
        except _NotFinite:
            outcome = "not finite"
        return watch.last._replace(outcome=outcome)

    def check_size(self, size: int) -> None:
        """Raise `ParameterError` where the method would need a dense matrix of more than 2,000 x 2,000."""
        if self.method in DENSE and size > DENSE_LIMIT:
            raise ParameterError(
                f"{self.name} keeps a dense matrix of {size} x {size} numbers ({8e-9 * size * size:.1f} GB) and works "
                f"on all of it in every iteration; it is limited to {DENSE_LIMIT} parameters. "
                f"Use lbfgs or {', '.join(PREFIX + method for method in LIMITED)}."
            )

    def _options(self) -> dict[str, Any]:
        """Limits out of reach and tolerances of zero."""
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
                return {"maxiter": UNLIMITED, "xtol": 0.0, "gtol": 0.0}
            case _:
                return {"maxiter": UNLIMITED, "gtol": 0.0}


class _Watch:
    """The function and callback that SciPy sees: counts iterations and knows cost and gradient of recent points."""

    def __init__(self, function: Function, visit: Visit, theta: Vector, iteration: int) -> None:
        self._function, self._visit = function, visit
        self._recent: deque[tuple[Vector, float, Vector]] = deque(maxlen=20)
        cost, gradient = function(theta)
        if not is_finite(cost, gradient):
            raise OptimizationError(f"The cost at the starting point is {cost}, or its gradient is not finite.")
        self._recent.append((theta.copy(), cost, gradient))
        self.last = PlainState(theta.copy(), cost, gradient, iteration)
        self.stopped = visit(self.last)

    def function(self, theta: Vector) -> tuple[float, Vector]:
        for known, cost, gradient in self._recent:
            if np.array_equal(known, theta):
                return cost, gradient.copy()
        cost, gradient = self._function(theta)
        if not is_finite(cost, gradient):
            raise _NotFinite
        self._recent.appendleft((theta.copy(), cost, gradient))
        return cost, gradient.copy()

    def visit(self, theta: Vector, *_: object) -> None:
        cost, gradient = self.function(theta)
        self.last = PlainState(theta.copy(), cost, gradient, self.last.iteration + 1)
        if self._visit(self.last):
            _halt()


def _halt() -> NoReturn:
    raise _Halt
