"""The learning curve as it grows: one JSON object a line, appended."""

from __future__ import annotations

import json
import math
import os
from dataclasses import fields
from pathlib import Path
from typing import final

from sparsae.errors import FileAccessError
from sparsae.training.observers import Progress


@final
class JsonLog:
    """An observer that appends one line of JSON for each iteration.

    A line is one write to a file opened for that line alone: what is there after a crash is whole lines,
    two fits may share a file, and it may be moved away in between.
    Numbers that are not finite become null.
    A resumed fit appends; iterations that were lost with the last interval appear again.

    Parameters
    ----------
    path : path
        Made where it does not exist.

    Raises
    ------
    FileAccessError
        When it cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = Path(path)
        self._names = [field.name for field in fields(Progress) if field.name != "make_parameters"]
        try:
            self._write("")
        except OSError as error:
            raise FileAccessError(f"The log {self._path} cannot be written to: {error.strerror}.") from error

    def __call__(self, progress: Progress) -> None:
        """Append one line."""
        values = {name: getattr(progress, name) for name in self._names}
        plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._write(json.dumps(plain, allow_nan=False) + "\n")

    def _write(self, line: str) -> None:
        handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(handle, line.encode())
        finally:
            os.close(handle)
