"""`sparsae check`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from sparsae.cli.command import Command
from sparsae.cli.report import counted, json_text, print_json, say

if TYPE_CHECKING:
    from sparsae.testing import Report, Verdict

COLOURS = {"pass": "green", "fail": "red", "unverified": "yellow", "declined": "cyan"}


@click.command(
    cls=Command, examples=("sparsae check dot", "sparsae check mine --quick --only reference --dtype float64")
)
@click.argument("name")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the report to this file; - prints it.")
@click.option("--force", is_flag=True, help="Replace an existing report.")
@click.option("--quick", is_flag=True, help="Fewer shapes and repetitions: for while you write.")
@click.option("--time-limit", type=float, default=120.0, metavar="SECONDS", help="For each check; 120 when left out.")
@click.option("--only", multiple=True, metavar="CHECK", help="Run this check alone; may be repeated.")
@click.option("--dtype", "dtypes", multiple=True, metavar="DTYPE", help="float64 or float32; both when left out.")
def check(
    *,
    name: str,
    path: Path | None,
    force: bool,
    quick: bool,
    time_limit: float,
    only: tuple[str, ...],
    dtypes: tuple[str, ...],
) -> int:
    """Prove that the backend NAME is right: one verdict for each check.

    Exit code 1 when a check fails.
    """
    from sparsae.errors import BackendNotFoundError
    from sparsae.files import atomic_write_text, check_writable
    from sparsae.testing import check as run
    from sparsae.testing.checks import DTYPES

    to_stdout = path is not None and str(path) == "-"
    if path is not None and not to_stdout:
        check_writable(path, force=force)
    try:
        seen = None if to_stdout else _print_verdict
        report = run(name, quick=quick, only=only, dtypes=dtypes or DTYPES, time_limit=time_limit, seen=seen)
    except BackendNotFoundError as error:
        raise BackendNotFoundError(f"{error} {_how_to_install(name)}") from error
    if to_stdout:
        print_json(report.to_dict())
        return 0 if report.passed else 1
    _print_conclusion(report)
    if path is not None:
        atomic_write_text(path, json_text(report.to_dict()) + "\n")
    return 0 if report.passed else 1


def _how_to_install(name: str) -> str:
    """Return what to do where the backend has been written and not been installed yet."""
    folder = next((path for path in (Path(f"sparsae-{name}"), Path()) if (path / f"sparsae_{name}.py").is_file()), None)
    if folder is None:
        return f"A backend of your own is found once its distribution is installed: pip install -e sparsae-{name}"
    return f"It has been written and is not installed yet: pip install -e {folder}"


def _print_verdict(verdict: Verdict) -> None:
    """Print one line, and what failed under it."""
    click.secho(f"{verdict.outcome.upper():<10}", fg=COLOURS[verdict.outcome], nl=False)
    calls = counted(verdict.kernel_calls, "call").rjust(11)
    said = "" if verdict.outcome in ("pass", "fail") else f"  {verdict.message}"
    say(f"{verdict.check:<16} {verdict.dtype}{calls}  {verdict.seconds:6.2f} s{said}", indent=2)
    if verdict.outcome == "fail":
        say(verdict.message, indent=12)
        say(verdict.reproduce, indent=12)


def _print_conclusion(report: Report) -> None:
    """Print how many checks ended how, and whether the backend conforms."""
    count = {outcome: sum(v.outcome == outcome for v in report.verdicts) for outcome in COLOURS}
    words = ", ".join(f"{number} {outcome}" for outcome, number in count.items() if number)
    source = f" ({report.distribution} {report.version})" if report.distribution else ""
    say()
    say(f"{report.backend}{source}: {words}. {'It conforms.' if report.passed else 'It does not conform.'}")
