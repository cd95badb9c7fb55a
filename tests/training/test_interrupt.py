"""Signals during a fit: deferred while iterations run, raised at once otherwise, and nothing is left changed."""

from __future__ import annotations

import _signal
import json
import os
import signal
import subprocess
import sys
import threading
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae.training import checkpoint_lock
from sparsae.training.interrupt import Interrupt, SignalReceived, interruptible

pytestmark = pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
X = np.random.default_rng(0).uniform(0.1, 0.9, (40, 6))


def interrupt_now() -> None:
    """Send SIGINT to this process; Python handles it before this returns."""
    os.kill(os.getpid(), signal.SIGINT)


def test_a_signal_at_any_moment_leaves_nothing_changed() -> None:
    """150 fits with one SIGINT each: a result or KeyboardInterrupt, and handlers, BLAS limits and threads as before."""
    words = [sys.executable, "-m", "tests.support.interrupted_fits", "150", "0"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=True)
    seen = json.loads(done.stdout)
    assert not [outcome for outcome in seen if outcome.startswith("LEAK")]
    assert sum(seen.values()) == 150
    assert not done.stderr


def test_before_the_iterations_a_signal_is_raised_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the objective is prepared, the first Ctrl-C is a KeyboardInterrupt: there is no model to keep yet."""
    made = sparsae.Objective

    def slow(*arguments: Any, **options: Any) -> Any:
        interrupt_now()
        return made(*arguments, **options)

    monkeypatch.setattr("sparsae.training.run.Objective", slow)
    with pytest.raises(KeyboardInterrupt):
        sparsae.train(X, 3, max_iter=2)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_while_limits_are_set_waits_for_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The objective is entered whole and left whole; then KeyboardInterrupt comes."""
    calls: list[str] = []
    enter, leave = sparsae.Objective.__enter__, sparsae.Objective.__exit__

    def entered(self: Any) -> Any:
        interrupt_now()
        value = enter(self)
        calls.append("entered")
        return value

    def left(self: Any, *error: Any) -> None:
        leave(self, *error)
        calls.append("left")

    monkeypatch.setattr(sparsae.Objective, "__enter__", entered)
    monkeypatch.setattr(sparsae.Objective, "__exit__", left)
    with pytest.raises(KeyboardInterrupt):
        sparsae.train(X, 3, max_iter=2)
    assert calls == ["entered", "left"]


@pytest.mark.filterwarnings("ignore::sparsae.errors.CheckpointWarning")
@pytest.mark.parametrize("moment", ["_open", "_release"])
def test_a_signal_while_a_checkpoint_is_locked_leaves_no_file_open(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, moment: str
) -> None:
    """It waits until the lock is taken, or released; else its open file would be lost, and the lock with it."""
    opened: list[FileIO] = []
    at_work, open_lock = getattr(checkpoint_lock, moment), checkpoint_lock._open

    def interrupted(*arguments: Any) -> Any:
        if moment == "_release":
            interrupt_now()
        value = at_work(*arguments)
        if moment == "_open":
            opened.append(value[0])
            interrupt_now()
        return value

    def noted(*arguments: Any) -> Any:
        opened.append(open_lock(*arguments)[0])
        return opened[-1], True

    if moment == "_release":
        monkeypatch.setattr(checkpoint_lock, "_open", noted)
    monkeypatch.setattr(checkpoint_lock, moment, interrupted)
    with pytest.raises(KeyboardInterrupt):
        sparsae.train(X, 3, max_iter=2, checkpoint=tmp_path / "run")
    monkeypatch.undo()
    assert opened
    assert opened[0].closed
    assert sparsae.train(X, 3, max_iter=2, checkpoint=tmp_path / "run", resume=True).n_iter == 2


def test_after_the_iterations_the_result_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first Ctrl-C while the figures of merit are computed changes nothing: the result is nearly there."""
    from sparsae.training import fit

    describe = fit.describe_end

    def interrupted(*arguments: Any) -> Any:
        interrupt_now()
        return describe(*arguments)

    monkeypatch.setattr(fit, "describe_end", interrupted)
    assert sparsae.train(X, 3, max_iter=2).n_iter == 2


def test_a_critical_section_ends_after_the_third_signal() -> None:
    """Whatever hangs in it can be broken off."""
    interrupt = Interrupt()
    interrupt.critical += 1
    for _ in range(2):
        interrupt.handle(signal.SIGINT, None)
    with pytest.raises(SignalReceived):
        interrupt.handle(signal.SIGINT, None)


def test_the_exception_knows_its_signal() -> None:
    """SIGTERM outside of iterations: a KeyboardInterrupt that a command can turn into exit code 143."""
    with pytest.raises(KeyboardInterrupt, match="SIGTERM") as caught, interruptible(signal.SIGTERM):
        os.kill(os.getpid(), signal.SIGTERM)
    assert isinstance(caught.value, SignalReceived)
    assert caught.value.signal is signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_while_handlers_are_restored_leaves_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """SIGINT comes as soon as Python's own handler is back: SIGTERM's is restored too, and the next fit has its own."""
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    set_handler, sent = _signal.signal, []

    def restored_then_interrupted(number: int, handler: Any) -> Any:
        before = set_handler(number, handler)
        if handler is signal.default_int_handler and not sent:
            sent.append(number)
            interrupt_now()
        return before

    with monkeypatch.context() as patch:
        patch.setattr(_signal, "signal", restored_then_interrupted)
        section = interruptible(signal.SIGTERM, signal.SIGINT)
        first = section.__enter__()
        with pytest.raises(KeyboardInterrupt):
            section.__exit__(None, None, None)
    assert sent == [signal.SIGINT]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    with interruptible(signal.SIGINT) as second:
        assert second is not first


def test_in_other_threads_a_fit_needs_no_signals() -> None:
    """Python allows handlers in the main thread only."""
    results: list[sparsae.TrainResult] = []
    thread = threading.Thread(target=lambda: results.append(sparsae.train(X, 3, max_iter=2)))
    thread.start()
    thread.join()
    assert results[0].n_iter == 2
