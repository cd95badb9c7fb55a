"""Open files that an interrupt cannot lose: what the system opened belongs to an object that closes it.

Python raises KeyboardInterrupt between two instructions.  One that came while the system opened a file is raised
before the number that it answered is kept anywhere: the file would stay open until the process ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from io import FileIO
from typing import BinaryIO, TypeVar

from sparsae.files.deferred_signals import DeferredSignals

_File = TypeVar("_File", bound=FileIO | BinaryIO)


def open_unbuffered(path: str | os.PathLike[str], mode: str, flags: int, permissions: int = 0o666) -> FileIO:
    """Open a file by flags of the system.

    Parameters
    ----------
    path : path-like
    mode : str
        What Python may do with it: "r", "w" or "r+".
    flags : int
        What the system is asked for, as in `os.open`; a child process does not inherit the file.
    permissions : int
        Of a new file.

    Raises
    ------
    OSError
        When it cannot be opened, or is a folder.
    ValueError
        When the path has a NUL character.
    """
    flags |= getattr(os, "O_BINARY", 0)
    return _owned(lambda: FileIO(os.fspath(path), mode, opener=lambda *_: os.open(path, flags, permissions)))


def duplicate(descriptor: int, mode: str) -> FileIO:
    """Open once more what is open under a number of this process; both have one position."""
    return _owned(lambda: FileIO(str(descriptor), mode, opener=lambda *_: os.dup(descriptor)))


def temporary_file(folder: str | os.PathLike[str] | None = None) -> BinaryIO:
    """Open a temporary file, as `tempfile.TemporaryFile` does: without a name, for reading and writing."""
    return _owned(lambda: tempfile.TemporaryFile(dir=folder))


def pipe() -> tuple[FileIO, FileIO]:
    """Open a pipe: the end to read from, and the one to write to."""
    ends: list[FileIO] = []
    try:
        with DeferredSignals():
            ends.extend(map(FileIO, os.pipe(), ("r", "w")))
    except BaseException:
        for end in ends:
            end.close()
        raise
    return ends[0], ends[1]


def _owned(open_it: Callable[[], _File]) -> _File:
    """Open a file; an interrupt meanwhile is raised when it is closed again."""
    file = None
    try:
        with DeferredSignals():
            file = open_it()
    except BaseException:
        if file is not None:
            file.close()
        raise
    return file
