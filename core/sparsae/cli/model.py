"""`sparsae encode`, `reconstruct`, `plot`, `info`: what can be done with a model file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sparsae.cli.options import load_data
from sparsae.cli.report import print_facts, print_json

FILE = click.Path(path_type=Path)


def _out_options(command: Any) -> Any:
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print a report for programs."),
        click.option("--seed", default=0, show_default=True, help="Where patches are cut."),
        click.option("--patches", "n_patches", default=10_000, show_default=True, help="How many image patches."),
        click.option("--force", is_flag=True, help="Replace an existing file."),
        click.option("-o", "--out", type=FILE, required=True, help="The .npy file to write."),
    ):
        command = option(command)
    return command


@click.command()
@click.argument("model", type=FILE)
@click.argument("data")
@_out_options
def encode(*, model: Path, data: str, out: Path, **options: Any) -> None:
    """Write the hidden activations of DATA, (samples, hidden units), to a .npy file."""
    from sparsae.model import encode as encode_rows

    _apply("hidden activations", model, data, out, options, lambda result, X: encode_rows(result.parameters, X))


@click.command()
@click.argument("model", type=FILE)
@click.argument("data")
@_out_options
def reconstruct(*, model: Path, data: str, out: Path, **options: Any) -> None:
    """Write what the model makes of DATA, (samples, inputs), to a .npy file."""
    from sparsae.model import decode
    from sparsae.model import encode as encode_rows

    def rebuild(result: Any, X: Any) -> Any:
        return decode(result.parameters, encode_rows(result.parameters, X), output=result.settings["output"])

    _apply("reconstructions", model, data, out, options, rebuild)


def _apply(what: str, model: Path, data: str, out: Path, options: dict[str, Any], function: Any) -> None:
    """Load model and data, apply, write atomically, report."""
    import numpy as np

    from sparsae.files import atomic_write, check_writable
    from sparsae.training.model_file import load

    goal = check_writable(out, force=options.pop("force"))
    result = load(model)
    as_json = options.pop("as_json")
    dataset = load_data(data, options, seed=options.pop("seed"), like=result.preprocessing)
    X = np.asarray(dataset.X)
    made = function(result, X)
    atomic_write(goal, lambda file: np.save(file, made))
    report: dict[str, Any] = {"file": goal, "shape": list(made.shape), "mean": float(made.mean())}
    if made.shape == X.shape:
        report["mean squared error"] = float(np.square(made - X).mean())
    if as_json:
        print_json(report)
    else:
        print_facts(report)
        click.echo(f"Wrote {what} to {goal}.")


@click.command()
@click.argument("model", type=FILE)
@click.option("-o", "--out", type=FILE, help="Picture to write: .png, .svg or .pdf [default: beside the model].")
@click.option("--what", type=click.Choice(["features", "history"]), default="features", show_default=True)
@click.option("--image-shape", metavar="ROWSxCOLUMNS", help="Shape of a sample [default: the data's, or a square].")
@click.option("--force", is_flag=True, help="Replace an existing file.")
def plot(*, model: Path, out: Path | None, what: str, image_shape: str | None, force: bool) -> None:
    """Draw what the hidden units look for, or the cost curve."""
    from sparsae.files import check_writable
    from sparsae.plots import plot_features, plot_history
    from sparsae.training.model_file import load

    goal = check_writable(out or model.with_name(f"{model.stem}-{what}.png"), force=force)
    result = load(model)
    if what == "history":
        plot_history(goal, result.history)
    else:
        shape = _shape(image_shape) if image_shape else (result.preprocessing or {}).get("image_shape")
        plot_features(goal, result.parameters.W1, image_shape=tuple(shape) if shape else None)
    click.echo(f"Drew {what} into {goal}.")


def _shape(text: str) -> tuple[int, int]:
    """Parse ROWSxCOLUMNS."""
    parts = text.lower().split("x")
    if len(parts) != 2 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise click.UsageError(f"--image-shape must look like 8x8; given {text!r}.")
    return int(parts[0]), int(parts[1])


@click.command()
@click.argument("model", type=FILE)
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
def info(*, model: Path, as_json: bool) -> None:
    """Say what a model file holds: sizes, cost, settings, preprocessing, and the receipt of its training.

    Of a checkpoint, also while its fit is running: where the fit stands.
    """
    from sparsae.cli.train import figures, summary
    from sparsae.training.checkpoint import is_checkpoint
    from sparsae.training.model_file import load

    if is_checkpoint(model):
        _checkpoint_info(model, as_json=as_json)
        return
    result = load(model)
    if as_json:
        print_json(
            {
                "n_visible": result.parameters.n_visible,
                "n_hidden": result.parameters.n_hidden,
                **figures(result),
                "settings": result.settings,
                "preprocessing": result.preprocessing,
                "receipt": result.receipt.to_dict(),
            }
        )
        return
    facts: dict[str, Any] = {"inputs": result.parameters.n_visible, "hidden units": result.parameters.n_hidden}
    facts |= summary(result)
    facts |= {name.replace("_", " "): value for name, value in result.settings.items() if value is not None}
    done = {name: value for name, value in (result.preprocessing or {}).items() if not hasattr(value, "shape")}
    facts["preprocessing"] = ", ".join(f"{name} {value}" for name, value in done.items()) or "none"
    receipt = result.receipt
    facts["data"] = f"{receipt.n_samples} samples, SHA-256 {receipt.data_digest[:16]}"
    facts["backend"] += f" ({receipt.distribution} {receipt.distribution_version})"
    facts["pools"] = "; ".join(
        f"{p['internal_api']} {p['version']} {p['architecture'] or ''} {p['num_threads']} threads"
        for p in receipt.pools
    )
    facts["versions"] = ", ".join(f"{name} {version}" for name, version in receipt.versions.items())
    for number, note in enumerate(receipt.notes, start=1):
        facts[f"note {number}"] = note
    print_facts(facts)


_TERMS = {name: f"  {name.replace('_', ' ')}" for name in ("squared_error", "weight_decay", "sparsity")}


def _checkpoint_info(path: Path, *, as_json: bool) -> None:
    """Print where a fit stands."""
    from sparsae.training.checkpoint import load

    saved = load(path)
    header, receipt, identity = saved.header, saved.header["receipt"], saved.header["identity"]
    last = dict(zip(saved.columns, saved.history[-1].tolist(), strict=True))
    whole = {name: int(last[name]) if name in ("iteration", "evaluations") else value for name, value in last.items()}
    if as_json:
        print_json(
            {"checkpoint": path, **whole, **{n: header[n] for n in ("saved", "settings", "identity", "receipt")}}
        )
        return
    facts: dict[str, Any] = {
        "checkpoint": path,
        "saved": header["saved"],
        "iteration": f"{whole['iteration']} of {header['settings']['max_iter']}",
        "evaluations": whole["evaluations"],
        **{_TERMS.get(name, name.replace("_", " ")): f"{last[name]:.6g}" for name in saved.columns[2:]},
        **{name.replace("_", " "): value for name, value in header["settings"].items() if value is not None},
        "data": f"{identity['n_samples']} samples of {identity['n_visible']}, SHA-256 {identity['data_digest'][:16]}",
        "hidden units": identity["n_hidden"],
        "backend": f"{receipt['backend']}, {receipt['threads_granted']} threads, {receipt['dtype']}",
    }
    print_facts(facts)
