"""Whether a file is still what it was when it was opened: rows that a fit reads must not change while it runs."""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import final

from sparsae.engine.binary_file import open_binary
from sparsae.errors import DataError


@final
class HeldFile:
    """A file that is held open: it can be read when its name is gone or stands for another file.

    Parameters
    ----------
    path : Path
    label : str
        How messages call it.
    """

    def __init__(self, path: Path, label: str) -> None:
        self._label, file = label, open_binary(path)
        weakref.finalize(self, file.close)
        self._fd = file.fileno()
        self._was = _state(self._fd)

    def check(self) -> None:
        """Raise `DataError` when the file was written to."""
        if _state(self._fd) != self._was:
            raise DataError(f"{self._label} was written to while it was used.")


@final
class NamedFile:
    """A file, or a folder, that is opened anew each time.

    Parameters
    ----------
    path : Path
    label : str
        How messages call it.
    """

    def __init__(self, path: Path, label: str) -> None:
        self._path, self._label = os.fspath(path), label
        self._was = _state(self._path)

    def check(self) -> None:
        """Raise `DataError` when it has vanished, or is another one, or was written to."""
        try:
            now = _state(self._path)
        except OSError as error:
            raise DataError(f"{self._label} vanished while it was used ({error.strerror}).") from error
        if now != self._was:
            raise DataError(f"{self._label} was replaced or written to while it was used.")


def _state(file: str | int) -> tuple[int, int, int]:
    found = os.stat(file)  # noqa: PTH116  a Path costs as much again
    return found.st_ino, found.st_size, found.st_mtime_ns
