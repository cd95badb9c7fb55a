"""Row workers on CPUs of their own.

Linux likes to wake a thread on the CPU of the thread that woke it, and puts such pairs asunder only when its load
balancer next looks: after a pause, two row workers were seen to take turns on one CPU for 45 ms while the other idled.
Whoever runs can tell, since two workers of one run were then last seen on the same CPU, and sends the other away:
its affinity is narrowed to the other CPUs, which moves it if it waits to run, and given back at once.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import final

UNSEEN, GONE = -1, -2


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
class Spread:
    """Where the workers of one run were last seen.

    Parameters
    ----------
    threads : list of int
        Native thread identifiers; a worker is named by its place in the list.
    """

    def __init__(self, threads: list[int]) -> None:
        self._threads = threads
        self._seen = [UNSEEN] * len(threads)
        self._awaited = [True] * len(threads)
        self.active = len(threads) > 1 and _CURRENT_CPU is not None

    def look(self, worker: int, *, begun: bool) -> None:
        """Say that `worker`, the caller, goes on; sends those away that wait for its CPU.

        Parameters
        ----------
        worker : int
        begun : bool
            Whether it has done some work in this run, so that the others had time to come.
        """
        if not self.active:
            return
        assert _CURRENT_CPU is not None
        here = self._seen[worker] = _CURRENT_CPU()
        for other, cpu in enumerate(self._seen):
            if other == worker:
                continue
            if cpu == here:
                self._send_away(other, here)
            elif cpu == UNSEEN and begun and self._awaited[other]:
                self._awaited[other] = False
                self._send_away(other, here)

    def leave(self, worker: int) -> None:
        """Say that `worker` has no more to do."""
        self._seen[worker] = GONE

    def _send_away(self, worker: int, cpu: int) -> None:
        """Move a thread that waits for this CPU to another that it may use; one that runs elsewhere stays."""
        thread = self._threads[worker]
        with suppress(OSError):  # the thread may have ended, or affinity may be forbidden
            allowed = os.sched_getaffinity(thread)
            others = allowed - {cpu}
            if others and len(allowed) >= len(self._threads):
                taken = others - set(self._seen)
                try:
                    os.sched_setaffinity(thread, taken or others)
                finally:
                    os.sched_setaffinity(thread, allowed)
