"""Adds the sums of blocks in the order of the blocks, whatever the order in which workers are done with them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import final

from sparsae.plugins.sums import Sums


@final
class OrderedSum:
    """((s0 + s1) + s2) + ...: which sums are added, and in which order, depends on the number of blocks alone.

    With T workers there are T + 1 buffers, or a few more where one is slower than the others (`wait_until_near` says
    how many); `TreeSum` needs one for each level of the tree too.
    The last block's sums are not added: whoever reads all of the total adds them there, at no cost in memory traffic.

    Parameters
    ----------
    make : callable
        Returns sums; called when there is no buffer left.
    clear : callable
        Called with a buffer before a block's sums are added to it.
    """

    def __init__(self, make: Callable[[], Sums], clear: Callable[[Sums], None]) -> None:
        self._make, self._clear = make, clear
        self._free: list[Sums] = []
        self._lock = threading.Condition(threading.Lock())  # notified when sums were added
        self._waiting: dict[int, Sums] = {}
        self._total: list[Sums] = []
        self.restart(0)

    def restart(self, n_blocks: int) -> None:
        """Expect the sums of that many blocks; buffers are used again, whatever the last evaluation left in them."""
        self._free += self.parts()
        self._waiting.clear()
        self._total.clear()
        self._last = n_blocks - 1
        self._next = self._added = 0  # the block whose sums are added next; how many were added
        self._adding = False  # whether a worker adds right now

    def wait_until_near(self, block: int, ahead: int, check: Callable[[], None]) -> None:
        """Wait until the sums of all but `ahead` blocks before this one are added, so that few buffers are needed.

        `check` is called now and then; it may raise, which ends the wait.
        """
        with self._lock:
            while block > self._added + ahead:
                check()
                self._lock.wait(0.05)

    def buffer(self) -> Sums:
        """Return cleared sums, for one block."""
        try:
            sums = self._free.pop()
        except IndexError:
            sums = self._make()
        self._clear(sums)
        return sums

    def only_buffer(self) -> Sums:
        """Return cleared sums for the only block of an evaluation, which are its total."""
        self.restart(1)
        sums = self.buffer()
        self._total.append(sums)
        return sums

    def add(self, block: int, sums: Sums) -> None:
        """Hand in the sums of a block; adds them, and those that waited for them, unless another worker is at it."""
        with self._lock:
            self._waiting[block] = sums
            if self._adding:
                return
            self._adding = True
        while True:
            with self._lock:
                self._added = self._next
                self._lock.notify_all()
                following = self._waiting.get(self._next) if self._next < self._last else None
                if following is None:
                    self._adding = False
                    return
                del self._waiting[self._next]
                self._next += 1
            if self._total:
                total = self._total[0]
                total.head += following.head
                self._free.append(following)
            else:
                self._total.append(following)

    def parts(self) -> list[Sums]:
        """Return the sums of all blocks but the last, and those of the last; or those of the only one."""
        return [*self._total, *self._waiting.values()]
