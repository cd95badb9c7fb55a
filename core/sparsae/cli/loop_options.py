"""Options of `sparsae train` about the loop: method, stop rules, checkpoints, what is shown while it runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
FILE = click.Path(path_type=Path)
SETTINGS = ("memory", "learning_rate", "batch_rows", "held_out")


def loop_options(command: Command) -> Command:
    """Add the options."""
    for option in reversed(
        (
            click.option("--method", default="lbfgs", show_default=True, help="lbfgs, adam, sgd, scipy:L-BFGS-B, ..."),
            click.option("--memory", type=int, help="Pairs that lbfgs keeps [default: 20]."),
            click.option("--learning-rate", type=float, help="Of adam and sgd [default: 0.01]."),
            click.option("--batch-rows", type=int, help="Rows in a mini-batch of adam and sgd [default: 128]."),
            click.option("--held-out", type=float, help="Share of the rows that adam and sgd only watch [default: 0]."),
            click.option("--gradient-tolerance", type=float, help="Converged at this gradient [default: 1e-5]."),
            click.option("--max-seconds", type=float, help="Stop after this wall time."),
            click.option("--max-evaluations", type=int, help="Stop after this many evaluations."),
            click.option("--initial", type=FILE, help="Warm start from this model file."),
            click.option("--checkpoint", type=FILE, help="Save the whole state of the fit to this file."),
            click.option("--checkpoint-every", type=int, help="Iterations between two saves [default: 30 seconds]."),
            click.option("--resume", is_flag=True, help="Go on from the checkpoint as if the fit had never stopped."),
            click.option("--log", type=FILE, help="Append one line of JSON for each iteration to this file."),
            click.option("--plot-every", type=int, help="Draw the features beside the model every N iterations."),
        )
    ):
        command = option(command)
    return command


def take_loop(options: dict[str, Any], *, goal: Path, dataset: Any, n_hidden: int) -> dict[str, Any]:
    """Return the arguments of `sparsae.train` that these options make; they are taken out of `options`.

    Raises
    ------
    SparsaeError
        When an option cannot be used; nothing has been computed then.
    """
    from sparsae.errors import ParameterError
    from sparsae.optimize import get_method
    from sparsae.training.checkpoint import Checkpoint
    from sparsae.training.json_log import JsonLog
    from sparsae.training.model_file import load
    from sparsae.training.stopping import Stop

    taken = {name: options.pop(name) for name in list(options) if name in _NAMES}
    settings = {name: taken[name] for name in SETTINGS if taken[name] is not None}
    rules = {
        "gradient": taken["gradient_tolerance"],
        "seconds": taken["max_seconds"],
        "evaluations": taken["max_evaluations"],
    }
    path = taken["checkpoint"]
    if path is None and (taken["resume"] or taken["checkpoint_every"] is not None):
        raise ParameterError("--resume and --checkpoint-every need --checkpoint FILE.")
    observers: list[Any] = [] if taken["log"] is None else [JsonLog(taken["log"])]
    if taken["plot_every"] is not None:
        shape = (n_hidden, dataset.X.shape[1])
        picture = goal.with_name(f"{goal.stem}-features.png")
        observers.append(LivePicture(picture, taken["plot_every"], shape, dataset.image_shape))
    return {
        "method": get_method(taken["method"], **settings),
        "stop": Stop(**{name: value for name, value in rules.items() if value is not None}),
        "initial": None if taken["initial"] is None else load(taken["initial"]),
        "checkpoint": None if path is None else Checkpoint(path, every=taken["checkpoint_every"]),
        "resume": taken["resume"],
        "observers": observers,
    }


_NAMES = {
    *SETTINGS,
    "method",
    "gradient_tolerance",
    "max_seconds",
    "max_evaluations",
    "initial",
    "checkpoint",
    "checkpoint_every",
    "resume",
    "log",
    "plot_every",
}


class LivePicture:
    """An observer that draws the features every few iterations, always into the same file.

    Parameters
    ----------
    path : Path
    every : int
    shape : (int, int)
        Of W1; an empty picture is drawn at once, so that what is missing is said before training.
    image_shape : (int, int) or None
    """

    def __init__(self, path: Path, every: int, shape: tuple[int, int], image_shape: Any) -> None:
        import numpy as np

        from sparsae.model import check_size
        from sparsae.plots import plot_features

        self._path, self._every = path, check_size("--plot-every", every)
        self._shape = tuple(image_shape) if image_shape else None
        self._draw = plot_features
        self._draw(path, np.zeros(shape), image_shape=self._shape)

    def __call__(self, progress: Any) -> None:
        """Draw when it is due."""
        if progress.iteration % self._every == 0:
            title = f"iteration {progress.iteration}, cost {progress.cost:.6g}"
            self._draw(self._path, progress.parameters.W1, image_shape=self._shape, title=title)
