"""`sparsae backends`, `sparsae check`, `sparsae new-backend`."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sparsae.cli.report import plain, print_facts, print_json

if TYPE_CHECKING:
    from sparsae.plugins.registry import BackendRecord
    from sparsae.testing import Report, Verdict

COLUMNS = ("name", "distribution", "version", "threading", "state", "summary")
COLOURS = {"pass": "green", "fail": "red", "unverified": "yellow", "declined": "cyan"}


@click.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
def backends(*, name: str | None, as_json: bool) -> None:
    """List the backends, or say everything about the one called NAME.

    What cannot be used stands in the list with its state: not installed, broken, conflict, incompatible, disabled.
    """
    from sparsae.plugins.selection import list_backends, select

    records = [record for record in list_backends() if name in (None, record.name)]
    if not records:
        select(name)  # raises, and names the nearest
    if as_json:
        rows = [_facts(record) for record in records]
        print_json(rows[0] if name and len(rows) == 1 else rows)
    elif name:
        for record in records:
            print_facts(_facts(record))
            if record.error is not None and record.error.__cause__ is not None:
                click.echo("\n" + "".join(traceback.format_exception(record.error.__cause__)).rstrip())
    else:
        _print_list(records)


def _facts(record: BackendRecord) -> dict[str, Any]:
    """Return a record as plain values; empty ones are left out, but for the columns of the list."""
    facts = {key: value for key, value in vars(record).items() if key in COLUMNS or value not in ("", None)}
    return facts | ({"error": str(record.error)} if record.error is not None else {})


def _print_list(records: list[BackendRecord]) -> None:
    """Print one line for each backend: its summary, or why it cannot be used."""
    rows = [tuple(str(getattr(record, column)) for column in COLUMNS) for record in records]
    rows = [
        (*row[:-1], row[-1] if record.error is None else _short(record))
        for row, record in zip(rows, records, strict=True)
    ]
    widths = [max(len(row[i]) for row in (COLUMNS, *rows)) for i in range(len(COLUMNS))]
    for row in (COLUMNS, *rows):
        click.echo("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())


def _short(record: BackendRecord) -> str:
    """Return the error in one line, without what the other columns say."""
    text = " ".join(str(record.error).split())
    return text.partition("is broken: ")[2].partition(". Details:")[0] or text


@click.command()
@click.argument("name")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write the report to this file; - prints it.")
@click.option("--quick", is_flag=True, help="Fewer shapes and repetitions: for while you write.")
@click.option("--only", multiple=True, metavar="CHECK", help="Run this check alone; may be repeated.")
@click.option("--dtype", "dtypes", multiple=True, metavar="DTYPE", help="float64 or float32; both when left out.")
def check(*, name: str, path: Path | None, quick: bool, only: tuple[str, ...], dtypes: tuple[str, ...]) -> int:
    """Prove that the backend NAME is right: one verdict for each check.

    Exit code 1 when a check fails.
    """
    import faulthandler

    from sparsae.testing import check as run
    from sparsae.testing.runner import DTYPES

    faulthandler.enable()  # a compiled kernel may take the process down: say where
    to_stdout = path is not None and str(path) == "-"
    report = run(name, quick=quick, only=only, dtypes=dtypes or DTYPES, seen=None if to_stdout else _print_verdict)
    if to_stdout:
        print_json(report.to_dict())
    else:
        _print_sum(report)
    if path is not None and not to_stdout:
        import json

        from sparsae.errors import FileAccessError

        try:
            path.write_text(json.dumps(plain(report.to_dict()), indent=2, allow_nan=False) + "\n")
        except OSError as error:
            raise FileAccessError(f"The report cannot be written to {path}: {error.strerror}.") from error
    return 0 if report.passed else 1


def _print_verdict(verdict: Verdict) -> None:
    """Print one line, and what failed under it."""
    click.secho(f"{verdict.outcome.upper():<10}", fg=COLOURS[verdict.outcome], nl=False)
    click.echo(
        f"  {verdict.check:<16} {verdict.dtype}  {verdict.kernel_calls:>5} calls  {verdict.seconds:6.2f} s", nl=False
    )
    click.echo("" if verdict.outcome in ("pass", "fail") else f"  {verdict.message}")
    if verdict.outcome == "fail":
        click.echo(f"            {verdict.message}\n            {verdict.reproduce}")


def _print_sum(report: Report) -> None:
    """Print the verdict on the whole."""
    count = {outcome: sum(v.outcome == outcome for v in report.verdicts) for outcome in COLOURS}
    words = ", ".join(f"{number} {outcome}" for outcome, number in count.items() if number)
    whence = f" ({report.distribution} {report.version})" if report.distribution else ""
    click.echo(f"\n{report.backend}{whence}: {words}. {'It conforms.' if report.passed else 'It does not conform.'}")


@click.command()
@click.argument("name")
@click.option("--dir", "folder", type=click.Path(path_type=Path), help="Folder to make; sparsae-NAME when left out.")
def new_backend(*, name: str, folder: Path | None) -> None:
    """Write a new backend called NAME: a distribution that installs and passes the kit as it is."""
    from sparsae.testing.template import write

    folder = folder or Path(f"sparsae-{name}")
    for path in write(name, folder):
        click.echo(path)
    click.echo(f"\nNext:\n  pip install -e {folder}\n  sparsae check {name} --quick\n  python -m pytest {folder}")
