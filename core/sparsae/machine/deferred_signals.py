"""A few statements that Ctrl-C does not cut in two: SIGINT and SIGTERM are delivered when they are done."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any, Self, final

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))


@final
class DeferredSignals:
    """Context manager: signals with a Python handler are noted inside the block and delivered after it.

    For changes of global state that must be whole or not there at all: thread limits, worker threads.
    Python runs its handlers in the main thread, between two instructions; in other threads there is nothing to defer.
    Keep the block short: nobody can interrupt it.
    """

    def __init__(self) -> None:
        self._handlers: dict[int, Callable[[int, FrameType | None], Any]] = {}
        self._noted: list[tuple[int, FrameType | None]] = []

    def _note(self, number: int, frame: FrameType | None) -> None:
        self._noted.append((number, frame))

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                handler = signal.getsignal(number)
                if callable(handler):  # SIG_DFL, SIG_IGN and handlers in C raise nothing in Python
                    self._handlers[number] = handler
                    signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        noted, self._noted = self._noted, []
        for number, frame in noted:
            self._handlers[number](number, frame)
