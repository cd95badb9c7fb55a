"""The learning curve as a log: one JSON object a line, appended while the fit runs."""

from __future__ import annotations

import json
import math
import os
from dataclasses import fields
from typing import final

from sparsae.errors import FileAccessError
from sparsae.files import as_path
from sparsae.files.opening import open_unbuffered
from sparsae.files.status import reason
from sparsae.training.observers import Progress


@final
class JsonLog:
    """An observer that appends one line of JSON for each iteration.

    The file is opened anew for each line, so that two fits may share it and it may be moved in between.
    A line that could not be written whole (a full disk) is taken back, and a piece of a line that a killed process left
    is ended before the next line begins.
    Numbers that are not finite become null.
    A resumed fit appends; iterations after the last checkpoint appear again.

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
        self._path = as_path("The path of a log", path)
        self._names = [field.name for field in fields(Progress) if field.name != "make_parameters"]
        self._append(b"")

    def __call__(self, progress: Progress) -> None:
        """Append one line."""
        values = {name: getattr(progress, name) for name in self._names}
        plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._append(json.dumps(plain, allow_nan=False).encode() + b"\n")

    def _append(self, line: bytes) -> None:
        """Append a line, or nothing."""
        try:
            with open_unbuffered(self._path, "r+", os.O_RDWR | os.O_CREAT | os.O_APPEND) as file:
                _append_whole(file.fileno(), line)
        except (OSError, ValueError) as error:
            raise FileAccessError(f"The log {self._path} cannot be written to: {reason(error)}.") from error


def _append_whole(descriptor: int, line: bytes) -> None:
    """Append a line to an open file; what was written of it is removed where it cannot be written whole."""
    if not line:
        return
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size > 0:
        os.lseek(descriptor, -1, os.SEEK_END)
        if os.read(descriptor, 1) != b"\n":
            line = b"\n" + line
    done = 0
    try:
        while done < len(line):
            done += os.write(descriptor, line[done:])
    except OSError:
        end = os.lseek(descriptor, 0, os.SEEK_CUR)  # of what this descriptor wrote
        if done > 0 and end == os.fstat(descriptor).st_size:  # nobody has appended since
            os.ftruncate(descriptor, end - done)
        raise
