"""`sparsae train`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sparsae.cli.cluster_options import CLUSTER_OPTIONS, cluster_connection, cluster_options
from sparsae.cli.command import Command
from sparsae.cli.fit_options import METHOD_OPTIONS, RUN_OPTIONS, fit_arguments, fit_options, fit_outputs
from sparsae.cli.fit_report import fit_values
from sparsae.cli.model_options import MODEL_OPTIONS, model_options
from sparsae.cli.offers import offer_backends, offer_data
from sparsae.cli.options import DATA_OPTIONS, data_options
from sparsae.cli.report import print_facts, print_json, say, warnings_as_lines
from sparsae.cli.streams import OutputFile, output_name, refuse_binary_on_terminal

if TYPE_CHECKING:
    from sparsae.data import Dataset
    from sparsae.errors import OutputExistsError
    from sparsae.training.result import TrainResult

COMPUTATION = ("backend", "threads", "dtype", "block_rows", "passes", "temporary_copy")
OBJECTIVE_OPTIONS = (
    *MODEL_OPTIONS,
    *COMPUTATION,
)
GROUPS = {
    "Data": DATA_OPTIONS,
    "Model": ("n_hidden", *MODEL_OPTIONS),
    "Optimisation": ("max_iter", "seed", *METHOD_OPTIONS),
    "Computation": COMPUTATION,
    "Cluster": CLUSTER_OPTIONS,
    "A long fit": RUN_OPTIONS,
    "Output": ("out", "force", "quiet", "as_json"),
}
EXAMPLES = (
    "sparsae train digits -o digits.npz",
    "sparsae train patches --whiten olshausen -o edges.npz",
    "sparsae train measurements.csv --scale --hidden 40 --rho 0.05",
    "sparsae train activations.npy --transform unit_rms --output linear",
    "sparsae train digits --activation relu --method lbfgs --hidden 200",
    "sparsae train table.parquet --select 'a,b' --drop-missing --output linear",
    "zcat measurements.csv.gz | sparsae train - --scale -o model.npz",
    "sparsae train x.npy --checkpoint run --log run.jsonl",
    "sparsae train x.npy --checkpoint run --log run.jsonl --resume",
)


@click.command(cls=Command, groups=GROUPS, examples=EXAMPLES)
@click.argument("data", shell_complete=offer_data)
@click.option("-o", "--out", type=OutputFile(), help="Model file to write; - is standard output [default: model.npz].")
@click.option("--hidden", "n_hidden", default=25, show_default=True, help="Hidden units.")
@click.option("--max-iter", default=400, show_default=True, help="Iterations at most, epochs of adam and sgd.")
@click.option("--backend", shell_complete=offer_backends, help="Backend by name; see `sparsae backends`.")
@click.option("--threads", type=int, help="Thread budget [default: what the machine grants].")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="[default: the data's own]")
@click.option("--seed", default=0, show_default=True, help="For starting weights and patches.")
@click.option("--block-rows", type=int, help="Rows in a block [default: chosen].")
@click.option("--passes", type=click.Choice(["auto", "1", "2"]), default="auto", show_default=True)
@click.option(
    "--temporary-copy/--no-temporary-copy",
    default=True,
    help="Decode Parquet, Zarr or compressed HDF5 larger than memory once, to the disk [default: yes].",
)
@click.option("--force", is_flag=True, help="Replace an existing model file.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
@cluster_options
@model_options
@fit_options
@data_options
def train(*, data: str, out: Path | None, quiet: bool, as_json: bool, force: bool, **options: Any) -> int:
    """Train a sparse autoencoder on DATA and write a model file.

    DATA is digits, patches, photos, patches:FILE_OR_FOLDER, or a file of numbers: .npy, .npz, .csv, .tsv, .txt, .mat,
    .parquet, .feather, .h5, .zarr, .safetensors, .pt or MNIST's idx; FILE::NAME is one array of several, and a folder
    or a pattern such as 'parts/*.npy' is one data set. - is standard input.
    """
    from sparsae.cli.options import load_data
    from sparsae.files import stream_number
    from sparsae.training.report import fit_facts

    model = out or Path("model.npz")
    exists = _check_files(data, model, options, force=force)
    with warnings_as_lines(quiet=quiet):
        for_cluster, seed = options["cluster"] is not None, options["seed"]
        dataset = load_data(data, options, seed=seed, quiet=quiet, for_cluster=for_cluster)  # signals end it at once
        if exists is not None:
            _check_options(dataset, options)
            raise exists
        result, signal_number = _fit_and_save(dataset, model, options, show=not quiet and not as_json)
    to_stderr = stream_number(model) == 1  # the model went to standard output
    if as_json:
        print_json({"model": model, **fit_values(result), "receipt": result.receipt.to_dict()}, err=to_stderr)
    elif not quiet:
        print_facts(fit_facts(result), err=to_stderr)
        say(f"Model written to {output_name(model)}.", err=to_stderr)
    if result.status.reason != "interrupted" or signal_number is None:
        return 0
    if quiet or as_json:
        say(f"Interrupted; the model so far is in {output_name(model)}.", err=True)
    if options["checkpoint"] is not None and not quiet:
        say(f"The same command with --resume goes on from {options['checkpoint']}.", err=True)
    return 128 + signal_number


def _check_files(data: str, model: Path, options: dict[str, Any], *, force: bool) -> OutputExistsError | None:
    """Refuse before any work what could not be written after it.

    Return the error where a model would be written over: what is wrong with the data comes first.
    """
    from sparsae.cli.model_input import data_files
    from sparsae.errors import OutputExistsError
    from sparsae.files import check_distinct, check_writable

    refuse_binary_on_terminal(model, "A model")
    outputs = fit_outputs(options, model)
    check_distinct(outputs, {"DATA": data_files(data)})
    if options["initial"] is not None:  # which the model may replace: it has been read by then
        others = {name: path for name, path in outputs.items() if name != "--out"}
        check_distinct(others, {"--initial": options["initial"]})
    replace_files = force or options["resume"]  # going on with a fit replaces what its first part has written
    exists = None
    for name, may_exist in (("--out", replace_files), ("--plot-every", replace_files), ("--log", True)):
        path = outputs[name]
        try:
            if path is not None:
                check_writable(path, force=may_exist)
        except OutputExistsError as error:
            exists = exists or error
    return exists


def _check_options(dataset: Dataset, options: dict[str, Any]) -> None:
    """Raise what a fit would say of its options and of data in memory before its first iteration; writes nothing."""
    import numpy as np

    from sparsae.objective import Objective
    from sparsae.training.options import FitOptions

    named = options | {"plot_every": None, "log": None}
    arguments = fit_arguments(named, model=Path(), dataset=dataset, n_hidden=options["n_hidden"])
    del arguments["observers"]
    FitOptions.checked(**arguments, max_iter=options["max_iter"], seed=options["seed"])
    if isinstance(dataset.X, np.ndarray):  # a file may be long
        with Objective(dataset.X, options["n_hidden"], **_objective_options(options)):
            pass


def _objective_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of the model and of the computation."""
    passes = options["passes"]
    return {name: options[name] for name in OBJECTIVE_OPTIONS} | {"passes": passes if passes == "auto" else int(passes)}


def _fit_and_save(
    dataset: Dataset, model: Path, options: dict[str, Any], *, show: bool
) -> tuple[TrainResult, int | None]:
    """Train and write the model; return the result, and the number of the signal that came, if one did."""
    import signal

    from sparsae.errors import BackendError
    from sparsae.training.interrupt import interruptible
    from sparsae.training.model_file import save
    from sparsae.training.progress_display import ProgressDisplay
    from sparsae.training.train import train as fit

    arguments = _objective_options(options) | {name: options[name] for name in ("max_iter", "seed")}
    with (
        interruptible(signal.SIGINT, signal.SIGTERM) as interrupt,
        ProgressDisplay(show=show, keep=False) as display,
        ExitStack() as stack,
    ):
        try:
            arguments |= fit_arguments(options, model=model, dataset=dataset, n_hidden=options["n_hidden"])
            arguments["observers"].append(display)
            arguments["cluster"] = stack.enter_context(cluster_connection(options))
            result = fit(dataset.X, options["n_hidden"], **arguments)
            facts = {"source": dataset.name, "image_shape": dataset.image_shape}
            save(model, replace(result, transform=dataset.transform, data=facts))
        except KeyboardInterrupt as error:
            if interrupt.signal is None:  # nobody pressed Ctrl-C
                raise BackendError("KeyboardInterrupt was raised in a backend or another library.") from error
            say("Interrupted.", err=True)
            click.get_current_context().exit(128 + interrupt.signal)
    return result, None if interrupt.signal is None else int(interrupt.signal)
