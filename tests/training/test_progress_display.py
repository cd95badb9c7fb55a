"""`train(progress=True)`: a live line in a terminal, a bar in a notebook, lines elsewhere; nothing is left behind."""

from __future__ import annotations

import io
import sys
import threading
from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae.training import progress_display
from sparsae.training.observers import Progress

pytestmark = pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
X = np.random.default_rng(0).random((60, 5))


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def stderr(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Replace standard error by a file, or by a terminal."""

    def replace(stream: io.StringIO) -> io.StringIO:
        monkeypatch.setattr(sys, "stderr", stream)
        monkeypatch.setenv("TERM", "xterm")
        monkeypatch.delenv("NO_COLOR", raising=False)
        return stream

    return replace


def test_a_terminal_gets_one_line_that_is_redrawn(stderr: Any) -> None:
    """The last drawing stays, with the last iteration; standard streams and threads are those from before."""
    terminal, out = stderr(Terminal()), sys.stdout
    before = set(threading.enumerate())
    result = sparsae.train(X, 3, max_iter=12, progress=True)
    drawn = terminal.getvalue()
    assert "\x1b[" in drawn
    last = drawn.rpartition("iteration ")[2]
    assert last.startswith("12/12") or "12/12" in last
    assert f"cost {result.cost:.6g}" in last
    assert "it/s" in last
    assert (sys.stderr, sys.stdout) == (terminal, out)
    assert set(threading.enumerate()) <= before


def test_a_file_gets_lines_without_control_characters(stderr: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first iteration, then one each ten seconds."""
    file = stderr(io.StringIO())
    sparsae.train(X, 3, max_iter=12, progress=True)
    (line,) = file.getvalue().splitlines()
    assert line.startswith("iteration 0/12  cost ")
    assert "\x1b" not in line
    monkeypatch.setattr(progress_display, "EVERY_SECONDS", 0.0)
    sparsae.train(X, 3, max_iter=12, progress=True)
    assert len(file.getvalue().splitlines()) == 14


def test_nothing_is_shown_by_default(stderr: Any) -> None:
    """Nor with verbose=0 of the estimator, which shows it with verbose=1."""
    terminal = stderr(Terminal())
    sparsae.train(X, 3, max_iter=2)
    sparsae.SparseAutoencoder(3, max_iter=2).fit(X)
    assert terminal.getvalue() == ""
    sparsae.SparseAutoencoder(3, max_iter=2, verbose=1).fit(X)
    assert "2/2" in terminal.getvalue()


def test_after_an_error_the_display_is_ended(stderr: Any) -> None:
    """Whatever ends the fit; an observer that stops it does too."""
    terminal = stderr(Terminal())
    before = set(threading.enumerate())

    class Broken(sparsae.SimpleKernel):
        calls = 0

        def backprop(self, a1: Any, a2: Any, a3: Any, W2: Any, sparsity: Any, target: Any) -> Any:
            Broken.calls += 1
            if Broken.calls > 8:
                raise ZeroDivisionError
            delta3 = (a3 - target) * a3 * (1 - a3)
            delta2 = (delta3 @ W2 + sparsity) * a2 * (1 - a2)
            return sparsae.Parameters(delta2.T @ a1, delta2.sum(0), delta3.T @ a2, delta3.sum(0))

    with pytest.raises(sparsae.BackendError):
        sparsae.train(X, 3, backend=sparsae.Backend("broken", Broken, summary=""), progress=True)
    assert sys.stderr is terminal
    assert set(threading.enumerate()) <= before
    result = sparsae.train(X, 3, observers=lambda p: p.iteration >= 2, progress=True)
    assert result.status.reason == "stopped"
    assert sys.stderr is terminal
    assert set(threading.enumerate()) <= before


def test_a_display_that_fails_does_not_end_the_fit(stderr: Any) -> None:
    """A closed standard error: one warning, and the result."""

    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError("gone")

    stderr(Closed())
    with pytest.warns(sparsae.errors.ObserverWarning, match="ProgressDisplay raised OSError: gone; it was dropped"):
        result = sparsae.train(X, 3, max_iter=5, progress=True)
    assert result.n_iter == 5


class Handle:
    """What IPython's `display` returns."""

    def __init__(self, shown: list[dict[str, str]]) -> None:
        self.shown = shown

    def update(self, bundle: dict[str, str], raw: bool) -> None:
        self.shown.append(bundle)


def make_progress(iteration: int) -> Progress:
    numbers = dict.fromkeys(("cost", "squared_error", "weight_decay", "sparsity", "gradient_max"), 0.5)
    return Progress(
        iteration=iteration, max_iter=9, evaluations=iteration, seconds=1.0, evaluation_seconds=1.0,
        make_parameters=lambda: sparsae.Parameters.random(2, 2), **numbers,
    )  # fmt: skip


def test_a_notebook_gets_one_bar_that_is_updated_and_ends_at_the_last_iteration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At most ten times a second, and the last iteration always; text for frontends without HTML."""
    display = pytest.importorskip("IPython.display")
    shown: list[dict[str, str]] = []
    monkeypatch.setattr(display, "display", lambda bundle, raw, display_id: (shown.append(bundle), Handle(shown))[1])
    monkeypatch.setattr(progress_display, "notebook_shell", lambda: object())
    with progress_display.ProgressDisplay() as bar:
        for iteration in range(10):
            bar(make_progress(iteration))
        assert 1 <= len(shown) <= 2
    assert '<progress value="9" max="9"' in shown[-1]["text/html"]
    assert shown[-1]["text/plain"] == "iteration 9/9  cost 0.5  9 it/s"
    assert len(shown) <= 3


def test_a_shell_without_a_kernel_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython in a terminal, and no IPython at all; the real notebook is tested with the example."""

    class Shell:
        kernel = None

    class Module:
        shell: Any = Shell()

        def get_ipython(self) -> Any:
            return self.shell

    monkeypatch.setitem(sys.modules, "IPython", Module())
    assert progress_display.notebook_shell() is None
    Shell.kernel = object()  # type: ignore[assignment]
    assert progress_display.notebook_shell() is Module.shell
    monkeypatch.delitem(sys.modules, "IPython")
    assert progress_display.notebook_shell() is None
