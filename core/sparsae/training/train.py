"""`train`: from data to a trained model, with everything that a long run needs."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from numpy.typing import ArrayLike

from sparsae.errors import CheckpointWarning
from sparsae.machine.caller_warning import warn_caller
from sparsae.model import Parameters
from sparsae.model.settings import default_method
from sparsae.objective import ObjectiveOptions, check_option_names
from sparsae.optimize import LBFGS, SGD, Adam, Method
from sparsae.plugins.choices import making_again
from sparsae.training.checkpoint import Checkpoint, CheckpointSearch, check_place, find
from sparsae.training.checkpoint_lock import lock_checkpoint
from sparsae.training.interrupt import Interrupt, interruptible
from sparsae.training.observers import ObserverSet
from sparsae.training.options import FitOptions
from sparsae.training.progress_display import ProgressDisplay
from sparsae.training.result import TrainResult
from sparsae.training.resume import resumed_options
from sparsae.training.run import run_fit, warn_unless_converged
from sparsae.training.stopping import Stop
from sparsae.transforms import Transform
from sparsae.transforms import fit as fit_transform


def train(
    X: ArrayLike,
    n_hidden: int,
    *,
    method: str | Method | None = None,
    max_iter: int = 400,
    stop: Stop | None = None,
    seed: int | np.random.Generator = 0,
    initial: Parameters | TrainResult | None = None,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    resume: bool = False,
    observers: Any = (),
    transform: str | Transform | Sequence[str | Transform] | None = None,
    progress: bool = False,
    **objective_options: Unpack[ObjectiveOptions],
) -> TrainResult:
    """Train a sparse autoencoder.

    Parameters
    ----------
    X : array_like (n_samples, n_visible)
        Samples are rows.
    n_hidden : int
        Number of hidden units.
    method : str or optimiser, optional
        "lbfgs", "adam", "sgd", or a gradient method of SciPy such as "scipy:CG", with their default settings;
        or one of `sparsae.optimize` with settings of your own, such as ``LBFGS(memory=50)``.
        When left out: "lbfgs" for sigmoid units, else "adam".
    max_iter : int
        Iterations at most; epochs for mini-batch methods.  Iterations before a resume count.
    stop : Stop, optional
        Rules that end training before.
    seed : int or numpy.random.Generator
        For the starting parameters, and for the order of mini-batches.
    initial : Parameters or TrainResult, optional
        Warm start: begin at these parameters, with iteration 0 and an optimiser without a history.
    checkpoint : path or Checkpoint, optional
        Where to save the whole state of the fit, every 30 seconds and at the end;
        or a `Checkpoint`, which also says how often.
    resume : bool
        Go on from the checkpoint as if the fit had never stopped; where there is none yet, start afresh and say so.
    observers : sequence, or one observer alone
        Functions of a `sparsae.Progress`, called after each iteration; one that returns True ends training.
        Also plugins with the hook ``sparsae_iteration``, or names of installed ones.
    transform : str or Transform, or a sequence of them, optional
        What is done to the samples (and to `target`) before, such as "zca": fitted to X where it is a name, see
        `sparsae.transforms.fit`.  The result holds it and applies it to raw data.
    progress : bool
        Show iteration, cost and remaining time: a live line in a terminal, a bar in a notebook, and a line every ten
        seconds elsewhere (standard error).
    **objective_options
        Those of `sparsae.Objective`: target, dtype, backend, threads, block_rows, passes, temporary_copy, cluster,
        activation, k, rho, beta, l1, l1_weighted, l0, bandwidth, aux, k_aux, dead_after, pre_bias, unit_norm, init,
        output, weight_decay: as there.

    Returns
    -------
    TrainResult
        ``status`` says why training ended.

    Raises
    ------
    DataError, ParameterError, BackendError
        When data, settings or backend cannot be used.
    UnknownOptionError
        A TypeError: a keyword that is none of these.
    OptimizationError
        When the cost at the starting point is not finite.
    CheckpointError
        When the checkpoint belongs to another fit or is in use, or is damaged and there is no whole one before it.
    FileMissingError, FileAccessError, OutputExistsError
        When no checkpoint can be written, or there is one that would not be resumed from.

    Warns
    -----
    ConvergenceWarning
        Once, when training ended otherwise than by converging; with advice.
    CheckpointWarning
        When a checkpoint could not be written, an older one was used, or there was none to resume from.

    Notes
    -----
    While iterations run, Ctrl-C ends training after the present one and returns the model so far with the status
    "interrupted"; a second Ctrl-C raises KeyboardInterrupt at once.  Before the iterations the first one does.
    """
    check_option_names(train, objective_options, _options_elsewhere)
    display = ProgressDisplay(show=bool(progress))
    observer_set = ObserverSet(observers, *([display] if progress else []))
    options = FitOptions.checked(
        method=default_method(objective_options) if method is None else method,
        max_iter=max_iter,
        stop=stop,
        seed=seed,
        initial=initial,
        checkpoint=checkpoint,
        resume=resume,
    )
    fitted = None if transform is None else fit_transform(X, transform)
    if fitted is not None:
        X = fitted.view(X)
        if objective_options.get("target") is not None:
            objective_options["target"] = fitted.view(objective_options["target"], name="target")
    with interruptible(signal.SIGINT) as interrupt, ExitStack() as stack:
        stack.enter_context(display)
        path, search = _open_checkpoint(options, stack, interrupt)
        if search.saved is not None:
            objective_options = resumed_options(search.saved.header, objective_options)
            stack.enter_context(making_again(search.saved.header["receipt"].get("choices")))
        result = run_fit(
            X, n_hidden, options, objective_options, observers=observer_set, checkpoint_path=path, search=search
        ).result
    if fitted is not None:
        result = replace(result, transform=fitted)
    warn_unless_converged(result)
    return result


def _open_checkpoint(
    options: FitOptions, stack: ExitStack, interrupt: Interrupt
) -> tuple[Path | None, CheckpointSearch]:
    """Check the place of the checkpoint, lock it until the stack is left, and read the one to resume from."""
    if options.checkpoint is None:
        return None, CheckpointSearch(None)
    path = check_place(Path(options.checkpoint.path), resume=options.resume)
    stack.enter_context(_whole_lock(path, interrupt))
    search = find(path) if options.resume else CheckpointSearch(None)
    if search.notice:
        warn_caller(CheckpointWarning(search.notice))
    return path, search


def _options_elsewhere() -> dict[str, str]:
    """Return how the options of methods and of the stop rule are given, by name."""
    ways = {
        field.name: f"method=sparsae.optimize.{method.__name__}({field.name}=...)"
        for method in (LBFGS, SGD, Adam)
        for field in dataclasses.fields(method)
    }
    stops = {field.name: f"stop=sparsae.Stop({field.name}=...)" for field in dataclasses.fields(Stop)}
    return {**ways, **stops, "gradient_tolerance": stops["gradient"]}


@contextmanager
def _whole_lock(path: Path, interrupt: Interrupt) -> Iterator[None]:
    """Hold the lock of a checkpoint; a signal while it is taken or released waits, or its open file would be lost."""
    interrupt.critical += 1
    try:
        with lock_checkpoint(path):
            try:
                interrupt.leave_critical()
                yield
            finally:
                interrupt.critical += 1
    finally:
        interrupt.leave_critical()
