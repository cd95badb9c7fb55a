"""Keeps row workers on CPUs of their own.

Linux often wakes a thread on the CPU of the thread that woke it, and separates the two only when its load balancer
next runs: after a pause, two row workers shared one CPU for 45 ms while the other was idle.
(A virtual CPU that halts looks busy to its guest, so that the scheduler avoids it.)
A worker that runs can tell, since the other makes no progress then.  It narrows the affinity of the other thread to
the other CPUs, which moves a thread that waits to run, and restores it at once.
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
PATIENCE = 2  # segments that a worker starts before it moves another that started none meanwhile


def _find_current_cpu() -> Callable[[], int] | None:
    """Return the system's function for the CPU of this thread; None where there is none, or no affinity."""
    if not sys.platform.startswith("linux") or not hasattr(os, "sched_setaffinity"):
        return None
    try:
        current_cpu = ctypes.PyDLL(None).sched_getcpu  # keeps the GIL: the call takes less time than releasing it
        return current_cpu if current_cpu() >= 0 else None
    except (OSError, AttributeError):
        return None


_CURRENT_CPU = _find_current_cpu()


@final
class CpuBalancer:
    """Where the workers of one run are and how far they have come.

    Parameters
    ----------
    threads : list of int
        Native thread identifiers; a worker is named by its place in the list.
    """

    def __init__(self, threads: list[int]) -> None:
        n = len(threads)
        self._threads = threads
        self._cpu = [UNSEEN] * n  # CPU of each when it last called `update`
        self._done = [0] * n  # calls of `update` of each
        self._known = [[0] * n for _ in threads]  # the others' `_done` at the last call of each
        self._waited = [[0] * n for _ in threads]  # calls of each since another one's last call
        self._moving = threading.Lock()
        self.active = n > 1 and _CURRENT_CPU is not None

    def wake(self, wake_others: Callable[[], object]) -> None:
        """Call what wakes the other workers, from the first one, so that none of them is woken on its CPU.

        Where a block takes a millisecond, as in mini-batches, a worker that is woken there comes too late.
        """
        if not self.active:
            wake_others()
            return
        assert _CURRENT_CPU is not None
        here, narrowed = _CURRENT_CPU(), []
        try:
            for thread in self._threads[1:]:
                with suppress(OSError):
                    allowed = os.sched_getaffinity(thread)
                    if len(allowed) >= len(self._threads) and here in allowed:
                        narrowed.append((thread, allowed))
                        os.sched_setaffinity(thread, allowed - {here})
            wake_others()
        finally:
            for thread, allowed in narrowed:
                with suppress(OSError):
                    os.sched_setaffinity(thread, allowed)

    def update(self, worker: int) -> None:
        """Record that `worker`, the caller, starts a segment; moves the workers that seem to wait for its CPU.

        They do when they were last on this CPU, or started no segment while the caller started two: a thread that was
        woken may wait on another CPU than where it was.  For one that runs elsewhere it costs microseconds and
        changes nothing.
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
                self._move_away(other, here)

    def finish(self, worker: int) -> None:
        """Record that `worker` has no more to do."""
        self._cpu[worker] = GONE

    def _move_away(self, worker: int, cpu: int) -> None:
        """Move a thread that waits for this CPU to another one that it may use; one that runs elsewhere stays."""
        if not self._moving.acquire(blocking=False):
            return  # another worker moves one: a second could take the narrowed affinity for the thread's own
        thread = self._threads[worker]
        try:
            with suppress(OSError):  # the thread may have ended, or affinity may be forbidden
                allowed = os.sched_getaffinity(thread)
                others = allowed - {cpu}
                if len(allowed) < len(self._threads):
                    self.active = False  # they have to share
                else:  # at least two, so that there are others
                    free = others - set(self._cpu)
                    try:
                        os.sched_setaffinity(thread, free or others)
                    finally:
                        os.sched_setaffinity(thread, allowed)
        finally:
            self._moving.release()
