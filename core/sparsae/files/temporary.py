"""Temporary files beside a target: unnamed where the system can, else named, locked, and removed once abandoned."""

from __future__ import annotations

import io
import os
import secrets
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import final

from sparsae.files.deferred_signals import DeferredSignals
from sparsae.files.locks import has_locks, try_lock
from sparsae.files.opening import open_unbuffered

PART = ".part"
_OWN_FILES = Path("/proc/self/fd")  # through which an unnamed file gets its name


@final
@dataclass
class TemporaryFile:
    """A new file beside a target: locked, with the mode and owner of the target.

    Attributes
    ----------
    file : io.BufferedRandom
    name : Path or None
        Its name; None while it has none, and once it has that of the target.
    """

    file: io.BufferedRandom
    name: Path | None

    def give_name(self, target: Path) -> Path:
        """Return its name beside the target; an unnamed file receives one."""
        if self.name is None:
            descriptor, name = self.file.fileno(), _temporary_name(target)
            # An absolute path does not use the folder descriptor; given one, Python calls linkat: it follows this link.
            with DeferredSignals():
                os.link(_OWN_FILES / str(descriptor), name, src_dir_fd=descriptor, follow_symlinks=True)
                self.name = name
        return self.name


@contextmanager
def temporary_beside(target: Path, status: os.stat_result | None) -> Iterator[TemporaryFile]:
    """Hold a new file in the target's folder, unnamed where possible; if it is not the target then, it is removed."""
    _remove_abandoned(target)
    temporary = None
    try:
        with DeferredSignals():
            temporary = _open_unnamed(target.parent) or _open_named(target)
        if status is not None:
            _keep_mode_and_owner(temporary.file.fileno(), status)
        yield temporary
    finally:
        if temporary is not None:
            if temporary.name is not None:
                temporary.name.unlink(missing_ok=True)
            with suppress(OSError):  # what could not be written is not written on closing either
                temporary.file.close()


def _open_unnamed(folder: Path) -> TemporaryFile | None:
    """Open a new locked file without a name; None where the system or the file system has none."""
    if not hasattr(os, "O_TMPFILE") or not _OWN_FILES.is_dir():
        return None
    try:
        file = open_unbuffered(folder, "r+", os.O_TMPFILE | os.O_RDWR)
    except OSError:
        return None
    _lock(file.fileno())
    return TemporaryFile(io.BufferedRandom(file), None)


def _open_named(target: Path) -> TemporaryFile:
    """Open a new locked file beside the target, under a name of its own."""
    while True:
        name = _temporary_name(target)
        file = open_unbuffered(name, "r+", os.O_CREAT | os.O_EXCL | os.O_RDWR)
        if _lock(file.fileno()) and os.fstat(file.fileno()).st_nlink:
            return TemporaryFile(io.BufferedRandom(file), name)
        file.close()  # another process took it for abandoned, between opening and locking


def _keep_mode_and_owner(descriptor: int, status: os.stat_result) -> None:
    """Give the new file the mode and owner of the old one."""
    if not hasattr(os, "fchown"):
        return
    new = os.fstat(descriptor)
    if (new.st_uid, new.st_gid) != (status.st_uid, status.st_gid):
        try:
            os.fchown(descriptor, status.st_uid, status.st_gid)
        except OSError as error:
            raise PermissionError(
                error.errno, "it belongs to another user or group, which a new file would not; use another name"
            ) from error
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))


def _prefix(target: Path) -> str:
    """Return how names of temporary files of a target begin; short, whatever the length of the target's own name."""
    return f".{target.name[:24]}.{zlib.crc32(os.fsencode(target.name)):08x}."


def _temporary_name(target: Path) -> Path:
    return target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}{PART}")


def _lock(descriptor: int) -> bool:
    """Lock a file as being written, where there are locks; False where another process has it."""
    with suppress(OSError):
        return try_lock(descriptor) is not False
    return True


def _remove_abandoned(target: Path) -> None:
    """Remove what processes that died while they wrote this target have left: their locks are gone."""
    if not has_locks():  # Windows, where an abandoned file is not recognised and stays
        return
    prefix = _prefix(target)
    with suppress(OSError), os.scandir(target.parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(PART):
                _remove_unlocked(entry.path)


def _remove_unlocked(name: str) -> None:
    """Remove a file unless a process has it locked."""
    with suppress(OSError), open_unbuffered(name, "r+", os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK) as file:
        if try_lock(file.fileno()):
            os.unlink(name)  # noqa: PTH108 (a str from scandir)
