"""Temporary files beside a target: unnamed where the system can, else named, locked, and removed once abandoned."""

from __future__ import annotations

import os
import secrets
import stat
import zlib
from contextlib import suppress
from pathlib import Path

from sparsae.files.locks import has_locks, try_lock

PART = ".part"
_OWN_FILES = Path("/proc/self/fd")  # through which an unnamed file gets its name


def open_temporary(target: Path, status: os.stat_result | None) -> tuple[int, Path | None]:
    """Open a locked file in the target's folder, unnamed where possible, with the mode and owner of the target."""
    _remove_abandoned(target)
    name: Path | None = None
    descriptor = _open_unnamed(target.parent)
    if descriptor is None:
        descriptor, name = _open_named(target)
    try:
        if status is not None:
            _keep_mode_and_owner(descriptor, status)
    except BaseException:
        os.close(descriptor)
        if name is not None:
            name.unlink(missing_ok=True)
        raise
    return descriptor, name


def name_temporary(descriptor: int, target: Path) -> Path:
    """Give the unnamed file a name beside the target."""
    name = _temporary_name(target)
    # An absolute path does not use the folder descriptor, but given one, Python calls linkat: it follows this link.
    os.link(_OWN_FILES / str(descriptor), name, src_dir_fd=descriptor, follow_symlinks=True)
    return name


def _open_unnamed(folder: Path) -> int | None:
    """Open a new locked file without a name; None where the system or the file system has none."""
    if not hasattr(os, "O_TMPFILE") or not _OWN_FILES.is_dir():
        return None
    try:
        descriptor = os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o666)
    except OSError:
        return None
    _lock(descriptor)
    return descriptor


def _open_named(target: Path) -> tuple[int, Path]:
    """Open a new locked file beside the target, under a name of its own."""
    while True:
        name = _temporary_name(target)
        descriptor = os.open(name, os.O_CREAT | os.O_EXCL | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o666)
        if _lock(descriptor) and os.fstat(descriptor).st_nlink:
            return descriptor, name
        os.close(descriptor)  # another process took it for abandoned, between opening and locking


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
    with suppress(OSError):
        descriptor = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            if try_lock(descriptor):
                os.unlink(name)  # noqa: PTH108 (a str from scandir)
        finally:
            os.close(descriptor)
