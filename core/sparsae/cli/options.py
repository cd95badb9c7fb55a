"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from sparsae.transforms import Transform

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
SENT_BYTES = 1 << 26  # data up to this size is sent to the workers of a cluster
DATA_OPTIONS = (
    "n_patches",
    "patch_size",
    "whiten",
    "scale",
    "transform",
    "columns",
    "delimiter",
    "header",
    "transpose",
    "drop_missing",
)


def add_options(command: Decorated, *options: Callable[[Decorated], Decorated]) -> Decorated:
    """Add options to a command; help lists them in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def file_options(command: Decorated) -> Decorated:
    """Add the options that say how a file is read."""
    return add_options(
        command,
        click.option(
            "--columns",
            "--select",
            "columns",
            help="Columns of a file: names, numbers from 1, ranges; '2-65', '!label'.",
        ),
        click.option("--delimiter", help="Between the cells of a table: a character, tab, space [default: found]."),
        click.option(
            "--header/--no-header",
            default=None,
            help="Whether the first line of a table has column names [default: found].",
        ),
        click.option("--transpose", is_flag=True, help="The samples of a file are columns, not rows."),
        click.option("--drop-missing", is_flag=True, help="Leave out the rows of a file with missing values."),
    )


def data_options(command: Decorated) -> Decorated:
    """Add the options that say how data is made from images, how a file is read, and how it is scaled."""
    return add_options(
        command,
        click.option("--patches", "n_patches", default=10_000, show_default=True, help="How many image patches."),
        click.option("--patch-size", default=8, show_default=True, help="Rows and columns of a patch."),
        click.option(
            "--whiten",
            type=click.Choice(["none", "zca", "olshausen"]),
            default="none",
            show_default=True,
            help="Whitening of image patches.",
        ),
        click.option("--scale", is_flag=True, help="Scale a file's values to [0.1, 0.9]: --transform scale."),
        click.option(
            "--transform",
            multiple=True,
            metavar="NAME",
            help="Fit a transform to the samples and keep it in the model: scale, standardise, unit_rms, zca, "
            "olshausen, centre, patches; may be repeated.",
        ),
        file_options,
    )


def load_data(
    source: str,
    options: dict[str, Any],
    *,
    seed: int,
    like: Transform | None = None,
    stay: bool = False,
    quiet: bool = False,
    for_cluster: bool = False,
) -> Any:
    """Load data with the options of `data_options`, which are taken out of `options`; say how it was read.

    ``-`` is standard input.

    With `stay`, rows are read from the file where that can be done, however few they are.
    For a cluster the rows of a large file stay in it: its workers open it for themselves.
    """
    from sparsae.cli.report import say
    from sparsae.cli.streams import STANDARD_INPUT, is_standard_input, standard_input
    from sparsae.data import load

    piped = is_standard_input(source)
    if piped:  # the copy is needed as long as the command runs
        source = click.get_current_context().with_resource(standard_input(source))
    given = {name: options.pop(name) for name in DATA_OPTIONS if name in options}
    names = given.get("transform") or (None,)
    given["transform"] = names[0] if len(names) == 1 else list(names)
    dataset = load(source, seed=seed, like=like, stay=stay or for_cluster, **given)
    if piped:
        dataset = replace(dataset, name=STANDARD_INPUT)
    X = dataset.X
    if for_cluster and X.shape[0] * X.shape[1] * X.dtype.itemsize <= SENT_BYTES:
        dataset = replace(dataset, X=X[:])
    for note in () if quiet else dataset.notes:
        say(note, err=True)
    return dataset
