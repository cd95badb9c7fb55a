"""Files that are either whole or not there: written beside the goal, synced, then renamed over it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from sparsae.errors import FileAccessError, OutputExistsError


def check_writable(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Find out now whether `path` could be written, before hours of work; nothing is left behind.

    Parameters
    ----------
    path : path-like
        The file that will be written.
    force : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path

    Raises
    ------
    OutputExistsError
        When the file exists and `force` is False.
    FileAccessError
        When the folder does not exist or cannot be written to, or the path is a folder.
    """
    goal = Path(path)
    if goal.is_dir():
        raise FileAccessError(f"{goal} is a folder; give the name of a file in it.")
    if goal.exists() and not force:
        raise OutputExistsError(f"{goal} exists and would be overwritten; use another name, or --force (force=True).")
    try:
        handle, probe = tempfile.mkstemp(dir=goal.parent, prefix=f".{goal.name}.")
    except OSError as error:
        raise FileAccessError(f"Cannot write {goal}: {error.strerror or error} (folder {goal.parent}).") from error
    os.close(handle)
    Path(probe).unlink()
    return goal


def atomic_write(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that a reader, or a crash, sees the old file or the new one and never a part.

    Parameters
    ----------
    path : path-like
        The file to write or replace.
    write : callable
        Is given the open binary file.

    Raises
    ------
    FileAccessError
        When it cannot be written; an existing file is then unchanged.
    """
    goal = Path(path)
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=goal.parent, prefix=f".{goal.name}.", delete=False) as file:
            temporary = Path(file.name)
            write(file)  # type: ignore[arg-type]
            file.flush()
            os.fsync(file.fileno())
        with suppress(OSError):
            temporary.chmod(goal.stat().st_mode & 0o777 if goal.exists() else 0o666 & ~_umask())
        temporary.replace(goal)
        temporary = None
        _sync_folder(goal.parent)
    except OSError as error:
        raise FileAccessError(f"Cannot write {goal}: {error.strerror or error}.") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _umask() -> int:
    """Return the process's file mode mask, from /proc where there is one: reading it elsewhere would change it."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
        return int(next(line for line in lines if line.startswith("Umask:")).split()[1], 8)
    return 0o022


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a crash, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
