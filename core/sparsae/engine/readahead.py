"""A thread that asks the system for the part of a file that is needed next."""

from __future__ import annotations

import os
import threading
import weakref
from collections import deque
from queue import SimpleQueue
from typing import final

from sparsae.engine.memmap import reads_from_disk

WINDOW_BYTES = 1 << 24  # the readahead thread asks the system for this much at a time
RECENT = 32  # windows that are not requested again: several workers read at several places


@final
class Readahead:
    """A daemon thread that tells the system which part of a file is needed next, so that reads find it in memory.

    Asking may wait for the disk's queue, which is why the readers do not ask themselves.  The thread starts with the
    first request.  A window is requested when a reader enters the one before it, unless nothing was read from the disk
    since the last request: asking for what is in memory already takes 0.3 ms.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._requests: SimpleQueue[tuple[int, int] | None] = SimpleQueue()
        self._recent: deque[int] = deque(maxlen=RECENT)
        self._seen: tuple[int, int] | None = None
        self._pid = 0
        self._end = weakref.finalize(self, SimpleQueue.put, self._requests, None)
        self._supported = hasattr(os, "posix_fadvise")

    def ask(self, start: int, stop: int) -> None:
        """Request the window after the bytes from `start` to `stop`, once for each window entered."""
        window = stop // WINDOW_BYTES
        if not self._supported or window in self._recent:
            return
        self._recent.append(window)
        if (seen := reads_from_disk()) == self._seen:
            return
        self._seen = seen
        if self._pid != os.getpid():  # at first, and in the child after a fork
            self._pid = os.getpid()
            self._requests = SimpleQueue()
            self._end.detach()
            self._end = weakref.finalize(self, SimpleQueue.put, self._requests, None)
            threading.Thread(
                target=_advise, args=(self._fd, self._requests), name="sparsae-readahead", daemon=True
            ).start()
        self._requests.put(((window + 1) * WINDOW_BYTES, WINDOW_BYTES))


def _advise(fd: int, requests: SimpleQueue[tuple[int, int] | None]) -> None:
    """Pass requests on to the system until None comes."""
    while (request := requests.get()) is not None:
        try:
            os.posix_fadvise(fd, *request, os.POSIX_FADV_WILLNEED)
        except OSError:  # closed meanwhile, or a file system that takes no advice
            return
