"""`-` on the command line: DATA from standard input, and one output to standard output.

Standard input is copied into a temporary file first, so that every format can be read, also those that are sought in;
standard output is written from one in the same way.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click

from sparsae.errors import FileAccessError, ParameterError

DASH, PATCHES = "-", "patches:"
NAMES = (DASH, "/dev/stdin")  # of standard input
STANDARD_OUTPUT = Path("/dev/stdout")  # under this name everywhere; see `sparsae.files.stream_number`
STANDARD_INPUT = "standard input"


class InputFile(click.Path):
    """A file that is read; standard input is not one, since it is for DATA."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        if value == DASH:
            self.fail("only DATA can come from standard input (-); give a file.", param, ctx)
        return super().convert(value, param, ctx)


class OutputFile(click.Path):
    """A file that is written; ``-`` is standard output."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        return STANDARD_OUTPUT if value == DASH else super().convert(value, param, ctx)


def is_standard_input(source: str) -> bool:
    """Whether DATA is ``-``, an array in it (``-::NAME``), or pictures in it (``patches:-``)."""
    return source.removeprefix(PATCHES).partition(":")[0] in NAMES


@contextmanager
def standard_input(source: str) -> Iterator[str]:
    """Copy standard input into a file that lives as long as the context; return DATA with the file in place of ``-``.

    Raises
    ------
    FileAccessError
        When it is closed or cannot be read, or the copy cannot be written.
    """
    from sparsae.data.readers import path_goes_by

    with TemporaryDirectory(prefix="sparsae-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "data.csv"  # text has no signature, and is a table; all else is known by its content
        _copy(path)
        prefix = PATCHES * source.startswith(PATCHES)
        _, colon, array = source.removeprefix(prefix).partition(":")
        with path_goes_by(path, DASH):  # so that what messages advise to type can be typed
            yield f"{prefix}{path}{colon}{array}"


def _copy(path: Path) -> None:
    """Write what comes from standard input into a file."""
    if sys.stdin is None or sys.stdin.closed:
        raise FileAccessError("Standard input is closed; give DATA as a file.")
    if sys.stdin.isatty():
        click.echo("Reading standard input, to its end (Ctrl-D).", err=True)
    stream: Any = sys.stdin.buffer
    try:
        with path.open("wb") as file:
            while piece := stream.read1(1 << 20):  # `read` would ask a terminal for its end twice
                file.write(piece)
    except OSError as error:
        raise FileAccessError(
            f"Standard input cannot be copied into {path.parent.parent}: {error.strerror}; TMPDIR names another folder."
        ) from error


def refuse_binary_on_terminal(output: Path, what: str, *, hint: str = "") -> None:
    """Raise `ParameterError` where an output would be binary, and is a terminal."""
    from sparsae.files import stream_number

    number = stream_number(output)
    if number is not None and os.isatty(number):
        raise ParameterError(
            f"{what} is binary and {output_name(output)} is a terminal; redirect it (> FILE), or name a file with -o"
            f"{hint}."
        )


def output_name(output: Path) -> str:
    """Return how messages call an output."""
    return "standard output" if output == STANDARD_OUTPUT else str(output)
