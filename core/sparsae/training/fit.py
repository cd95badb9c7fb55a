"""One fit, around its loop: what was asked for, what a checkpoint adds, and what is handed back."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

import numpy as np

from sparsae.engine.engine import Passes
from sparsae.errors import CheckpointWarning, ParameterError
from sparsae.model import Parameters, check_parameters, check_size
from sparsae.objective import Objective
from sparsae.optimize import AnyMethod, Method, StepMethod, StochasticMethod, describe, get_method
from sparsae.optimize.base import State, Vector
from sparsae.plugins.contract import Backend
from sparsae.plugins.selection import AUTO, requested_backend
from sparsae.receipt import Receipt
from sparsae.training.checkpoint import Checkpoint, Found, check_identity, check_place, find
from sparsae.training.loop import COLUMNS, CheckpointWriter, Counts, Loop, Row
from sparsae.training.metrics import metrics, variance_sum
from sparsae.training.minibatch import Epochs
from sparsae.training.observers import ObserverSet, Progress
from sparsae.training.result import TrainResult
from sparsae.training.stopping import Stop, status


@final
@dataclass(frozen=True)
class Settings:
    """What was asked for, checked."""

    method: AnyMethod
    max_iter: int
    stop: Stop
    checkpoint: Checkpoint | None
    resume: bool

    @classmethod
    def checked(
        cls,
        method: str | AnyMethod,
        max_iter: int,
        stop: Stop | None,
        seed: object,
        checkpoint: str | os.PathLike[str] | Checkpoint | None,
        *,
        resume: bool,
    ) -> Settings:
        """Check what can be checked without the data."""
        if not isinstance(seed, np.random.Generator):
            check_size("seed", seed, least=0)
        if resume and checkpoint is None:
            raise ParameterError("resume=True needs checkpoint=PATH, the file to resume from.")
        if stop is not None and not isinstance(stop, Stop):
            raise ParameterError(f"stop must be a sparsae.Stop; given {stop!r}.")
        if checkpoint is not None and not isinstance(checkpoint, Checkpoint):
            checkpoint = Checkpoint(checkpoint)
        return cls(
            get_method(method), check_size("max_iter", max_iter, least=0), stop or Stop(), checkpoint, bool(resume)
        )

    def find(self) -> Found:
        """Check the place of the checkpoint, and read the one that is there if it is to be resumed from."""
        if self.checkpoint is None:
            return Found(None)
        path = Path(self.checkpoint.path)
        check_place(path, resume=self.resume)
        return find(path) if self.resume else Found(None)


@final
class Fit:
    """One fit: its objective and settings, and what it was resumed from.

    Attributes
    ----------
    rows : list of tuple
        The learning curve before the resume.
    counts : Counts or None
        What was used before it.
    notes : list of str
        For the receipt.
    """

    def __init__(self, objective: Objective, settings: Settings, seed: int | None, found: Found) -> None:
        self.objective, self.settings, self.seed, self._found = objective, settings, seed, found
        self.method = settings.method
        self.notes: list[str] = []
        self.rows: list[Row] = []
        self.counts: Counts | None = None
        if found.saved is not None:
            assert settings.checkpoint is not None
            header = found.saved.header
            check_identity(Path(settings.checkpoint.path), header["identity"], self.identity())
            self.rows = [tuple(row) for row in found.saved.history.tolist()]
            self.counts = Counts(*header["counts"])
            self.method = self._adopted_method(header)
            self.notes += _resume_notes(header, objective.receipt, self.method)

    def identity(self) -> dict[str, Any]:
        """What must be the same for a checkpoint to belong to this fit."""
        o, receipt = self.objective, self.objective.receipt
        return {
            "data_digest": receipt.data_digest,
            "n_samples": o.n_samples,
            "n_visible": o.n_visible,
            "n_hidden": o.n_hidden,
            "rho": o.rho,
            "beta": o.beta,
            "weight_decay": o.weight_decay,
            "output": o.output,
            "dtype": receipt.dtype,
            "backend": receipt.backend,
            "distribution": receipt.distribution,
            "distribution_version": receipt.distribution_version,
            "method": self.settings.method.name,
            "seed": self.seed,
        }

    def _adopted_method(self, header: Mapping[str, Any]) -> AnyMethod:
        """Return the optimiser with the settings of the checkpoint; says so where others were given."""
        given = self.settings.method
        saved = dict(header["method"])
        if saved == describe(given):
            return given
        if given != get_method(given.name):
            warnings.warn(
                f"The optimiser's settings are those of the checkpoint, {saved}, not {describe(given)}.",
                CheckpointWarning,
                stacklevel=4,
            )
        return get_method(**saved)

    def runner(self, shuffle_seed: int, loop: Loop) -> Method:
        """Return what takes the steps."""
        if isinstance(self.method, StochasticMethod):
            if self._found.saved is not None:
                shuffle_seed = int(self._found.saved.header["shuffle_seed"])
            self.shuffle_seed = shuffle_seed
            return Epochs(self.method, self.objective, seed=shuffle_seed, timed=loop.timed)
        self.shuffle_seed = shuffle_seed
        if hasattr(self.method, "check_size"):
            self.method.check_size(self.objective.size)
        return self.method

    def keeper(self, runner: Method) -> CheckpointWriter | None:
        """Return what writes checkpoints, if any are wanted."""
        plan = self.settings.checkpoint
        if plan is None:
            return None
        fixed = {
            "identity": self.identity(),
            "method": describe(self.method),
            "settings": self.describe(),
            "shuffle_seed": self.shuffle_seed,
            "receipt": self.objective.receipt.to_dict(),
        }
        keeper = CheckpointWriter(
            plan,
            runner,
            lambda: {**fixed, "saved": datetime.now(UTC).isoformat(timespec="seconds")},
            rotate=not self._found.broken,
        )
        keeper.start(int(self.rows[-1][0]) if self.rows else 0)
        return keeper

    def tell(self, watchers: ObserverSet) -> Callable[[State, Row], bool] | None:
        """Return what informs observers of a row of the learning curve, if there are any."""
        if not watchers:
            return None
        n, p, max_iter = self.objective.n_visible, self.objective.n_hidden, self.settings.max_iter

        def inform(state: State, row: Row) -> bool:
            values: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
            theta = state.theta
            return watchers.notify(
                Progress(
                    **values,
                    max_iter=max_iter,
                    make_parameters=lambda: Parameters.from_flat(theta.copy(), n, p),
                )
            )

        return inform

    def describe(self) -> dict[str, Any]:
        """Return hyper-parameters and options as plain values."""
        o = self.objective
        return {
            "rho": o.rho,
            "beta": o.beta,
            "weight_decay": o.weight_decay,
            "output": o.output,
            "max_iter": self.settings.max_iter,
            "seed": self.seed,
            **describe(self.method),
        }


def starting_point(
    objective: Objective, seed: int | np.random.Generator, initial: object
) -> tuple[Vector, int | None, int]:
    """Return the starting parameters, the seed that they come from, and the seed for the order of mini-batches."""
    n, p = objective.n_visible, objective.n_hidden
    if initial is None:
        theta = Parameters.random(n, p, seed=seed).flatten()
    else:
        given = check_parameters(initial.parameters if isinstance(initial, TrainResult) else initial)
        if (given.n_visible, given.n_hidden) != (n, p):
            raise ParameterError(
                f"initial is for n_visible={given.n_visible} and n_hidden={given.n_hidden}; "
                f"this fit has n_visible={n} and n_hidden={p}."
            )
        theta = given.flatten()
    if isinstance(seed, np.random.Generator):
        return theta, None, int(seed.integers(2**63))
    return theta, int(seed) if initial is None else None, int(seed)


def adopt(
    header: Mapping[str, Any], backend: str | Backend | None, block_rows: int | None, passes: Passes
) -> tuple[str | Backend | None, int, Passes]:
    """Return block size and passes of the checkpoint, for they decide the last bits; and its backend for "auto".

    Warns
    -----
    CheckpointWarning
        When others were given.
    """
    receipt = header["receipt"]
    saved_rows, saved_passes = int(receipt["block_rows"]), receipt["passes"]
    given = [
        f"{name}={value}"
        for name, value, saved in (("block_rows", block_rows, saved_rows), ("passes", passes, saved_passes))
        if value not in (None, "auto", saved)
    ]
    if given:
        warnings.warn(
            f"The checkpoint's block_rows={saved_rows} and passes={saved_passes} are used, not {', '.join(given)}: "
            f"they decide the last bits.",
            CheckpointWarning,
            stacklevel=3,
        )
    if requested_backend(backend)[1] == AUTO:
        backend = str(receipt["backend"])
    return backend, saved_rows, saved_passes


def _resume_notes(header: Mapping[str, Any], now: Receipt, method: AnyMethod) -> list[str]:
    """Return what may make the bits differ from those of a fit that never stopped."""
    then = header["receipt"]
    notes = [f"Resumed at iteration {header['iteration']}."]
    if now.threading in ("blas", "own") and then["threads_granted"] != now.threads_granted:
        notes.append(
            f"Resumed with {now.threads_granted} threads after {then['threads_granted']}: "
            f"the last bits of backend {now.backend!r} may depend on that."
        )
    before, here = then["versions"], now.versions
    notes += [
        f"{name} is {here.get(name)} and was {before.get(name)}: the last bits may differ."
        for name in sorted({*before, *here})
        if before.get(name) != here.get(name)
    ]
    if not isinstance(method, (StepMethod, StochasticMethod)):
        notes.append(f"{method.name} keeps its state to itself: it started afresh from the parameters saved.")
    return notes


def finish(fit: Fit, loop: Loop, runner: Method, state: State) -> TrainResult:
    """Save the last state, evaluate the parameters to keep, and put the result together."""
    if loop.keeper is not None:
        loop.keeper.save(state, loop.rows, loop.counts)
    reason, detail = (state.outcome, "") if state.outcome else (loop.reason, loop.detail)
    if reason == "converged" and not detail:
        detail = "the held-out cost has not fallen any more"
    assert reason is not None
    objective = fit.objective
    theta = runner.best(state)
    found = loop.evaluation
    if found is None or theta is not state.theta or isinstance(runner, Epochs):
        found = objective.evaluate(theta)
    variance = variance_sum(objective.sources[1])
    receipt = objective.receipt
    return TrainResult(
        parameters=Parameters.from_flat(theta.copy(), objective.n_visible, objective.n_hidden),
        cost=found.cost,
        history=loop.history(),
        receipt=replace(receipt, seed=fit.seed, notes=(*receipt.notes, *fit.notes)),
        status=status(reason, state.iteration, detail),
        settings=fit.describe(),
        metrics=metrics(found.squared_error_sum, variance, found.rho_hat, objective.rho),
    )
