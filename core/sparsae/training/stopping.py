"""When a fit stops, and how its status says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from sparsae.errors import ParameterError
from sparsae.model import check_size
from sparsae.model.checks import make_floats
from sparsae.training.result import Reason, Status


@final
@dataclass(frozen=True, kw_only=True)
class Stop:
    """Rules that end training before ``max_iter``; checked between iterations.

    Parameters
    ----------
    gradient : float
        Converged when the largest absolute component of the gradient is at most this; 0: only at exactly zero.
    decrease : float
        Converged when an iteration lowers the cost by at most this share of it (of 1 where the cost is below 1);
        0: rule off.
    seconds : float or None
        Wall time for this call.
    evaluations : int or None
        Evaluations of the objective, those before a resume included.

    Raises
    ------
    ParameterError
        When a value is out of range.

    Notes
    -----
    `gradient` and `decrease` apply to full-batch methods.  The costs of mini-batches are too noisy for them;
    mini-batch methods have `held_out` and `patience` instead.
    """

    gradient: float = 1e-5
    decrease: float = 2.2e-9
    seconds: float | None = None
    evaluations: int | None = None

    def __post_init__(self) -> None:
        make_floats(self, "gradient", "decrease", *(() if self.seconds is None else ("seconds",)))
        for name in ("gradient", "decrease"):
            value = getattr(self, name)
            if not 0 <= value < np.inf:
                raise ParameterError(f"{name} tolerance must be at least 0 and finite; given {value!r}.")
        if self.seconds is not None and not self.seconds > 0:
            raise ParameterError(f"seconds must be positive; given {self.seconds!r}.")
        if self.evaluations is not None:
            check_size("evaluations", self.evaluations)


def met_tolerance(stop: Stop, before: float | None, cost: float, gradient_max: float) -> str | None:
    """Return a sentence about the tolerance that is met, or None."""
    if gradient_max <= stop.gradient:
        return f"the largest component of the gradient is {gradient_max:.2g}, at most {stop.gradient:.2g}"
    if before is not None and stop.decrease > 0:
        share = (before - cost) / max(abs(before), abs(cost), 1.0)
        if share <= stop.decrease:
            return f"the last iteration lowered the cost by {share:.2g} of it, at most {stop.decrease:.2g}"
    return None


@final
@dataclass(frozen=True, kw_only=True)
class FitEnd:
    """How a fit ended, in numbers: what `describe_end` needs.

    Attributes
    ----------
    reason : str
    iteration : int
        Number of iterations done.
    detail : str
        The rule that was met, the limit, or the signal.
    first_cost, last_cost : float
        Cost at the start and at the parameters that are kept, over the same rows.
    learning_rate : float or None
        Of a mini-batch method.
    """

    reason: Reason
    iteration: int
    detail: str
    first_cost: float
    last_cost: float
    learning_rate: float | None = None


_USABLE = "The model can be used as it is;"
_LIMITS = ("iteration limit", "evaluation limit", "time limit")


def describe_end(end: FitEnd) -> Status:
    """Return the status, with a sentence about the end of the fit and advice."""
    n = f"{end.iteration} iteration" + ("" if end.iteration == 1 else "s")
    rose = f", and the cost rose from {end.first_cost:.4g} to {end.last_cost:.4g}"
    has_risen = end.last_cost > end.first_cost
    if has_risen and end.reason in _LIMITS:
        return Status("cost rose", f"Stopped after {n}, at the {end.reason}{rose}.", _cost_advice(end.learning_rate))
    summary = {
        "converged": f"Converged after {n}: {end.detail}",
        "iteration limit": f"Stopped after {n}, the limit{end.detail}",
        "evaluation limit": f"Stopped after {n}, at the limit of {end.detail} evaluations",
        "time limit": f"Stopped after {n}, at the time limit of {end.detail} s",
        "stalled": f"Stopped after {n}: no lower cost was found in the last search",
        "not finite": f"The cost became NaN or infinite in iteration {end.iteration + 1}; "
        f"the best parameters before it were kept",
        "stopped": f"Stopped by an observer after {n}",
        "interrupted": f"Interrupted after {n}{end.detail}",
    }[end.reason]
    advice = {
        "iteration limit": f"{_USABLE} a larger max_iter, with initial=result or a checkpoint, goes on from here.",
        "evaluation limit": f"{_USABLE} more evaluations may lower the cost.",
        "time limit": f"{_USABLE} more time may lower the cost.",
        "stalled": "Usually the limit of the arithmetic is reached; where the dtype is float32, float64 goes further.",
        "interrupted": "The model so far is kept.",
        "not finite": _cost_advice(end.learning_rate),
    }.get(end.reason, "")
    if has_risen:
        return Status(end.reason, f"{summary}{rose}.", advice or _cost_advice(end.learning_rate))
    return Status(end.reason, f"{summary}.", advice)


def _cost_advice(learning_rate: float | None) -> str:
    """Return what to try when the cost rises or leaves the numbers."""
    rate = "a smaller learning rate"
    if learning_rate is not None:
        rate += f" (it was {learning_rate:g}; try {learning_rate / 10:g})"
    return f"Try {rate}, smaller starting weights, or data scaled to [0, 1]."
