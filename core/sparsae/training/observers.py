"""Observers: who sees each iteration of a fit, and may ask it to stop.

Called once per iteration, never inside an evaluation.
Each is called on its own: one that raises is reported once and dropped, while the others and the fit go on.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np

from sparsae.errors import ObserverWarning
from sparsae.model import Parameters
from sparsae.plugins.registry import observer_function


@final
@dataclass(frozen=True, kw_only=True)
class Progress:
    """One iteration of a fit, as observers see it.

    Attributes
    ----------
    iteration, max_iter : int
        Iteration number, 0 for the starting point, and where it ends at the latest.
    evaluations : int
        Evaluations of the objective so far.
    cost, squared_error, weight_decay, sparsity : float
        The cost and its three terms.
    gradient_max : float
        Largest absolute component of the gradient.
    seconds, evaluation_seconds : float
        Wall time since the start, and how much of it the evaluations took.
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
    make_parameters: Callable[[], Parameters] = field(repr=False, compare=False)

    @property
    def parameters(self) -> Parameters:
        """The parameters at this iteration; made when they are asked for, yours to keep."""
        return self.make_parameters()


@final
class ObserverSet:
    """The observers of one fit.

    Parameters
    ----------
    observers : sequence
        Functions of a `Progress`; plugins with a hookimpl ``sparsae_iteration(progress)``;
        or names of entry points in the group ``sparsae.observers``.
        What returns True asks the fit to stop.

    Raises
    ------
    ParameterError
        When one is none of these.
    """

    def __init__(self, observers: Sequence[Any] = ()) -> None:
        self._functions = [(observer, observer_function(observer)) for observer in observers]

    def __bool__(self) -> bool:
        return bool(self._functions)

    def notify(self, progress: Progress) -> bool:
        """Show one iteration to everybody; return whether somebody asked to stop.

        Warns
        -----
        ObserverWarning
            Once for an observer that raised; it is dropped.
        """
        stop = False
        for entry in tuple(self._functions):
            observer, function = entry
            try:
                stop |= isinstance(answer := function(progress), (bool, np.bool_)) and bool(answer)
            except Exception as error:  # noqa: BLE001 (an observer may raise anything; the fit goes on)
                self._functions.remove(entry)
                name = getattr(observer, "__qualname__", None) or repr(observer)
                warnings.warn(
                    f"Observer {name} raised {type(error).__name__}: {error}; it was dropped and the fit goes on.",
                    ObserverWarning,
                    stacklevel=2,
                )
        return stop
