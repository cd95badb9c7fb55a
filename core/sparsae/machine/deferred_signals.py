"""Sections that Ctrl-C does not interrupt: what a signal handler raises is raised at their end."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self, final

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))


@final
class DeferredSignals:
    """Context manager: handlers of signals run at once, and what they raise is raised at the end of the block.

    For changes of global state that must be whole or not there at all: thread limits, worker threads.
    Python runs its handlers in the main thread, between two instructions; in other threads there is nothing to defer.
    Keep the block short, or check `pending`: nothing can interrupt it.

    Attributes
    ----------
    pending : BaseException or None
        What will be raised: the last exception of a handler, usually a KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self.pending: BaseException | None = None

    def _handle(self, number: int, frame: FrameType | None) -> None:
        try:
            self._handlers[number](number, frame)
        except BaseException as error:  # noqa: BLE001 (raised at the end of the block)
            self.pending = error

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):  # SIG_DFL, SIG_IGN and handlers in C raise nothing in Python
                    self._handlers[number] = handler
                    signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            if signal.getsignal(number) == self._handle:  # else the block has set one that is to stay
                signal.signal(number, handler)
        pending, self.pending = self.pending, None
        if pending is not None:
            raise pending
