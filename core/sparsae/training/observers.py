"""Observers: called once per iteration of a fit, never inside an evaluation; each may ask the fit to stop.

One that raises is reported once and dropped; the others and the fit go on.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, final

import numpy as np

from sparsae._text import printable
from sparsae.errors import ObserverWarning
from sparsae.model import Parameters
from sparsae.plugins.registry import observer_function
from sparsae.training.notices import Notices


@final
@dataclass(frozen=True, kw_only=True)
class Progress:
    """One iteration of a fit, for observers.

    Attributes
    ----------
    iteration, max_iter : int
        Iteration number, 0 for the starting point, and the limit.
    evaluations : int
        Evaluations of the objective so far.
    cost, squared_error, weight_decay, sparsity : float
        The cost and its three terms.
    gradient_max : float
        Largest absolute component of the gradient.
    seconds, evaluation_seconds : float
        Wall time since the start, and how much of it the evaluations took.
    explained_variance, l0, dead_share : float
        As in `History`; NaN where they are not known.
    """

    iteration: int
    max_iter: int
    evaluations: int
    cost: float
    squared_error: float
    weight_decay: float
    sparsity: float
    gradient_max: float
    seconds: float
    evaluation_seconds: float
    explained_variance: float = math.nan
    l0: float = math.nan
    dead_share: float = math.nan
    make_parameters: Callable[[], Parameters] = field(repr=False, compare=False)

    @property
    def parameters(self) -> Parameters:
        """The parameters at this iteration: a new copy with each access."""
        return self.make_parameters()


@final
class ObserverSet:
    """The observers of one fit.

    Parameters
    ----------
    observers : sequence, or one observer alone
        Functions of a `Progress`; plugins with a hookimpl ``sparsae_iteration(progress)``;
        or names of entry points in the group ``sparsae.observers``.
        One that returns True asks the fit to stop.
    *more
        Observers of our own, called after these.

    Raises
    ------
    ParameterError
        When one is none of these.
    """

    def __init__(self, observers: Any = (), *more: Any) -> None:
        several = isinstance(observers, Iterable) and not callable(observers) and not isinstance(observers, str)
        all_of_them = [*(observers if several else [observers]), *more]
        self._observers = [(o, observer_function(o)) for o in all_of_them]

    def __bool__(self) -> bool:
        return bool(self._observers)

    def notify(self, progress: Progress, notices: Notices) -> bool:
        """Show one iteration to every observer; return whether one of them asks to stop.

        An observer that raises is dropped, with an `ObserverWarning`.
        """
        stop, kept = False, []
        for observer, function in self._observers:
            try:
                answer = function(progress)
                stop |= isinstance(answer, (bool, np.bool_)) and bool(answer)
            except KeyboardInterrupt:
                raise
            except BaseException as error:  # noqa: BLE001 (also SystemExit: no observer may end a fit)
                notices.say(
                    ObserverWarning(
                        f"Observer {_name(observer)} raised {type(error).__name__}: {_text(error)}; "
                        f"it was dropped and the fit goes on."
                    )
                )
            else:
                kept.append((observer, function))
        self._observers = kept
        return stop


def _name(observer: Any) -> str:
    """Return what to call an observer, without calling anything of its own."""
    return observer.__qualname__ if isinstance(observer, FunctionType) else type(observer).__qualname__


def _text(error: BaseException) -> str:
    """Return the message of an error, whose own ``__str__`` may fail."""
    try:
        return printable(error)
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 (whatever its __str__ raises)
        return "(its message cannot be shown)"
