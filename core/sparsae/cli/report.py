"""What the commands print: facts as a table for a person, or as JSON for a program; warnings as one line each."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
import numpy as np


def print_json(report: Any) -> None:
    """Print a report as JSON on standard output; numbers that JSON lacks become null."""
    click.echo(json.dumps(plain(report), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """Turn NumPy scalars, arrays, paths and numbers that are not finite into what JSON can take."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return plain(value.tolist())
    if isinstance(value, float):
        return value if np.isfinite(value) else None
    return value if value is None or isinstance(value, (bool, int, str)) else str(value)


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print names and values in two columns."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        click.echo(f"{name:<{width}}  {value}")


@contextmanager
def warnings_as_lines(*, quiet: bool = False) -> Iterator[None]:
    """Show each warning, when it comes, as one line on standard error; none with --quiet."""
    said = set()

    def say(message: Warning | str, *_: object, **__: object) -> None:
        if not quiet and str(message) not in said:
            said.add(str(message))
            click.echo(f"Warning: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("default")
        for category in (DeprecationWarning, PendingDeprecationWarning):  # between libraries, not for their users
            warnings.simplefilter("ignore", category)
        warnings.showwarning = say
        yield
