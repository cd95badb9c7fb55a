"""`sparsae check`."""

from __future__ import annotations

from pathlib import Path

import click

from sparsae.cli.command import Command
from sparsae.cli.offers import offer_backends
from sparsae.cli.report import json_text, print_json


@click.command(
    cls=Command,
    examples=(
        "sparsae check dot",
        "sparsae check mine --quick --only reference --dtype float64",
        "sparsae check mine --activation topk",
    ),
)
@click.argument("name", shell_complete=offer_backends)
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the report to this file; - prints it.")
@click.option("--force", is_flag=True, help="Replace an existing report.")
@click.option("--quick", is_flag=True, help="Fewer shapes and repetitions: for while you write.")
@click.option("--time-limit", type=float, default=120.0, metavar="SECONDS", help="For each check; 120 when left out.")
@click.option("--only", multiple=True, metavar="CHECK", help="Run this check alone; may be repeated.")
@click.option("--dtype", "dtypes", multiple=True, metavar="DTYPE", help="float64 or float32; both when left out.")
@click.option(
    "--activation",
    "activations",
    multiple=True,
    metavar="UNIT",
    help="sigmoid, relu, topk, batchtopk or jumprelu: check this hidden unit alone; may be repeated.",
)
def check(
    *,
    name: str,
    path: Path | None,
    force: bool,
    quick: bool,
    time_limit: float,
    only: tuple[str, ...],
    dtypes: tuple[str, ...],
    activations: tuple[str, ...],
) -> int:
    """Prove that the backend NAME is right: one verdict for each check, dtype and hidden unit.

    PASS, FAIL, - where it declines what is checked, ? where that cannot be checked here.
    batchtopk is what a kernel for jumprelu computes with one constant threshold.

    Exit code 1 when a check fails.
    """
    from sparsae._types import ACTIVATIONS
    from sparsae.cli.check_table import CheckTable, print_conclusion
    from sparsae.errors import BackendNotFoundError
    from sparsae.files import atomic_write_text, check_writable
    from sparsae.testing import check as run
    from sparsae.testing.checks import DTYPES

    to_stdout = path is not None and str(path) == "-"
    if path is not None and not to_stdout:
        check_writable(path, force=force)
    units = tuple(dict.fromkeys(activations)) or ACTIVATIONS
    table = None if to_stdout else CheckTable(units)
    try:
        report = run(
            name,
            quick=quick,
            only=only,
            dtypes=dtypes or DTYPES,
            activations=units,
            time_limit=time_limit,
            seen=None if table is None else table.add,
        )
    except BackendNotFoundError as error:
        raise BackendNotFoundError(f"{error} {_how_to_install(name)}") from error
    if to_stdout:
        print_json(report.to_dict())
        return 0 if report.passed else 1
    print_conclusion(report)
    if path is not None:
        atomic_write_text(path, json_text(report.to_dict()) + "\n")
    return 0 if report.passed else 1


def _how_to_install(name: str) -> str:
    """Return what to do where the backend has been written and not been installed yet."""
    folder = next((path for path in (Path(f"sparsae-{name}"), Path()) if (path / f"sparsae_{name}.py").is_file()), None)
    if folder is None:
        return f"A backend of your own is found once its distribution is installed: pip install -e sparsae-{name}"
    return f"It has been written and is not installed yet: pip install -e {folder}"
