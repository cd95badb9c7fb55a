"""What the commands print: lines and tables for a person, JSON for a program, warnings as one line each.

Text from outside passes through `printable` here, so that no command has to think of it.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

from sparsae._text import printable
from sparsae.cli.log import log_as_lines
from sparsae.cli.wording import in_option_words

if TYPE_CHECKING:
    from rich.console import Console

_LEAST_WIDTH = 20  # of the last column of a table, below which it gets lines of its own


def say(text: object = "", *, indent: int = 0, err: bool = False, **style: Any) -> None:
    """Print one line on standard output, or on standard error; a terminal that is narrower gets it in several."""
    line, space = printable(text), " " * indent
    width = terminal_width(err=err)
    if width is not None and indent + len(line) > width >= indent + _LEAST_WIDTH:
        line = textwrap.fill(line, width, initial_indent=space, subsequent_indent=space, break_on_hyphens=False)
    else:
        line = space + line
    click.secho(line, err=err, **style)


def print_json(report: Any, *, err: bool = False) -> None:
    """Print a report as JSON; numbers that JSON lacks become null."""
    click.echo(json_text(report), err=err)


def json_text(report: Any) -> str:
    """Return a report as JSON; numbers that JSON lacks become null."""
    return json.dumps(_json_value(report), indent=2, allow_nan=False)


def _json_value(value: Any) -> Any:
    """Turn NumPy scalars, arrays, paths and numbers that are not finite into what JSON can take."""
    import numpy as np

    if isinstance(value, Mapping):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_json_value(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return _json_value(value.tolist())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def print_facts(facts: Mapping[str, Any], *, err: bool = False) -> None:
    """Print names and values in two columns; names may be indented."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        _print_row((name.ljust(width),), printable(value), err=err)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows in columns; on a terminal the last column is wrapped to its width."""
    lines = [tuple(map(printable, row)) for row in (headings, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings) - 1)]
    for line in lines:
        _print_row([word.ljust(width) for word, width in zip(line[:-1], widths, strict=True)], line[-1])


def _print_row(columns: Sequence[str], last: str, *, err: bool = False) -> None:
    """Print a row; on a terminal its last column continues below itself."""
    start = "  ".join(columns) + "  "
    width = terminal_width(err=err)
    if width is None or len(start) + len(last) <= width:
        click.echo((start + last).rstrip(), err=err)
        return
    if width - len(start) >= _LEAST_WIDTH:
        first = indent = start
        indent = " " * len(start)
    else:
        click.echo(start.rstrip(), err=err)
        first = indent = "    "
    for line in textwrap.wrap(last, width, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False):
        click.echo(line, err=err)


def terminal_width(*, err: bool = False) -> int | None:
    """Return the columns of the terminal; None where lines may be as long as they are, in a file or a pipe."""
    stream = sys.stderr if err else sys.stdout
    if stream is None or not stream.isatty():
        return None
    return shutil.get_terminal_size().columns


def make_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return a console that takes text as it is: no markup, no emoji codes, nothing highlighted."""
    from rich.console import Console

    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


def colours_allowed() -> bool | None:
    """Return False where the environment asks for no colours, else None: where the output is a terminal."""
    return False if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" else None


@contextmanager
def warnings_as_lines(*, quiet: bool = False) -> Iterator[None]:
    """Show each warning, when it comes, as one line on standard error, and the log on a terminal; none with --quiet."""
    shown = set()
    context = click.get_current_context(silent=True)
    params = () if context is None else context.command.params

    def show(message: Warning | str, *_: object, **__: object) -> None:
        text = in_option_words(str(message), params)
        if not quiet and text not in shown:
            shown.add(text)
            say(f"Warning: {text}", err=True)

    with log_as_lines(quiet=quiet), warnings.catch_warnings():
        warnings.simplefilter("default")
        for category in (DeprecationWarning, PendingDeprecationWarning):  # between libraries, not for their users
            warnings.simplefilter("ignore", category)
        warnings.showwarning = show
        yield
