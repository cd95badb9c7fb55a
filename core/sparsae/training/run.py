"""One fit with everything around it: signals, thread limits, worker threads; begun, run and closed in one call."""

from __future__ import annotations

import signal
from pathlib import Path

from numpy.typing import ArrayLike

from sparsae.errors import ConvergenceWarning
from sparsae.machine.caller_warning import warn_caller
from sparsae.objective import Objective, ObjectiveOptions
from sparsae.training.checkpoint import CheckpointSearch, SavedFit
from sparsae.training.fit import FinishedFit, Fit
from sparsae.training.interrupt import interruptible
from sparsae.training.observers import ObserverSet
from sparsae.training.options import FitOptions
from sparsae.training.result import TrainResult

EXPECTED_ENDS = ("converged", "stopped")


def run_fit(
    X: ArrayLike,
    n_hidden: int,
    options: FitOptions,
    objective_options: ObjectiveOptions,
    *,
    observers: ObserverSet,
    checkpoint_path: Path | None = None,
    search: CheckpointSearch | None = None,
    earlier: SavedFit | None = None,
    keep_state: bool = False,
) -> FinishedFit:
    """Run one fit; Ctrl-C ends it after an iteration.

    Parameters
    ----------
    X : array_like (n_samples, n_visible)
    n_hidden : int
    options : FitOptions
    objective_options : ObjectiveOptions
    observers : ObserverSet
    checkpoint_path : Path, optional
        Where checkpoints are written, as `check_place` returned it, locked by this process.
    search : CheckpointSearch, optional
        The checkpoint to resume from.
    earlier : SavedFit, optional
        As in `Fit`.
    keep_state : bool
        Return the optimiser's state too.

    Raises
    ------
    SparsaeError
        As `train`.
    """
    with interruptible(signal.SIGINT) as interrupt:
        objective = Objective(X, n_hidden, **objective_options)
        fit: Fit | None = None
        try:
            interrupt.critical += 1
            objective.__enter__()
            interrupt.leave_critical()
            fit = Fit(
                objective,
                options,
                observers=observers,
                interrupt=interrupt,
                checkpoint_path=checkpoint_path,
                search=search or CheckpointSearch(None),
                earlier=earlier,
            )
            interrupt.deferred = True
            return fit.run(keep_state=keep_state)
        finally:
            interrupt.critical += 1  # not a call: Python runs signal handlers where functions begin
            if fit is not None:
                fit.close()
            objective.__exit__(None, None, None)
            interrupt.deferred = False
            interrupt.leave_critical()


def warn_unless_converged(
    result: TrainResult, category: type[ConvergenceWarning] = ConvergenceWarning, message: str = ""
) -> None:
    """Give one warning when training ended otherwise than by converging; its text is the status's, or `message`."""
    if result.status.reason not in EXPECTED_ENDS:
        warning = category(message or result.status.message)
        warning.status = result.status
        warn_caller(warning)
