"""When to stop, and how to say why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import numpy as np

from sparsae.errors import ParameterError
from sparsae.model import check_size
from sparsae.training.result import Reason, Status


@final
@dataclass(frozen=True, kw_only=True)
class Stop:
    """Rules that end training before ``max_iter``; looked at between iterations.

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
    Gradient and decrease are rules for full-batch methods; mini-batch costs are too noisy for them,
    and have `held_out` and `patience` instead.
    """

    gradient: float = 1e-5
    decrease: float = 2.2e-9
    seconds: float | None = None
    evaluations: int | None = None

    def __post_init__(self) -> None:
        for name in ("gradient", "decrease"):
            value = getattr(self, name)
            if not 0 <= value < np.inf:
                raise ParameterError(f"{name} tolerance must be at least 0 and finite; given {value!r}.")
        if self.seconds is not None and not self.seconds > 0:
            raise ParameterError(f"seconds must be positive; given {self.seconds!r}.")
        if self.evaluations is not None:
            check_size("evaluations", self.evaluations)


def converged(rule: Stop, before: float | None, cost: float, gradient_max: float) -> str | None:
    """Return the sentence about the rule that is met, or None."""
    if gradient_max <= rule.gradient:
        return f"the largest component of the gradient is {gradient_max:.2g}, at most {rule.gradient:.2g}"
    if before is not None and rule.decrease > 0:
        share = (before - cost) / max(abs(before), abs(cost), 1.0)
        if share <= rule.decrease:
            return f"the last iteration lowered the cost by {share:.2g} of it, at most {rule.decrease:.2g}"
    return None


def status(reason: Reason, iteration: int, detail: str = "") -> Status:
    """Return the status with its sentence and advice.

    Parameters
    ----------
    reason : str
    iteration : int
        How many there were.
    detail : str
        What the sentence needs to know: the limit, the rule, the last decrease.
    """
    n = f"{iteration} iteration" + ("" if iteration == 1 else "s")
    sentence = {
        "converged": f"Converged after {n}: {detail}.",
        "iteration limit": f"Stopped after {n}, the limit{detail}. The model can be used as it is; "
        f"a larger max_iter, with initial=result or a checkpoint, goes on from here.",
        "evaluation limit": f"Stopped after {n}, at the limit of {detail} evaluations. "
        f"The model can be used as it is; more evaluations may lower the cost.",
        "time limit": f"Stopped after {n}, at the time limit of {detail} s. "
        f"The model can be used as it is; more time may lower the cost.",
        "stalled": f"Stopped after {n}: no lower cost was found in the last search{detail}. "
        f"Usually the limit of the arithmetic has been reached; where the dtype is float32, float64 goes further.",
        "not finite": f"The cost became NaN or infinite in iteration {iteration + 1}{detail}; "
        f"the best parameters before it were kept. Try a smaller learning rate, smaller starting weights, "
        f"or data scaled to [0, 1].",
        "stopped": f"Stopped by an observer after {n}.",
        "interrupted": f"Interrupted after {n}{detail}. The model so far is kept.",
    }[reason]
    return Status(reason, sentence)
