"""Sections that an interrupt does not cut in two, and limits that are released in the middle of a change."""

import _signal
import os
import signal
import threading

import pytest

from sparsae.files.deferred_signals import DeferredSignals
from sparsae.machine import limits


def interrupt():
    """Send ourselves a SIGINT; Python runs its handler at once."""
    os.kill(os.getpid(), signal.SIGINT)


def test_an_interrupt_is_raised_at_the_end_of_the_section():
    """What stands in the section is done; the handler is the one from before."""
    before, done = signal.getsignal(signal.SIGINT), []

    def section():
        with DeferredSignals() as signals:
            interrupt()
            interrupt()
            done.append(type(signals.pending))
        done.append("never")

    with pytest.raises(KeyboardInterrupt):
        section()
    assert done == [KeyboardInterrupt]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_handler_of_the_program_runs_at_once():
    """Only what it raises is deferred: a fit's flag is set in the section."""
    seen = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: seen.append(number))
    try:
        with DeferredSignals() as signals:
            os.kill(os.getpid(), signal.SIGTERM)
            assert seen == [signal.SIGTERM]
            assert signals.pending is None
    finally:
        signal.signal(signal.SIGTERM, before)


def test_sections_nest():
    """What comes in the inner one is raised by the outer one, at its end."""
    done = []

    def sections():
        with DeferredSignals():
            with DeferredSignals():
                interrupt()
            done.append("between")
        done.append("never")

    with pytest.raises(KeyboardInterrupt):
        sections()
    assert done == ["between"]


def test_ignored_signals_and_other_threads_are_let_alone():
    """SIG_IGN stays, and a thread that is not the main one changes no handler."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with DeferredSignals():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            interrupt()
    finally:
        signal.signal(signal.SIGINT, before)
    seen = []

    def other():
        with DeferredSignals():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert seen == [before]


def test_a_handler_that_the_section_sets_stays():
    """It is not replaced by the one from before."""
    before = signal.getsignal(signal.SIGINT)
    try:
        with DeferredSignals():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_limit_that_a_finalizer_releases_in_the_middle_of_a_change_is_released_after_it():
    """The garbage collector may run anywhere, also where limits are changed."""
    registry = limits.LimitRegistry()
    before = [pool["num_threads"] for pool in limits.pools()]
    registry.acquire("dropped", 1)
    with registry._changing():
        registry.release("dropped")
        assert "dropped" in registry._active
    assert registry._active == {}
    assert [pool["num_threads"] for pool in limits.pools()] == before
    registry.release("dropped")  # once more: ignored


def interrupt_after_restoring(monkeypatch, number):
    """Send that signal once, as soon as its own handler is back."""
    set_handler, sent = _signal.signal, []

    def restored_then_interrupted(n, handler):
        before = set_handler(n, handler)
        if n == number and getattr(before, "__self__", None) is not None and not sent:
            sent.append(n)
            os.kill(os.getpid(), n)
        return before

    monkeypatch.setattr(_signal, "signal", restored_then_interrupted)
    return sent


def raise_interrupt(number, frame):
    """A handler of a program that ends what is going on."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_while_handlers_are_restored_leaves_none_behind(monkeypatch, number):
    """The second handler is restored too when the first raises at once; else its signal would never arrive again."""
    handlers = {n: signal.signal(n, raise_interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        with monkeypatch.context() as patch:
            sent, section = interrupt_after_restoring(patch, number), DeferredSignals()
            section.__enter__()
            with pytest.raises(KeyboardInterrupt):
                section.__exit__()
        assert sent == [number]
        assert [signal.getsignal(n) for n in handlers] == [raise_interrupt] * 2
    finally:
        for n, handler in handlers.items():
            signal.signal(n, handler)


def test_an_interrupt_while_handlers_are_replaced_leaves_none_behind(monkeypatch):
    """SIGTERM comes when SIGINT is deferred already and SIGTERM is not: nothing was entered, nothing stays."""
    handlers = {n: signal.signal(n, raise_interrupt) for n in (signal.SIGINT, signal.SIGTERM)}
    set_handler = _signal.signal

    def interrupted_then_replaced(n, handler):
        if n == signal.SIGTERM:
            os.kill(os.getpid(), n)
        return set_handler(n, handler)

    try:
        with monkeypatch.context() as patch:
            patch.setattr(_signal, "signal", interrupted_then_replaced)
            with pytest.raises(KeyboardInterrupt):
                DeferredSignals().__enter__()
        assert [signal.getsignal(n) for n in handlers] == [raise_interrupt] * 2
    finally:
        for n, handler in handlers.items():
            signal.signal(n, handler)


def test_a_handler_that_the_section_has_set_may_call_the_one_before_it():
    """That one passes signals on, and after the section also what its handler raises."""
    before = signal.signal(signal.SIGTERM, raise_interrupt)
    try:
        with DeferredSignals():
            ours = signal.getsignal(signal.SIGTERM)
            signal.signal(signal.SIGTERM, lambda number, frame: ours(number, frame))
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
