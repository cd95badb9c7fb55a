"""The writer of whole files."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from sparsae.files.locks import has_locks
from sparsae.files.status import AnyPath, as_access_error, check_stream, inspect_output, is_null_device, stream_number
from sparsae.files.temporary import name_temporary, open_temporary


def atomic_write(path: AnyPath, write: Callable[[BinaryIO], object]) -> None:
    """Write a file so that a reader, or a crash, sees the old file or the new one and never a part.

    Parameters
    ----------
    path : path-like
        The file to write or replace.
    write : callable
        Receives the open binary file.

    Raises
    ------
    FileAccessError
        When it cannot be written; an existing file is then unchanged.
    """
    output = Path(path)
    number = stream_number(output)
    if number is not None:
        check_stream(output, number)
        _write_through(output, lambda: os.dup(number), write)
        return
    target, status = inspect_output(output)
    if is_null_device(status):
        _write_through(output, lambda: os.open(target, os.O_WRONLY), write)
        return
    with as_access_error(output):
        _replace(target, status, write)


def atomic_write_text(path: AnyPath, text: str) -> None:
    """Write text as UTF-8, as `atomic_write` does."""
    atomic_write(path, lambda file: file.write(text.encode("utf-8", errors="surrogateescape")))


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, so that a rename survives a crash; where the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_through(output: Path, descriptor: Callable[[], int], write: Callable[[BinaryIO], object]) -> None:
    """Write to what cannot be replaced: into a temporary file, which may be sought in, then a copy of it."""
    with as_access_error(output), tempfile.TemporaryFile() as file:
        write(file)
        file.seek(0)
        with os.fdopen(descriptor(), "wb") as stream:
            shutil.copyfileobj(file, stream)


def _replace(target: Path, status: os.stat_result | None, write: Callable[[BinaryIO], object]) -> None:
    """Write the new file beside the target and rename it over the target."""
    descriptor, name = open_temporary(target, status)
    file = os.fdopen(descriptor, "w+b")
    try:
        write(file)
        file.flush()
        os.fsync(descriptor)
        if name is None:
            name = name_temporary(descriptor, target)
        if not has_locks():
            file.close()
        _rename(name, target)
        name = None
        sync_folder(target.parent)
    except OSError as error:
        if error.errno is not None:
            raise
        os.write(descriptor, b"\0")  # NumPy reports a short write without its reason: ask the system
        raise
    finally:
        if name is not None:
            name.unlink(missing_ok=True)
        with suppress(OSError):  # what could not be written is not written on closing either
            file.close()


def _rename(name: Path, target: Path) -> None:
    """Rename over the target; a target on which a file is mounted cannot be replaced, and is written to instead."""
    try:
        name.replace(target)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        shutil.copyfile(name, target)
        name.unlink()
