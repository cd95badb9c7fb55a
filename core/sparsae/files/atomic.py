"""The writer of whole files."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from io import BufferedWriter, FileIO
from pathlib import Path
from typing import BinaryIO

from sparsae.files.deferred_signals import DeferredSignals
from sparsae.files.locks import has_locks
from sparsae.files.opening import duplicate, open_unbuffered, temporary_file
from sparsae.files.status import AnyPath, as_access_error, check_stream, inspect_output, is_null_device, stream_number
from sparsae.files.temporary import temporary_beside


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
        _write_through(output, lambda: duplicate(number, "w"), write)
        return
    target, status = inspect_output(output)
    if is_null_device(status):
        _write_through(output, lambda: open_unbuffered(target, "w", os.O_WRONLY), write)
        return
    with as_access_error(output):
        _replace(target, status, write)


def atomic_write_text(path: AnyPath, text: str) -> None:
    """Write text as UTF-8, as `atomic_write` does."""
    atomic_write(path, lambda file: file.write(text.encode("utf-8", errors="surrogateescape")))


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk, so that a rename survives a crash; where the system can."""
    with suppress(OSError), DeferredSignals():
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _write_through(output: Path, open_it: Callable[[], FileIO], write: Callable[[BinaryIO], object]) -> None:
    """Write to what cannot be replaced: into a temporary file, which may be sought in, then a copy of it."""
    with as_access_error(output), temporary_file() as file:
        write(file)
        file.seek(0)
        with BufferedWriter(open_it()) as stream:
            shutil.copyfileobj(file, stream)


def _replace(target: Path, status: os.stat_result | None, write: Callable[[BinaryIO], object]) -> None:
    """Write the new file beside the target and rename it over the target."""
    with temporary_beside(target, status) as temporary:
        try:
            write(temporary.file)
            temporary.file.flush()
            os.fsync(temporary.file.fileno())
        except OSError as error:
            if error.errno is not None:
                raise
            os.write(temporary.file.fileno(), b"\0")  # NumPy reports a short write without its reason: ask the system
            raise
        name = temporary.give_name(target)
        if not has_locks():
            temporary.file.close()
        _rename(name, target)
        temporary.name = None
        sync_folder(target.parent)


def _rename(name: Path, target: Path) -> None:
    """Rename over the target; a target on which a file is mounted cannot be replaced, and is written to instead."""
    try:
        name.replace(target)
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
        shutil.copyfile(name, target)
        name.unlink()
