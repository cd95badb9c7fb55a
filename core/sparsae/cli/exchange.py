"""`sparsae export` and `sparsae import`: models of other projects."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click

from sparsae.cli.command import Command
from sparsae.cli.model_input import load_model
from sparsae.cli.report import print_json, say
from sparsae.cli.streams import InputFile, OutputFile, output_name, refuse_binary_on_terminal

FOLDER = click.Path(path_type=Path)
EXPORT_FORMATS = ("saelens", "sparsify", "npz")
IMPORT_FORMATS = (*EXPORT_FORMATS, "dictionary_learning")


@click.command(
    cls=Command,
    examples=("sparsae export model.npz sae --format saelens", "sparsae export model.npz arrays --format npz"),
)
@click.argument("model", type=InputFile())
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("--format", "format_name", type=click.Choice(EXPORT_FORMATS), required=True, help="Whose it shall be.")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="[default: float32; the model's for npz]")
@click.option("--force", is_flag=True, help="Replace existing files.")
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
def export(*, model: Path, folder: Path, format_name: str, dtype: str | None, force: bool, as_json: bool) -> None:
    """Write a MODEL into the folder DIR, as another project stores its own: weights and a configuration."""
    from sparsae.data.exchange import export_model
    from sparsae.files import check_distinct

    check_distinct({"DIR": folder}, {"MODEL": model})
    notes = export_model(load_model(model), folder, format=format_name, dtype=dtype, force=force)
    _say_notes(notes)
    if as_json:
        print_json({"model": model, "folder": folder, "format": format_name, "notes": list(notes)})
    else:
        say(f"Model written to {folder}.")


@click.command(
    "import",
    cls=Command,
    examples=("sparsae import sae -o model.npz", "sparsae import run/trainer_0 -o model.npz"),
)
@click.argument("folder", type=FOLDER, metavar="DIR")
@click.option("-o", "--out", type=OutputFile(), help="Model file to write [default: model.npz].")
@click.option("--format", "format_name", type=click.Choice(IMPORT_FORMATS), help="[default: found by the files in DIR]")
@click.option("--force", is_flag=True, help="Replace an existing model file.")
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
def import_(*, folder: Path, out: Path | None, format_name: str | None, force: bool, as_json: bool) -> None:
    """Read a model of another project from the folder DIR and write a model file.

    Nothing in the files is ever run: a pickle is refused.
    """
    from sparsae.data.exchange import import_model
    from sparsae.files import check_writable, stream_number
    from sparsae.training.model_file import save

    model = out or Path("model.npz")
    refuse_binary_on_terminal(model, "A model")
    result = import_model(folder, format=format_name)
    check_writable(model, force=force)
    save(model, result)
    _say_notes(result.receipt.notes)
    p, n = result.parameters.W1.shape
    units, to_stderr = result.settings["activation"], stream_number(model) == 1
    if as_json:
        settings, notes = result.settings, list(result.receipt.notes)
        report = {"model": model, "n_visible": n, "n_hidden": p, "settings": settings, "notes": notes}
        print_json(report, err=to_stderr)
        return
    k = "" if result.settings["k"] is None else f" with k = {result.settings['k']}"
    say(f"Model of {n} inputs and {p} {units} units{k} written to {output_name(model)}.", err=to_stderr)


def _say_notes(notes: Iterable[str]) -> None:
    """Say on standard error what was changed on the way."""
    for note in notes:
        say(note, err=True)
