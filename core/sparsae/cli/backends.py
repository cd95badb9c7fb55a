"""`sparsae backends`."""

from __future__ import annotations

import click

from sparsae.cli.report import print_json


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
def backends(*, as_json: bool) -> None:
    """List the backends: name, distribution, version, threading, state, summary."""
    from sparsae.selection import list_backends

    columns = ("name", "distribution", "version", "threading", "state", "summary")
    rows = [tuple(str(getattr(record, column)) for column in columns) for record in list_backends()]
    if as_json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    widths = [max(len(row[i]) for row in (columns, *rows)) for i in range(len(columns))]
    for row in (columns, *rows):
        click.echo("  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip())
