"""`sparsae backends`."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

import click

from sparsae.cli.command import Command
from sparsae.cli.offers import offer_backends
from sparsae.cli.report import print_facts, print_json, print_table, say

if TYPE_CHECKING:
    from sparsae.plugins.registry import BackendRecord

FIELDS = ("name", "distribution", "version", "threading", "state", "summary")  # in every report for programs
COLUMNS = ("name", "state", "threading", "summary")


@click.command(cls=Command, examples=("sparsae backends", "sparsae backends numba", "sparsae backends --json"))
@click.argument("name", required=False, shell_complete=offer_backends)
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
def backends(*, name: str | None, as_json: bool) -> None:
    """List the backends, or say everything about the one called NAME.

    What cannot be used stands in the list with its state: not installed, broken, conflict, incompatible, disabled.
    """
    from sparsae.plugins.registry import registry
    from sparsae.plugins.selection import select, why_default

    records = list(registry().records(None if name is None else {name}))
    if not records:
        select(name)  # raises, and names the nearest
    if as_json:
        reports = [_facts(record) for record in records]
        print_json(reports[0] if name and len(reports) == 1 else reports)
    elif name:
        for record in records:
            print_facts(_facts(record))
            _print_traceback(record)
    else:
        _print_list(records)
        say()
        say(why_default())


def _facts(record: BackendRecord) -> dict[str, Any]:
    """Return a record as plain values; empty ones are left out, except those that every record has."""
    facts = {key: value for key, value in vars(record).items() if key in FIELDS or value not in ("", None)}
    return facts | ({"error": str(record.error)} if record.error is not None else {})


def _print_list(records: list[BackendRecord]) -> None:
    """Print one row for each backend: its summary, or why it cannot be used, and where it comes from."""
    print_table(COLUMNS, [(r.name, r.state, r.threading, _description(r)) for r in records])


def _description(record: BackendRecord) -> str:
    """Return the summary, or why the backend cannot be used; with the distribution of one that is not bundled."""
    text = record.summary if record.error is None else record.error.reason or str(record.error)
    return text if record.bundled else f"{text} ({record.distribution} {record.version})"


def _print_traceback(record: BackendRecord) -> None:
    """Print where the plugin failed."""
    cause = record.error.__cause__ if record.error is not None else None
    if cause is None:
        return
    say()
    for line in "".join(traceback.format_exception(cause)).splitlines():
        say(line, indent=len(line) - len(line.lstrip()))
