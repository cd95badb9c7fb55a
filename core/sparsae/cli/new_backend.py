"""`sparsae new-backend`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from sparsae.cli.command import Command
from sparsae.cli.report import print_json, say


@click.command(cls=Command, examples=("sparsae new-backend mine", "sparsae new-backend mine --dir ~/projects"))
@click.argument("name")
@click.option(
    "--dir", "parent", type=click.Path(path_type=Path), default=Path(), help="Folder in which sparsae-NAME is made."
)
@click.option("--json", "as_json", is_flag=True, help="Print a report for programs.")
def new_backend(*, name: str, parent: Path, as_json: bool) -> None:
    """Write a new backend called NAME: a distribution that installs and passes the kit as it is."""
    from sparsae.errors import ParameterError
    from sparsae.plugins.registry import registry
    from sparsae.plugins.selection import AUTO
    from sparsae.testing.template import write

    if name == AUTO:
        raise ParameterError(f"{AUTO!r} is not a name for a backend: it asks for the fastest one; take another name.")
    if name in registry().names():
        raise ParameterError(
            f"A backend named {name!r} is registered already, and of two with one name neither can be chosen; "
            f"take another name."
        )
    folder = parent / f"sparsae-{name}"
    written = list(write(name, folder))
    if as_json:
        print_json({"name": name, "folder": folder, "files": written})
        return
    for path in written:
        say(path)
    quoted = shlex.quote(str(folder))
    say()
    say("Next:")
    with_pytest = shlex.quote(f"{folder}[test]")
    for line in (
        f"pip install -e {quoted}",
        f"sparsae check {name} --quick",
        f"pip install -e {with_pytest} && python -m pytest {quoted}",
    ):
        say(line, indent=2)
