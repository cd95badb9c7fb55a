"""Options of `sparsae train` about the fit: method, stop rules, checkpoints, and what is written while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sparsae.cli.options import Decorated, add_options
from sparsae.cli.streams import InputFile, OutputFile

if TYPE_CHECKING:
    from sparsae.data import Dataset
    from sparsae.training.observers import Progress

METHOD_SETTINGS = ("memory", "learning_rate", "batch_rows", "held_out")
METHOD_OPTIONS = ("method", *METHOD_SETTINGS, "gradient_tolerance", "max_seconds", "max_evaluations", "initial")
RUN_OPTIONS = ("checkpoint", "checkpoint_every", "resume", "log", "plot_every")


def fit_options(command: Decorated) -> Decorated:
    """Add the options."""
    return add_options(
        command,
        click.option("--method", help="lbfgs, adam, sgd, scipy:L-BFGS-B, ... [default: by activation]."),
        click.option("--memory", type=int, help="Pairs that lbfgs keeps [default: 20]."),
        click.option("--learning-rate", type=float, help="Of adam and sgd [default: 0.01]."),
        click.option("--batch-rows", type=int, help="Rows in a mini-batch of adam and sgd [default: 128]."),
        click.option("--held-out", type=float, help="Share of the rows that adam and sgd only watch [default: 0]."),
        click.option("--gradient-tolerance", type=float, help="Converged at this gradient [default: 1e-5]."),
        click.option("--max-seconds", type=float, help="Stop after this wall time."),
        click.option("--max-evaluations", type=int, help="Stop after this many evaluations."),
        click.option("--initial", type=InputFile(), help="Warm start from this model file."),
        click.option("--checkpoint", type=OutputFile(), help="Save the whole state of the fit to this file."),
        click.option("--checkpoint-every", type=int, help="Iterations between two saves [default: 30 seconds]."),
        click.option("--resume", is_flag=True, help="Go on from the checkpoint as if the fit had never stopped."),
        click.option("--log", type=OutputFile(), help="Append one line of JSON for each iteration to this file."),
        click.option("--plot-every", type=int, help="Draw the features beside the model every N iterations."),
    )


def fit_outputs(options: Mapping[str, Any], model: Path) -> dict[str, Path | None]:
    """Return the files that a fit writes, by the options that ask for them."""
    from sparsae.training.checkpoint import previous

    checkpoint = options["checkpoint"]
    return {
        "--out": model,
        "--checkpoint": checkpoint,
        "the checkpoint before": None if checkpoint is None else previous(checkpoint),
        "--log": options["log"],
        "--plot-every": None if options["plot_every"] is None else picture_path(model),
    }


def picture_path(model: Path) -> Path:
    """Return the name of the picture that is redrawn while a fit runs."""
    return model.with_name(f"{model.stem}-features.png")


def fit_arguments(options: Mapping[str, Any], *, model: Path, dataset: Dataset, n_hidden: int) -> dict[str, Any]:
    """Return the arguments of `sparsae.train` that these options make.

    Raises
    ------
    SparsaeError
        When an option cannot be used; nothing has been computed then.
    """
    from sparsae.cli.model_input import load_model
    from sparsae.errors import ParameterError
    from sparsae.model.settings import default_method
    from sparsae.optimize import get_method
    from sparsae.training.checkpoint import Checkpoint
    from sparsae.training.json_log import JsonLog
    from sparsae.training.stopping import Stop

    settings = {name: options[name] for name in METHOD_SETTINGS if options[name] is not None}
    rules = {
        "gradient": options["gradient_tolerance"],
        "seconds": options["max_seconds"],
        "evaluations": options["max_evaluations"],
    }
    name = options["method"] or default_method({"activation": options["activation"]})
    method, checkpoint = get_method(name, **settings), options["checkpoint"]
    if options["gradient_tolerance"] and "held_out" in method.settings():
        raise ParameterError(
            f"--gradient-tolerance has no effect on {method.name}, whose gradients are of mini-batches; "
            f"it has --held-out instead."
        )
    if checkpoint is None and (options["resume"] or options["checkpoint_every"] is not None):
        raise ParameterError("--resume and --checkpoint-every need --checkpoint FILE.")
    observers: list[Any] = [] if options["log"] is None else [JsonLog(options["log"])]
    if options["plot_every"] is not None:
        shape = (n_hidden, dataset.X.shape[1])
        observers.append(FeaturePicture(picture_path(model), options["plot_every"], shape, dataset.image_shape))
    return {
        "method": method,
        "stop": Stop(**{name: value for name, value in rules.items() if value is not None}),
        "initial": None if options["initial"] is None else load_model(options["initial"]),
        "checkpoint": None if checkpoint is None else Checkpoint(checkpoint, every=options["checkpoint_every"]),
        "resume": options["resume"],
        "observers": observers,
    }


class FeaturePicture:
    """An observer that draws the features every few iterations, always into the same file.

    Parameters
    ----------
    path : Path
    every : int
    shape : (int, int)
        Of W1; an empty picture is drawn at once, so that a missing library is reported before training.
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

    def __call__(self, progress: Progress) -> None:
        """Draw when it is due."""
        if progress.iteration % self._every == 0:
            title = f"iteration {progress.iteration}, cost {progress.cost:.6g}"
            self._draw(self._path, progress.parameters.W1, image_shape=self._shape, title=title)
