"""`sparsae info`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from sparsae._text import plural
from sparsae.cli.command import Command
from sparsae.cli.fit_report import fit_values
from sparsae.cli.model_input import load_model
from sparsae.cli.report import print_facts, print_json
from sparsae.cli.streams import InputFile


@click.command(cls=Command, examples=("sparsae info digits.npz", "sparsae info run.checkpoint --json"))
@click.argument("model", type=InputFile())
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
def info(*, model: Path, as_json: bool) -> None:
    """Say what a model file holds: sizes, cost, settings, transform, and the receipt of its training.

    Of a checkpoint, also while its fit is running: where the fit stands.
    """
    from sparsae.files import check_readable
    from sparsae.training.checkpoint import is_checkpoint

    check_readable(model, what="model file")
    if is_checkpoint(model):
        _print_checkpoint(model, as_json=as_json)
    else:
        _print_model(model, as_json=as_json)


def _print_model(path: Path, *, as_json: bool) -> None:
    """Print what a model file holds."""
    from sparsae.training.report import fit_facts
    from sparsae.transforms import to_record

    result = load_model(path)
    parameters, receipt = result.parameters, result.receipt
    if as_json:
        print_json(
            {
                "n_visible": parameters.n_visible,
                "n_hidden": parameters.n_hidden,
                **fit_values(result),
                "settings": result.settings,
                "transform": [] if result.transform is None else to_record(result.transform)[0],
                "data": result.data,
                "receipt": receipt.to_dict(),
            }
        )
        return
    facts: dict[str, Any] = {"inputs": parameters.n_visible, "hidden units": parameters.n_hidden}
    facts |= fit_facts(result)
    facts |= {name.replace("_", " "): value for name, value in result.settings.items() if value is not None}
    facts["transform"] = "none" if result.transform is None else result.transform.summary
    if result.status.reason == "imported":
        print_facts(facts | {f"note {number}": note for number, note in enumerate(receipt.notes, start=1)})
        return
    source = f"{result.data['source']}, " if "source" in result.data else ""
    facts["data"] = f"{source}{receipt.n_samples} samples, SHA-256 {receipt.data_digest[:16]}"
    facts["backend"] += f" ({receipt.distribution} {receipt.distribution_version})"
    facts["pools"] = "; ".join(
        f"{p['internal_api']} {p.get('version') or ''} {p.get('architecture') or ''} "
        f"{plural(p['num_threads'], 'thread')}"
        for p in receipt.pools
    )
    facts["versions"] = ", ".join(f"{name} {version}" for name, version in receipt.versions.items())
    for number, note in enumerate(receipt.notes, start=1):
        facts[f"note {number}"] = note
    print_facts(facts)


def _print_checkpoint(path: Path, *, as_json: bool) -> None:
    """Print where a fit stands."""
    from sparsae.training.checkpoint import load
    from sparsae.training.report import TERMS

    saved = load(path)
    header, receipt, identity = saved.header, saved.header["receipt"], saved.header["identity"]
    last = dict(zip(saved.columns, saved.history[-1].tolist(), strict=True))
    now = {name: int(last[name]) if name in ("iteration", "evaluations") else value for name, value in last.items()}
    if as_json:
        print_json({"checkpoint": path, **now, **{n: header[n] for n in ("saved", "settings", "identity", "receipt")}})
        return
    facts: dict[str, Any] = {
        "checkpoint": path,
        "saved": header["saved"],
        "iteration": f"{now['iteration']} of {header['settings']['max_iter']}",
        "evaluations": now["evaluations"],
        **{TERMS.get(name, name.replace("_", " ")): f"{last[name]:.6g}" for name in saved.columns[2:]},
        **{name.replace("_", " "): value for name, value in header["settings"].items() if value is not None},
        "data": f"{identity['n_samples']} samples of {identity['n_visible']}, SHA-256 {identity['data_digest'][:16]}",
        "hidden units": identity["n_hidden"],
        "backend": f"{receipt['backend']}, {plural(receipt['threads_granted'], 'thread')}, {receipt['dtype']}",
    }
    print_facts(facts)
