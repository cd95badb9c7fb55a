"""Row workers on CPUs of their own.

Linux likes to wake a thread on the CPU of the thread that woke it, and puts such pairs asunder only when its load
balancer next looks: after a pause, two row workers were seen to take turns on one CPU for 45 ms while the other idled.
(A virtual CPU that halts looks taken to its guest, so that waking up there is avoided.)
Whoever runs can tell, since the other then does not go on, and sends it away:
its affinity is narrowed to the other CPUs, which moves it if it waits to run, and given back at once.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import final

UNSEEN, GONE = -1, -2
PATIENCE = 2  # how often a worker goes on before it moves another that does not


def _find_current_cpu() -> Callable[[], int] | None:
    """The system's way to ask which CPU this thread is on; None where that, or affinity, is unknown."""
    if not sys.platform.startswith("linux") or not hasattr(os, "sched_setaffinity"):
        return None
    try:
        ask = ctypes.PyDLL(None).sched_getcpu  # keeps the GIL: the answer takes less time than handing it over
        return ask if ask() >= 0 else None
    except (OSError, AttributeError):
        return None


_CURRENT_CPU = _find_current_cpu()


@final
class CpuBalancer:
    """What the workers of one run know of each other.

    Parameters
    ----------
    threads : list of int
        Native thread identifiers; a worker is named by its place in the list.
    """

    def __init__(self, threads: list[int]) -> None:
        n = len(threads)
        self._threads = threads
        self._cpu = [UNSEEN] * n  # where each was last
        self._done = [0] * n  # how often each went on
        self._known = [[0] * n for _ in threads]  # what each last knew of the others' `_done`
        self._waited = [[0] * n for _ in threads]  # how often each went on since another did
        self._moving = threading.Lock()
        self.active = n > 1 and _CURRENT_CPU is not None

    def look(self, worker: int) -> None:
        """Say that `worker`, the caller, goes on; sends those away that seem to wait for its CPU.

        They do when they were last seen here, or did not go on while the caller did twice: a thread that was woken may
        wait on another CPU than where it was.  For one that runs elsewhere it costs microseconds and changes nothing.
        """
        if not self.active:
            return
        assert _CURRENT_CPU is not None
        here = self._cpu[worker] = _CURRENT_CPU()
        self._done[worker] += 1
        known, waited = self._known[worker], self._waited[worker]
        for other, cpu in enumerate(self._cpu):
            if other == worker or cpu == GONE:
                continue
            done = self._done[other]
            waited[other] = waited[other] + 1 if known[other] == done else 0
            known[other] = done
            if cpu == here or waited[other] == PATIENCE:
                waited[other] = 0
                self._send_away(other, here)

    def leave(self, worker: int) -> None:
        """Say that `worker` has no more to do."""
        self._cpu[worker] = GONE

    def _send_away(self, worker: int, cpu: int) -> None:
        """Move a thread that waits for this CPU to another that it may use; one that runs elsewhere stays."""
        if not self._moving.acquire(blocking=False):
            return  # somebody is at it; two at once could take a narrowed affinity for the thread's own
        thread = self._threads[worker]
        try:
            with suppress(OSError):  # the thread may have ended, or affinity may be forbidden
                allowed = os.sched_getaffinity(thread)
                others = allowed - {cpu}
                if len(allowed) < len(self._threads):
                    self.active = False  # they have to share
                elif others:
                    free = others - set(self._cpu)
                    try:
                        os.sched_setaffinity(thread, free or others)
                    finally:
                        os.sched_setaffinity(thread, allowed)
        finally:
            self._moving.release()
