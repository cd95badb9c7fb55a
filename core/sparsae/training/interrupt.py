"""Ctrl-C as a wish: the iteration at hand is finished, the model so far is kept, and a second Ctrl-C means at once.

An exception out of nowhere could fall into the middle of anything; a wish is looked at where the state is whole.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, final

_CURRENT: ContextVar[Interrupt | None] = ContextVar("sparsae_interrupt", default=None)
_DEFAULTS = (signal.SIG_DFL, signal.default_int_handler)


@final
class Interrupt:
    """Whether, and by which signal, the fit was asked to end.

    Attributes
    ----------
    signal : signal.Signals or None
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Take note of the first signal; the second one interrupts at once."""
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


@contextmanager
def interruptible(*signals: signal.Signals) -> Iterator[Interrupt]:
    """Within the block, take note of these signals; outside, things are as they were.

    Inside another such block, that one goes on and nothing is changed.
    Signals for which the program has a handler of its own are left to it, and so is everything outside
    the main thread, where Python allows no handlers.

    Parameters
    ----------
    *signals : signal.Signals
        SIGINT in the library; SIGTERM too in the command.

    Yields
    ------
    Interrupt
    """
    outer = _CURRENT.get()
    if outer is not None:
        yield outer
        return
    interrupt = Interrupt()
    before: dict[signal.Signals, Callable[[int, FrameType | None], Any] | int | None] = {}
    token = _CURRENT.set(interrupt)
    try:
        if threading.current_thread() is threading.main_thread():
            for number in signals:
                if signal.getsignal(number) in _DEFAULTS:
                    before[number] = signal.signal(number, interrupt.handle)
        yield interrupt
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _CURRENT.reset(token)
