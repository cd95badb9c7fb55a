"""A lock on a checkpoint: one fit at a time writes to it.

The lock is a file beside the checkpoint that names its owner.  Where the system has ``flock``, the lock ends with the
process, however that ends, and what is left of the file is used again.  Elsewhere (Windows, some network file systems)
the file itself is the lock: it is removed where its owner is known to be gone, and otherwise by the user.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import FileIO
from pathlib import Path
from typing import Any, NoReturn

from sparsae._text import printable
from sparsae.errors import CheckpointError, FileAccessError
from sparsae.files.locks import has_locks, try_lock
from sparsae.files.opening import open_unbuffered
from sparsae.training.schema import Count, Schema, check_schema

SUFFIX = ".lock"
_OWNER: Schema = {"process": Count(1, (1 << 31) - 1), "host": str, "since": str}


@contextmanager
def lock_checkpoint(path: Path) -> Iterator[None]:
    """Hold the lock of a checkpoint within the block.

    Raises
    ------
    CheckpointError
        When another fit holds it; names its process.
    FileAccessError
        When the lock file cannot be made.
    """
    lock = path.with_name(path.name + SUFFIX)
    try:
        file = _acquire(path, lock)
    except OSError as error:
        if isinstance(error, FileAccessError):
            raise
        raise FileAccessError(f"No lock file can be made beside {path}: {error.strerror or error}.") from error
    try:
        yield
    finally:
        _release(lock, file)


def _acquire(path: Path, lock: Path) -> FileIO:
    """Return the lock file, held and with this process written into it."""
    while True:
        file, created = _open(lock)
        try:
            held = try_lock(file.fileno())
            if held is None and not created:
                _remove_or_refuse(path, lock)
            elif held is False:
                _refuse(path, lock)
            elif _is_same_file(file, lock):  # else its owner removed it between our open and our lock
                file.truncate(0)
                file.write(_owner())
                return file
        except BaseException:
            file.close()
            raise
        file.close()


def _open(lock: Path) -> tuple[FileIO, bool]:
    """Open the lock file, made where there is none; also whether it was made."""
    flags = os.O_RDWR | getattr(os, "O_NOFOLLOW", 0)
    while True:
        with suppress(FileExistsError):
            return open_unbuffered(lock, "r+", flags | os.O_CREAT | os.O_EXCL), True
        with suppress(FileNotFoundError):
            return open_unbuffered(lock, "r+", flags), False


def _is_same_file(file: FileIO, lock: Path) -> bool:
    """Whether the open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), lock.stat())
    except FileNotFoundError:
        return False


def _remove_or_refuse(path: Path, lock: Path) -> None:
    """Where the existence of the file is the lock: remove it if its owner is gone."""
    if not _owner_is_gone(lock):
        _refuse(path, lock, advice=f" If that process has ended, remove {lock}.")
    lock.unlink(missing_ok=True)


def _owner_is_gone(lock: Path) -> bool:
    """Whether the process that made the file is known to have ended."""
    owner = _read_owner(lock)
    if os.name == "nt":  # a file that its owner has open cannot be removed there
        with suppress(OSError):
            lock.unlink()
            return True
        return False
    if owner.get("host") != socket.gethostname():
        return False
    try:
        os.kill(owner["process"], 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def _refuse(path: Path, lock: Path, advice: str = "") -> NoReturn:
    """Raise the error that names the owner."""
    owner = _read_owner(lock)
    who = "another process"
    if owner:
        same = owner["process"] == os.getpid() and owner["host"] == socket.gethostname()
        who = f"{'this process' if same else 'process'} {owner['process']} on {printable(owner['host'])}"
        who += f", which started at {printable(owner['since'])}"
    raise CheckpointError(
        f"The checkpoint {path} is in use by {who}. Wait for its end, or name another checkpoint.{advice}"
    )


def _owner() -> bytes:
    """Return who holds the lock, as a line of JSON."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return json.dumps({"process": os.getpid(), "host": socket.gethostname(), "since": since}).encode() + b"\n"


def _read_owner(lock: Path) -> dict[str, Any]:
    """Return who holds the lock; empty where the file does not say."""
    try:
        owner: dict[str, Any] = json.loads(lock.read_bytes()[:1000])
        check_schema(owner, _OWNER)
    except (OSError, ValueError, RecursionError):
        return {}
    return owner


def _release(lock: Path, file: FileIO) -> None:
    """Remove the file while the lock is held, then release the lock."""
    if has_locks():
        with suppress(OSError):
            lock.unlink(missing_ok=True)
    with suppress(OSError):
        file.close()
    if not has_locks():
        with suppress(OSError):
            lock.unlink(missing_ok=True)
