"""A hook of mkdocs: writes the help of every command into docs/command-reference.md when the site is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from sparsae.cli import cli

PAGE = "command-reference.md"
WIDTH = 96  # columns


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Add the help of every command to the page; others stay as they are."""
    if page.file.src_uri != PAGE:
        return markdown
    return "\n\n".join([markdown, *(f"## {name}\n\n```text\n{text}\n```" for name, text in helps())])


def helps() -> Iterator[tuple[str, str]]:
    """Yield each command, and each command of a group, with its help."""
    yield from _helps(cli, "sparsae", None)


def _helps(command: click.Command, name: str, parent: click.Context | None) -> Iterator[tuple[str, str]]:
    shown = name.rpartition(" ")[2]
    with click.Context(command, info_name=shown, parent=parent, **command.context_settings) as context:
        context.terminal_width = WIDTH
        yield name, command.get_help(context)
        for word in command.list_commands(context) if isinstance(command, click.Group) else ():
            inner = command.get_command(context, word)
            assert inner is not None
            yield from _helps(inner, f"{name} {word}", context)
