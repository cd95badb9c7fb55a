"""Options of a fit beside those of its objective."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Self, final

import numpy as np

from sparsae._types import COUNT_BITS
from sparsae.errors import ParameterError
from sparsae.model import Parameters, check_parameters, check_size
from sparsae.model.settings import ModelSettings
from sparsae.objective import Objective
from sparsae.optimize import Method, get_method
from sparsae.optimize.objective_functions import Vector
from sparsae.training.checkpoint import Checkpoint
from sparsae.training.result import TrainResult
from sparsae.training.schema import SEED_BITS
from sparsae.training.stopping import Stop


@final
@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """Options of a fit, checked as far as they can be without the data.

    Attributes
    ----------
    method : Method
    max_iter : int
    stop : Stop
    seed : int or numpy.random.Generator
    initial : Parameters or None
    checkpoint : Checkpoint or None
    resume : bool
    """

    method: Method
    max_iter: int
    stop: Stop
    seed: int | np.random.Generator
    initial: Parameters | None
    checkpoint: Checkpoint | None
    resume: bool

    @classmethod
    def checked(
        cls,
        *,
        method: str | Method,
        max_iter: int,
        stop: Stop | None,
        seed: int | np.random.Generator,
        initial: Any,
        checkpoint: str | os.PathLike[str] | Checkpoint | None,
        resume: bool,
    ) -> Self:
        """Check the options.

        Raises
        ------
        ParameterError
            When one cannot be used.
        """
        _check_seed(seed)
        if resume and checkpoint is None:
            raise ParameterError("resume=True needs checkpoint=PATH, the file to resume from.")
        if stop is not None and not isinstance(stop, Stop):
            raise ParameterError(f"stop must be a sparsae.Stop; given {stop!r}.")
        if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint(checkpoint)
        if initial is not None:
            initial = check_parameters(initial.parameters if isinstance(initial, TrainResult) else initial)
        return cls(
            method=get_method(method),
            max_iter=check_size("max_iter", max_iter, least=0, bits=COUNT_BITS),
            stop=stop or Stop(),
            seed=seed,
            initial=initial,
            checkpoint=checkpoint,
            resume=bool(resume),
        )

    @property
    def start_seed(self) -> int | None:
        """The seed of the starting parameters, where there is one number."""
        return None if self.initial is not None or isinstance(self.seed, np.random.Generator) else int(self.seed)

    def start(self, objective: Objective) -> tuple[Vector, int]:
        """Return the starting parameters (size,), and the seed for the order of mini-batches.

        Raises
        ------
        ParameterError
            When `initial` has other sizes, or has thresholds where the hidden units have none.
        """
        if self.initial is None:
            theta = objective.random_parameters(self.seed).flatten()
        else:
            n_visible, n_hidden = objective.n_visible, objective.n_hidden
            given = (self.initial.n_visible, self.initial.n_hidden)
            if given != (n_visible, n_hidden):
                raise ParameterError(
                    f"initial is for n_visible={given[0]} and n_hidden={given[1]}; "
                    f"this fit has n_visible={n_visible} and n_hidden={n_hidden}."
                )
            initial = self.initial
            if objective.settings.activation == "batchtopk":  # its threshold is found anew
                initial = initial._replace(threshold=None)
            theta = initial.flatten()
            objective.check_size(theta)
        shuffle_seed = self.seed.integers(2**63) if isinstance(self.seed, np.random.Generator) else self.seed
        return theta, int(shuffle_seed)


def _check_seed(seed: object) -> None:
    """Raise `ParameterError` unless a fit can be started from it."""
    if isinstance(seed, np.random.Generator):
        return
    if isinstance(seed, (np.random.RandomState, np.random.SeedSequence, np.random.BitGenerator)):
        raise ParameterError(
            f"seed must be an integer or a numpy.random.Generator; given a {type(seed).__name__}. "
            f"numpy.random.default_rng makes a Generator of it."
        )
    check_size("seed", seed, least=0, bits=SEED_BITS)


def check_full_batch(settings: ModelSettings, method: str) -> None:
    """Refuse to train with a full-batch method what it cannot minimise.

    Raises
    ------
    ParameterError
        With the reason, and what to use.
    """
    if settings.activation not in ("sigmoid", "relu"):
        raise ParameterError(
            f"activation={settings.activation!r} cannot be trained with {method}: its cost jumps where another unit "
            f"becomes active, and a line search needs one that does not. Use method='adam'."
        )
    if settings.unit_norm:
        raise ParameterError(
            f"unit_norm=True cannot be used with {method}: it steps along straight lines, which columns of fixed "
            f"length leave. Use method='adam', or unit_norm=False."
        )
