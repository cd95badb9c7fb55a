"""Ctrl-C and SIGTERM during a fit.

While iterations run, the first signal sets a flag that is checked between iterations; the second raises
KeyboardInterrupt at once.  Before and after the iterations every signal raises KeyboardInterrupt at once, except in
short critical sections (thread limits are set or restored, workers start or end): there it is raised at their end.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import final

from sparsae.files.deferred_signals import Handler, restore_handlers

_CURRENT: ContextVar[Interrupt | None] = ContextVar("sparsae_interrupt", default=None)
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)
_CRITICAL_PATIENCE = 2  # signals that a critical section lets pass; the next one breaks it off


class SignalReceived(KeyboardInterrupt):
    """A signal that ends the work at hand.

    Attributes
    ----------
    signal : signal.Signals
    """

    def __init__(self, number: signal.Signals) -> None:
        super().__init__(f"{number.name} was received")
        self.signal = number


@final
class Interrupt:
    """Handles the signals that ask a fit to end.

    Attributes
    ----------
    signal : signal.Signals or None
        The first signal that came.
    deferred : bool
        Whether the first signal only sets `signal`; True while iterations run.
    critical : int
        Number of critical sections that have begun.  Add 1 to begin one (an assignment, since Python may run a handler
        where a function begins), and call `leave_critical` at its end.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.deferred = False
        self.critical = 0
        self._waiting: list[signal.Signals] = []

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal.

        Raises
        ------
        SignalReceived
            Unless the signal is deferred.
        """
        received, first = signal.Signals(number), self.signal is None
        if first:
            self.signal = received
        if self.deferred and first:
            return
        if self.critical > 0 and len(self._waiting) < _CRITICAL_PATIENCE:
            self._waiting.append(received)
            return
        raise SignalReceived(received)

    def leave_critical(self) -> None:
        """End a critical section: signals that came within it are handled.

        Raises
        ------
        SignalReceived
            When a signal came within the section.
        """
        self.critical -= 1
        if self.critical == 0 and self._waiting:
            received, self._waiting = self._waiting[0], []
            raise SignalReceived(received)


@contextmanager
def interruptible(*signals: signal.Signals) -> Iterator[Interrupt]:
    """Handle these signals within the block; afterwards the handlers are those from before.

    Inside another such block, that one's handlers stay.
    Signals for which the program has a handler of its own are left to it, and so is everything outside
    the main thread, where Python allows no handlers.

    Parameters
    ----------
    *signals : signal.Signals
        SIGINT in the library; SIGTERM too in the command.

    Yields
    ------
    Interrupt

    Raises
    ------
    SignalReceived
        A KeyboardInterrupt that knows its signal.
    """
    outer = _CURRENT.get()
    if outer is not None:
        yield outer
        return
    interrupt = Interrupt()
    interrupt.critical += 1  # until the block begins, and from its end on, no handler raises
    before: dict[int, Handler] = {}
    token = _CURRENT.set(interrupt)
    try:
        if threading.current_thread() is threading.main_thread():
            for number in signals:
                handler = signal.getsignal(number)
                if handler in _DEFAULTS:
                    before[number] = handler
                    signal.signal(number, interrupt.handle)
        interrupt.leave_critical()
        yield interrupt
    finally:
        interrupt.critical += 1
        raised = restore_handlers(before)
        _CURRENT.reset(token)
        if raised is not None:
            raise raised
