"""`sparsae train`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from sparsae.cli.loop_options import loop_options, take_loop
from sparsae.cli.options import data_options
from sparsae.cli.report import print_facts, print_json, warnings_as_lines


@click.command()
@click.argument("data")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="Model file to write [default: model.npz].")
@click.option("--hidden", default=25, show_default=True, help="Hidden units.")
@click.option("--rho", default=0.01, show_default=True, help="Sparsity target: wanted mean activation.")
@click.option("--beta", default=3.0, show_default=True, help="Weight of the sparsity term.")
@click.option("--weight-decay", default=1e-4, show_default=True, help="Weight of the weight decay.")
@click.option("--output", type=click.Choice(["sigmoid", "linear"]), default="sigmoid", show_default=True)
@click.option("--max-iter", default=400, show_default=True, help="Iterations at most.")
@click.option("--backend", help="Backend by name; see `sparsae backends`.")
@click.option("--threads", type=int, help="Thread budget [default: what the machine grants].")
@click.option("--dtype", type=click.Choice(["float32", "float64"]), help="[default: the data's own]")
@click.option("--seed", default=0, show_default=True, help="For starting weights and patches.")
@click.option("--block-rows", type=int, help="Rows in a block [default: chosen].")
@click.option("--passes", type=click.Choice(["auto", "1", "2"]), default="auto", show_default=True)
@click.option("--force", is_flag=True, help="Replace an existing model file.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
@loop_options
@data_options
def train(*, data: str, out: Path | None, quiet: bool, as_json: bool, **options: Any) -> int:
    """Train a sparse autoencoder on DATA and write a model file.

    DATA is digits, patches, photos, patches:FILE_OR_FOLDER, or a .npy, .npz, .csv, .tsv, .txt or .mat file.
    """
    import signal
    from dataclasses import replace

    from sparsae.cli.options import load_data
    from sparsae.cli.progress import Reporter
    from sparsae.files import check_writable
    from sparsae.training.interrupt import interruptible
    from sparsae.training.model_file import save
    from sparsae.training.train import train as fit

    # Going on with a fit replaces what its first part has written.
    goal = check_writable(out or Path("model.npz"), force=options.pop("force") or options["resume"])
    with warnings_as_lines(quiet=quiet), interruptible(signal.SIGINT, signal.SIGTERM) as interrupt:
        dataset = load_data(data, options, seed=options["seed"])
        hidden, checkpoint = options.pop("hidden"), options["checkpoint"]
        options["passes"] = "auto" if options["passes"] == "auto" else int(options["passes"])
        loop = take_loop(options, goal=goal, dataset=dataset, n_hidden=hidden)
        with Reporter(show=not quiet and not as_json) as reporter:
            loop["observers"].append(reporter)
            result = fit(dataset.X, hidden, **loop, **options)
        preprocessing = dict(dataset.preprocessing) | {"source": dataset.name, "image_shape": dataset.image_shape}
        save(goal, replace(result, preprocessing=preprocessing))
    if as_json:
        print_json({"model": goal, **figures(result), "receipt": result.receipt.to_dict()})
    elif not quiet:
        print_facts(summary(result))
        click.echo(f"Model written to {goal}.")
    if result.status.reason == "interrupted" and interrupt.signal is not None:
        if quiet or as_json:
            click.echo(f"Interrupted; the model so far is in {goal}.", err=True)
        if checkpoint is not None and not quiet:
            click.echo(f"The same command with --resume goes on from {checkpoint}.", err=True)
        return 128 + interrupt.signal
    return 0


def figures(result: Any) -> dict[str, Any]:
    """Return what a program wants to know of a fit: names as in the Python interface, plain numbers."""
    history = result.history
    last = {name: getattr(history, name)[-1] for name in ("squared_error", "weight_decay", "sparsity", "gradient_max")}
    return {
        "status": {"reason": result.status.reason, "message": result.status.message},
        "iterations": history.iteration[-1],
        "evaluations": history.evaluations[-1],
        "seconds": history.seconds[-1],
        "evaluation_seconds": history.evaluation_seconds[-1],
        "cost": result.cost,
        "terms": last,
        "metrics": dict(result.metrics),
    }


def summary(result: Any) -> dict[str, Any]:
    """Return the figures of a fit that a person wants first."""
    history, receipt = result.history, result.receipt
    seconds, inside = float(history.seconds[-1]), float(history.evaluation_seconds[-1])
    outside = 100 * (1 - inside / seconds) if seconds > 0 else 0
    return {
        "status": result.status.reason,
        "iterations": int(history.iteration[-1]),
        "evaluations": int(history.evaluations[-1]),
        "cost": f"{result.cost:.6f}",
        "  squared error": f"{history.squared_error[-1]:.6f}",
        "  weight decay": f"{history.weight_decay[-1]:.6f}",
        "  sparsity": f"{history.sparsity[-1]:.6f}",
        "seconds": f"{seconds:.2f}, {outside:.0f} % of it outside the evaluations",
        "backend": f"{receipt.backend}, {receipt.threads_granted} threads, {receipt.workers} workers, {receipt.dtype}",
        **_metrics(result.metrics),
    }


def _metrics(metrics: Mapping[str, float]) -> dict[str, str]:
    """Word the figures of merit; a share is told with its threshold."""
    words = {}
    for name, value in metrics.items():
        if name.endswith("_share"):
            side = "below" if name == "dead_share" else "above"
            edge = metrics.get(f"{name.removesuffix('_share')}_{side}")
            words[f"{name.removesuffix('_share')} units"] = f"{value:.1%}" + (
                f" (mean activation {side} {edge:g})" if edge is not None else ""
            )
        elif not name.endswith(("_below", "_above")):
            words[name.replace("_", " ")] = f"{value:.4f}"
    return words
