"""What a shell is offered for a word that is not an option: names of backends, and data."""

from __future__ import annotations

from glob import escape
from pathlib import Path

import click
from click.shell_completion import CompletionItem

DATA_WORDS = ("digits", "patches", "photos", "patches:")


def offer_backends(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of backends that begin so; no plugin is imported."""
    from sparsae.plugins.loading import read_entry_points
    from sparsae.plugins.registry import GROUP

    return sorted({point.name for point in read_entry_points(GROUP) if point.name.startswith(incomplete)})


def offer_data(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return the words for data that begin so, with the files; files alone where there is no such word."""
    words = [word for word in DATA_WORDS if incomplete and word.startswith(incomplete)]
    if not words:
        return [CompletionItem(incomplete, type="file")]
    return [CompletionItem(word) for word in (*words, *sorted(map(str, Path().glob(f"{escape(incomplete)}*"))))]
