"""Writes the checkpoints of a fit when they are due."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, final

import numpy as np

from sparsae.errors import CheckpointWarning
from sparsae.optimize.base import BoundMethod, OptimizerState
from sparsae.training.checkpoint import Checkpoint, SavedFit, save
from sparsae.training.curve import COLUMNS, FitCounts, LearningCurve
from sparsae.training.notices import Notices


def pack_fit(
    header: Mapping[str, Any], method: BoundMethod, state: OptimizerState, curve: LearningCurve, counts: FitCounts
) -> SavedFit:
    """Return what a fit needs to go on from a state.

    Parameters
    ----------
    header : mapping
        What is the same in every checkpoint of the fit.
    method : BoundMethod
    state : OptimizerState
    curve : LearningCurve
    counts : FitCounts
    """
    now = {
        "saved": datetime.now(UTC).isoformat(timespec="seconds"),
        "iteration": state.iteration,
        "columns": COLUMNS,
        "counts": counts,
    }
    return SavedFit({**header, **now}, method.pack(state), np.array(curve.rows, dtype=np.float64))


@final
class CheckpointWriter:
    """Writes checkpoints when they are due; where one cannot be written, the fit goes on and the next one is tried.

    Parameters
    ----------
    plan : Checkpoint
    path : Path
        As `check_place` returned it.
    method : BoundMethod
    header : mapping
        What is the same in every checkpoint of the fit.
    rotate : bool
        Whether the file at the path is whole.
    iteration : int
        Where the fit begins.
    notices : Notices
    """

    def __init__(
        self,
        plan: Checkpoint,
        path: Path,
        method: BoundMethod,
        header: Mapping[str, Any],
        *,
        rotate: bool,
        iteration: int,
        notices: Notices,
    ) -> None:
        self._plan, self._path, self._method, self._header = plan, path, method, header
        self._rotate, self._notices = rotate, notices
        self._failed = False
        self._time, self._iteration = time.perf_counter(), iteration

    def write_if_due(self, state: OptimizerState, curve: LearningCurve, counts: FitCounts) -> None:
        """Write when enough iterations or seconds have passed since the last time."""
        every, seconds = self._plan.every, self._plan.seconds
        by_count = every is not None and state.iteration - self._iteration >= every
        if by_count or (seconds is not None and time.perf_counter() - self._time >= seconds):
            self.write(state, curve, counts)

    def write(self, state: OptimizerState, curve: LearningCurve, counts: FitCounts) -> None:
        """Write now; the first failure is said."""
        saved = pack_fit(self._header, self._method, state, curve, counts)
        try:
            save(self._path, saved, rotate=self._rotate)
            self._rotate = True
        except OSError as error:
            if not self._failed:
                self._notices.say(
                    CheckpointWarning(
                        f"Iteration {state.iteration}: the checkpoint {self._path} could not be written "
                        f"({error.strerror or error}). Training goes on, and tries again at the next one."
                    )
                )
            self._failed = True
        self._time, self._iteration = time.perf_counter(), state.iteration
