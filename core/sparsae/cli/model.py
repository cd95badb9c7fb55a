"""`sparsae encode`, `sparsae reconstruct` and `sparsae plot`: what can be made of a model file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sparsae.cli.command import Command
from sparsae.cli.matrix_output import ENDINGS, matrix_writer
from sparsae.cli.model_input import data_files, load_model, say_transform
from sparsae.cli.offers import offer_data
from sparsae.cli.options import Decorated, add_options, file_options, load_data
from sparsae.cli.report import print_facts, print_json, say, warnings_as_lines
from sparsae.cli.streams import InputFile, OutputFile

if TYPE_CHECKING:
    from sparsae.training.result import TrainResult

MODEL, OUTPUT = InputFile(), OutputFile()


def _output_options(command: Decorated) -> Decorated:
    """Add the options of the commands that write a matrix."""
    return add_options(
        command,
        click.option("-o", "--out", type=OUTPUT, required=True, help="File to write; - is standard output."),
        click.option(
            "--format",
            "format_name",
            type=click.Choice([ending[1:] for ending in ENDINGS]),
            help="[default: the ending of the file; csv for standard output]",
        ),
        click.option("--force", is_flag=True, help="Replace an existing file."),
        click.option("--patches", "n_patches", default=10_000, show_default=True, help="How many image patches."),
        click.option("--seed", default=0, show_default=True, help="Where patches are cut."),
        click.option("--json", "as_json", is_flag=True, help="Print a report for programs."),
        file_options,
    )


@click.command(
    cls=Command,
    examples=(
        "sparsae encode digits.npz digits -o codes.npy",
        "sparsae encode model.npz new.csv -o codes.csv",
        "zcat new.csv.gz | sparsae encode model.npz - -o - | gzip > codes.csv.gz",
    ),
)
@click.argument("model", type=MODEL)
@click.argument("data", shell_complete=offer_data)
@_output_options
def encode(*, model: Path, data: str, out: Path, **options: Any) -> None:
    """Write the hidden activations of DATA, (samples, hidden units), to a file: .npy, .npz, .csv, .tsv, .parquet.

    DATA - is standard input, and -o - is standard output; the report then goes to standard error.
    """
    _apply("hidden", model, data, out, **options)


@click.command(
    cls=Command,
    examples=(
        "sparsae reconstruct digits.npz digits -o again.npy",
        "sparsae reconstruct model.npz - -o - --format npy < new.npy > again.npy",
    ),
)
@click.argument("model", type=MODEL)
@click.argument("data", shell_complete=offer_data)
@_output_options
def reconstruct(*, model: Path, data: str, out: Path, **options: Any) -> None:
    """Write what the model makes of DATA, (samples, inputs), to a file: .npy, .npz, .csv, .tsv, .parquet.

    In the units of DATA, where the model's transform has an inverse.
    DATA - is standard input, and -o - is standard output; the report then goes to standard error.
    """
    _apply("output", model, data, out, **options)


def _apply(
    column: str,
    model: Path,
    data: str,
    out: Path,
    *,
    format_name: str | None,
    force: bool,
    as_json: bool,
    seed: int,
    **options: Any,
) -> None:
    """Load the model, read DATA and write the matrix piece by piece, report."""
    from sparsae.cli.model_output import ModelOutput
    from sparsae.files import atomic_write, check_distinct, check_writable, stream_number

    write = matrix_writer(out, format_name)
    check_distinct({"--out": out}, {"MODEL": model, "DATA": data_files(data)})
    check_writable(out, force=force)
    with warnings_as_lines():
        result = load_model(model)
        dataset = load_data(data, options, seed=seed, like=result.transform, stay=True)
    say_transform(result, dataset.name)
    if column == "output":
        _say_units(result)
    made = ModelOutput(result, dataset.X, reconstruct=column == "output")
    atomic_write(out, lambda file: write(file, made.pieces(), made.shape, made.dtype, column))
    report: dict[str, Any] = {"file": out, "shape": list(made.shape), "mean": made.mean}
    if column == "output":
        report["mean_squared_error"] = made.mean_squared_error
    to_stderr = stream_number(out) == 1  # the matrix went to standard output
    if as_json:
        print_json(report, err=to_stderr)
    else:
        shown = {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in report.items()}
        print_facts({name.replace("_", " "): value for name, value in shown.items()}, err=to_stderr)


def _say_units(result: TrainResult) -> None:
    """Say whether the transform is undone in the outputs."""
    transform = result.transform
    if transform is not None and transform.invertible:
        say("The outputs are in the units of the data: the transform is undone.", err=True)
    elif transform is not None:
        say(f"The outputs are transformed samples: the transform has no inverse, {transform.no_inverse}.", err=True)


@click.command(
    cls=Command, examples=("sparsae plot digits.npz", "sparsae plot digits.npz --what history -o cost.svg --force")
)
@click.argument("model", type=MODEL)
@click.option("-o", "--out", type=OUTPUT, help="Picture to write: .png, .svg or .pdf [default: beside the model].")
@click.option("--what", type=click.Choice(["features", "history"]), default="features", show_default=True)
@click.option("--image-shape", metavar="ROWSxCOLUMNS", help="Shape of a sample [default: the data's, or a square].")
@click.option("--force", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
def plot(*, model: Path, out: Path | None, what: str, image_shape: str | None, force: bool, as_json: bool) -> None:
    """Draw what the hidden units look for, or the cost curve.

    Units of image data are drawn as images, those of other data as bars.
    """
    from sparsae.files import check_distinct, check_writable
    from sparsae.plots import plot_features, plot_history

    output = out or model.with_name(f"{model.stem}-{what}.png")
    check_distinct({"--out": output}, {"MODEL": model})
    result = load_model(model)
    check_writable(output, force=force)
    if what == "history":
        plot_history(output, result.history)
    else:
        shape = _parse_shape(image_shape) if image_shape else result.data.get("image_shape")
        plot_features(output, result.parameters.W1, image_shape=tuple(shape) if shape else None)
    if as_json:
        print_json({"model": model, "file": output, "what": what})
    else:
        say(f"Drew {what} into {output}.")


def _parse_shape(text: str) -> tuple[int, int]:
    """Parse ROWSxCOLUMNS."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isascii() and part.isdigit() and int(part) > 0 for part in parts):
        raise click.UsageError(f"--image-shape must look like 8x8; given {text!r}.")
    return int(parts[0]), int(parts[1])
