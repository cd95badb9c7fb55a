"""What commands print: in words that fit the numbers, and in lines that fit the terminal."""

from __future__ import annotations

import logging
import os
import pty
from collections.abc import Callable
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest

import sparsae
from sparsae._text import plural
from sparsae.cli.report import json_text, make_console, warnings_as_lines
from sparsae.cli.tables import StyledRow, print_titled_table
from sparsae.receipt import describe_threads


@pytest.mark.parametrize(
    ("threading", "granted", "workers", "words"),
    [
        ("workers", 1, 1, "1 worker"),
        ("workers", 2, 2, "2 workers"),
        ("workers", 99, 2, "2 workers (99 threads granted)"),
        ("blas", 2, 1, "2 threads"),
        ("none", 1, 1, "1 thread"),
    ],
)
def test_what_ran_is_said_and_what_was_granted(threading: str, granted: int, workers: int, words: str) -> None:
    """One thread, two threads; workers where they do the work."""
    with sparsae.Objective(np.full((4, 3), 0.5), 2, backend="numpy", threads=1) as objective:
        receipt = objective.receipt
    receipt = replace(receipt, threading=threading, threads_granted=granted, workers=workers)
    assert describe_threads(receipt) == words


def test_numbers_and_nouns() -> None:
    """None, one, more."""
    assert [plural(n, "call") for n in (0, 1, 2, 2000)] == ["0 calls", "1 call", "2 calls", "2,000 calls"]


def test_json_has_no_number_that_json_lacks() -> None:
    """Not finite becomes null, also within arrays; NumPy's scalars and paths become plain values."""
    text = json_text({"a": np.float32(np.nan), "b": [np.inf, np.int8(3)], "c": np.array([1.5, -np.inf]), 4: None})
    assert "".join(text.split()) == '{"a":null,"b":[null,3],"c":[1.5,null],"4":null}'


@pytest.mark.parametrize(("terminal", "quiet", "shown"), [(True, False, 1), (True, True, 0), (False, False, 0)])
def test_the_log_is_shown_on_a_terminal_alone(
    terminal: bool, quiet: bool, shown: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for what is worth a line, nothing for what is not; nothing changes for whoever logs afterwards."""
    written, logger = StringIO(), logging.getLogger("sparsae.numba")
    written.isatty = lambda: terminal  # type: ignore[method-assign]
    monkeypatch.setattr("sys.stderr", written)
    parent = logging.getLogger("sparsae")
    before = parent.level, list(parent.handlers)
    with warnings_as_lines(quiet=quiet):
        logger.info("compiling %s", "float32")
        logger.debug("a detail")
    logger.info("afterwards")
    assert written.getvalue() == "sparsae: compiling float32\n" * shown
    assert (parent.level, parent.handlers) == before


def _screen(start: Callable[..., object], *words: str, columns: int) -> list[str]:
    """Run the command on a terminal of that width; the lines that it prints."""
    ours, theirs = pty.openpty()
    program = f"import os; os.environ.update(COLUMNS='{columns}', TERM='xterm', NO_COLOR='1')"
    process = start(*words, program=program, stdout=theirs)
    os.close(theirs)
    drawn = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        drawn += piece
    os.close(ours)
    process.communicate(timeout=300)  # type: ignore[attr-defined]
    return drawn.decode().splitlines()


@pytest.mark.parametrize("columns", [40, 80, 132])
def test_lists_and_facts_fit_the_terminal(start: Callable[..., object], model: str, columns: int) -> None:
    """No line is wider than the terminal, and no word is lost; a pipe gets one line for each backend."""
    for words in (("backends",), ("info", "m.npz")):
        lines = _screen(start, *words, columns=columns)
        assert max(map(len, lines)) <= columns, lines
        out, _ = start(*words).communicate(timeout=300)  # type: ignore[attr-defined]
        assert "".join("".join(lines).split()) == "".join(out.split())
    assert sum(line.startswith("fused ") for line in start("backends").communicate()[0].splitlines()) == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(("width", "dropped"), [(30, ["ms", "verdict"]), (50, ["ms"]), (80, [])])
def test_a_table_does_without_what_a_narrow_terminal_has_no_room_for(
    capsys: pytest.CaptureFixture[str], width: int, dropped: list[str]
) -> None:
    """The least important columns go first, and are named below."""
    rows = [StyledRow(("fused", "17.2", "0.85", "faster than the reference"))]
    headings = ("backend", "ms", "ratio", "verdict")
    print_titled_table(
        make_console(width=width), "A race", headings, rows, words=("backend",), optional=("ms", "verdict")
    )
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= width
    for heading in headings:
        assert (heading in out.partition("Without")[0]) == (heading not in dropped)
    assert ("Without" in out) == bool(dropped)
    assert "0.85" in out
    assert ("faster than the reference" in out) == ("verdict" not in dropped)  # no cell is wrapped
