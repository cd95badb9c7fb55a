"""`sparsae evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sparsae.cli.command import Command
from sparsae.cli.model_input import data_files, load_model, say_transform
from sparsae.cli.offers import offer_data
from sparsae.cli.options import file_options, load_data
from sparsae.cli.report import print_facts, print_json, say, warnings_as_lines
from sparsae.cli.streams import InputFile, OutputFile

if TYPE_CHECKING:
    from sparsae.metrics import Metrics

EXAMPLES = (
    "sparsae evaluate digits.npz digits",
    "sparsae evaluate model.npz new.csv --json",
    "sparsae evaluate model.npz activations.npy --plot densities.png",
    "zcat new.csv.gz | sparsae evaluate model.npz -",
)


@click.command(cls=Command, examples=EXAMPLES)
@click.argument("model", type=InputFile())
@click.argument("data", shell_complete=offer_data)
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
@click.option("--plot", type=OutputFile(), help="Draw the densities: .png, .svg or .pdf.")
@click.option("--active-above", type=float, help="A unit is active above this [default: 0; 0.1 for sigmoid units].")
@click.option("--threads", type=int, help="Thread budget [default: what the machine grants].")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--patches", "n_patches", default=10_000, show_default=True, help="How many image patches.")
@click.option("--seed", default=0, show_default=True, help="Where patches are cut.")
@file_options
def evaluate(
    *,
    model: Path,
    data: str,
    as_json: bool,
    plot: Path | None,
    active_above: float | None,
    threads: int | None,
    force: bool,
    seed: int,
    **options: Any,
) -> None:
    """Say how much of DATA a model reconstructs, with how few units, and how often each unit is active.

    DATA is raw: the model's transform is applied. Any number of rows. - is standard input.
    """
    from sparsae import metrics
    from sparsae.files import check_distinct, check_writable
    from sparsae.plots import plot_densities
    from sparsae.plots.files import check_format

    if plot is not None:
        check_distinct({"--plot": plot}, {"MODEL": model, "DATA": data_files(data)})
        check_format(plot)
        check_writable(plot, force=force)
    with warnings_as_lines():
        result = load_model(model)
        dataset = load_data(data, options, seed=seed, like=result.transform)
        say_transform(result, dataset.name)
        found = metrics.evaluate(result.prepared(), dataset.X, active_above=active_above, threads=threads)
    if plot is not None:
        plot_densities(plot, found, title=dataset.name)
    if as_json:
        print_json({"model": model, "data": dataset.name, **found.to_dict()})
        return
    print_facts(_facts(found))
    if plot is not None:
        say(f"Drew the densities into {plot}.")


def _facts(found: Metrics) -> dict[str, Any]:
    """Word the figures."""
    import numpy as np

    alive = found.density[found.fired > 0]
    spread = " / ".join(f"{share:.3g}" for share in np.quantile(alive, (0.1, 0.5, 0.9))) if len(alive) else "none"
    return {
        "rows": f"{found.rows:,}",
        "explained variance": f"{found.explained_variance:.4f}",
        "fvu": f"{found.fvu:.4g}",
        "nmse": f"{found.nmse:.4g}",
        "mean squared error": f"{found.mse:.4g}",
        "cosine": f"{found.cosine:.4f}",
        "l0": f"{found.l0:.4g} of {len(found.fired):,} units active in a row (activation above {found.active_above:g})",
        "l1": f"{found.l1:.4g}",
        "dead units": f"{len(found.dead):,} ({found.dead_share:.1%})",
        "density": f"{spread} (10 %, 50 %, 90 % of the others)",
    }
