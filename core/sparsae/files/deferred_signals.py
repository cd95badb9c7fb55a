"""Sections that Ctrl-C does not interrupt: what a signal handler raises is raised at their end.

The functions of `signal` turn numbers and handlers into enumerations, whichever they are given: a section takes 20 us
with them, and 3 with those of `_signal`, which they call.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed knows `signal` alone
import signal
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any, Self, final

_SIGNALS = tuple(int(getattr(signal, name)) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name))
_ATTEMPTS = 10

Handler = Callable[[int, FrameType | None], Any] | int | None


def restore_handlers(handlers: Mapping[int, Handler]) -> BaseException | None:
    """Put signal handlers back, all of them, also where one that is back already raises meanwhile.

    Returns
    -------
    BaseException or None
        What one of them raised, for the caller to raise.
    """
    raised: BaseException | None = None
    remaining = list(handlers.items())
    for _ in range(_ATTEMPTS):
        try:
            while remaining:
                number, handler = remaining[-1]
                _signal.signal(number, int(handler) if isinstance(handler, int) else handler)  # SIG_DFL is a number
                remaining.pop()  # once more where it was interrupted: that changes nothing
            break
        except BaseException as error:  # noqa: BLE001 (returned)
            raised = error
    return raised


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
        self._active = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._active:  # a handler that was set within the block calls this one, the one before it
            self._handlers[number](number, frame)
            return
        try:
            self._handlers[number](number, frame)
        except BaseException as error:  # noqa: BLE001 (raised at the end of the block)
            self.pending = error

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._active = True
            try:
                for number in _SIGNALS:
                    handler = _signal.getsignal(number)
                    if callable(handler):  # SIG_DFL, SIG_IGN and handlers in C raise nothing in Python
                        self._handlers[number] = handler
                        _signal.signal(number, self._handle)
            except BaseException:  # of a handler that was not replaced yet
                self.__exit__()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            # a handler that the block has set stays
            ours = {n: handler for n, handler in self._handlers.items() if _signal.getsignal(n) == self._handle}
            raised = restore_handlers(ours)
        finally:
            self._active = False
        pending, self.pending = raised or self.pending, None
        if pending is not None:
            raise pending
