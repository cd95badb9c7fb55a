"""A lock of a whole open file, which ends with the process that has it, however that ends."""

from __future__ import annotations

import errno

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_NO_LOCKS = {errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}  # what file systems without locks answer


def has_locks() -> bool:
    """Whether the system has such locks; a file system may still have none."""
    return fcntl is not None


def try_lock(descriptor: int) -> bool | None:
    """Lock an open file without waiting; False where another process has the lock, None where there are no locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return None
        raise
    return True
