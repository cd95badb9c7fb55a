"""`train`: from data to a trained model, with everything that a long run needs."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sparsae._types import Output
from sparsae.engine.engine import Passes
from sparsae.errors import ConvergenceWarning
from sparsae.model import Parameters
from sparsae.objective import Objective
from sparsae.optimize import AnyMethod
from sparsae.plugins.contract import Backend
from sparsae.training.checkpoint import Checkpoint
from sparsae.training.fit import Fit, Settings, adopt, finish, starting_point
from sparsae.training.interrupt import interruptible
from sparsae.training.loop import Loop
from sparsae.training.observers import ObserverSet
from sparsae.training.result import TrainResult
from sparsae.training.stopping import Stop


def train(
    X: ArrayLike,
    n_hidden: int,
    *,
    target: ArrayLike | None = None,
    rho: float = 0.01,
    beta: float = 3.0,
    weight_decay: float = 1e-4,
    output: Output = "sigmoid",
    dtype: Any = None,
    backend: str | Backend | None = None,
    threads: int | None = None,
    block_rows: int | None = None,
    passes: Passes = "auto",
    method: str | AnyMethod = "lbfgs",
    max_iter: int = 400,
    stop: Stop | None = None,
    seed: int | np.random.Generator = 0,
    initial: Parameters | TrainResult | None = None,
    checkpoint: str | os.PathLike[str] | Checkpoint | None = None,
    resume: bool = False,
    observers: Sequence[Any] = (),
) -> TrainResult:
    """Train a sparse autoencoder.

    Parameters
    ----------
    X, n_hidden, target, rho, beta, weight_decay, output, dtype, backend, threads, block_rows, passes
        As in `sparsae.Objective`.
    method : str or optimiser
        "lbfgs", "adam", "sgd", or a gradient method of SciPy such as "scipy:CG", with their default settings;
        or one of `sparsae.optimize` with settings of your own, such as ``LBFGS(memory=50)``.
    max_iter : int
        Iterations at most; epochs for mini-batch methods.  Iterations before a resume count.
    stop : Stop, optional
        Rules that end training before.
    seed : int or numpy.random.Generator
        For the starting parameters, and for the order of mini-batches.
    initial : Parameters or TrainResult, optional
        Warm start: begin at these parameters, with iteration 0 and an optimiser that knows nothing yet.
    checkpoint : path or Checkpoint, optional
        Where to save the whole state of the fit, every 30 seconds and at the end;
        or a `Checkpoint`, which also says how often.
    resume : bool
        Go on from the checkpoint as if the fit had never stopped; where there is none yet, start afresh and say so.
    observers : sequence
        Functions of a `sparsae.observers.Progress`, called after each iteration; one that returns True ends training.
        Also plugins with the hook ``sparsae_iteration``, or names of installed ones.

    Returns
    -------
    TrainResult
        ``status`` says why training ended.

    Raises
    ------
    DataError, ParameterError, BackendError
        When data, settings or backend cannot be used.
    OptimizationError
        When the cost at the starting point is not finite.
    CheckpointError
        When the checkpoint belongs to another fit, or is broken and there is none before it.
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
    Ctrl-C ends training after the iteration at hand, and returns the model so far with the status "interrupted";
    a second Ctrl-C raises KeyboardInterrupt at once.
    """
    watchers = ObserverSet(observers)
    settings = Settings.checked(method, max_iter, stop, seed, checkpoint, resume=resume)
    found = settings.find()
    if found.saved is not None:
        backend, block_rows, passes = adopt(found.saved.header, backend, block_rows, passes)
    objective = Objective(
        X,
        n_hidden,
        target=target,
        rho=rho,
        beta=beta,
        weight_decay=weight_decay,
        output=output,
        dtype=dtype,
        backend=backend,
        threads=threads,
        block_rows=block_rows,
        passes=passes,
    )
    with objective, interruptible(signal.SIGINT) as interrupt:
        theta, start_seed, shuffle_seed = starting_point(objective, seed, initial)
        fit = Fit(objective, settings, start_seed, found)
        loop = Loop(
            objective,
            max_iter=settings.max_iter,
            stop=settings.stop,
            interrupt=interrupt,
            tell=fit.tell(watchers),
            rows=fit.rows,
            counts=fit.counts,
        )
        runner = fit.runner(shuffle_seed, loop)
        start = theta if found.saved is None else runner.unpack(dict(found.saved.arrays))
        loop.keeper = fit.keeper(runner)
        state = runner.run(loop.function, start, loop.visit)
        result = finish(fit, loop, runner, state)
    if result.status.reason not in ("converged", "stopped"):
        warnings.warn(result.status.message, ConvergenceWarning, stacklevel=2)
    return result
