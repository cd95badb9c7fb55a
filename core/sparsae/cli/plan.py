"""`sparsae plan`."""

from __future__ import annotations

from typing import Any

import click

from sparsae.cli.cluster_options import CLUSTER_OPTIONS, cluster_connection, cluster_options
from sparsae.cli.command import Command
from sparsae.cli.model_options import MODEL_OPTIONS, model_options
from sparsae.cli.offers import offer_backends, offer_data
from sparsae.cli.options import DATA_OPTIONS, data_options, load_data
from sparsae.cli.report import print_facts, print_json, warnings_as_lines

GROUPS = {
    "Plan": ("n_hidden", "workers", "rows", "threads", *CLUSTER_OPTIONS),
    "Computation": ("backend", "dtype", "block_rows", "passes"),
    "Data": DATA_OPTIONS,
    "Model": MODEL_OPTIONS,
    "Output": ("as_json",),
}
EXAMPLES = (
    "sparsae plan x.npy --hidden 25 --workers 8",
    "sparsae plan part-0.npy --rows 10000000000 --hidden 4096 --workers 1000",
    "sparsae plan x.npy --hidden 25 --workers 8 --cluster tls://host:8786 --json",
)


@click.command(cls=Command, groups=GROUPS, examples=EXAMPLES)
@click.argument("data", shell_complete=offer_data)
@click.option("--hidden", "n_hidden", default=25, show_default=True, help="Hidden units.")
@click.option("--workers", type=int, required=True, help="Worker processes.")
@click.option("--rows", type=int, help="Rows of the fit, where DATA is only a part of them.")
@click.option("--threads", type=int, help="Of each worker [default: those of this machine, or of --cluster].")
@cluster_options
@click.option("--backend", shell_complete=offer_backends, help="Backend by name; see `sparsae backends`.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="[default: the data's own]")
@click.option("--block-rows", type=int, help="Rows in a block [default: chosen].")
@click.option("--passes", type=click.Choice(["1", "2"]), default="1", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
@model_options
@data_options
def plan(*, data: str, as_json: bool, n_hidden: int, **options: Any) -> None:
    """Predict how long an evaluation of all rows takes on a Dask cluster, and what its workers need.

    A few seconds of measurements: on --cluster where it is given, else in this process and on two local ones.
    """
    from sparsae.planning import plan as make_plan

    with warnings_as_lines(), cluster_connection(options) as connection:
        for name in CLUSTER_OPTIONS:
            options.pop(name)
        options["passes"] = int(options["passes"])
        dataset = load_data(data, options, seed=0, quiet=as_json)
        made = make_plan(
            dataset.X,
            n_hidden,
            cluster=connection,
            **options,
        )
    if as_json:
        print_json(made.to_dict())
    else:
        print_facts(made.facts())
