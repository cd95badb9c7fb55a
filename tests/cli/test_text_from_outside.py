"""Text from plugins, files and records reaches a terminal without anything that it would obey."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from tests.support.command import Ended

import sparsae.cli.progress
from sparsae.cli.progress import progress_bar
from sparsae.cli.report import print_facts, print_table, say, warnings_as_lines
from sparsae.cli.tables import StyledRow, print_titled_table, table_console

HOSTILE = "\x1b]0;title\x07[/x] [red]boom[/red] :smile: \x1b[2J\x9b31m\u202ename\nsecond\rline\x07\udcff"
OBEYED = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")


@pytest.fixture
def plugin(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A distribution whose summary and errors are hostile; its backend is named evil."""
    site = folder / "site"
    (site / "dist_evil-1.dist-info").mkdir(parents=True)
    (site / "dist_evil-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: dist_evil\nVersion: 1\n")
    points = "[sparsae.backends]\nevil = plugin_evil\nbroken = plugin_broken\n"
    (site / "dist_evil-1.dist-info" / "entry_points.txt").write_text(points)
    text = HOSTILE.encode("unicode_escape").decode()
    (site / "plugin_evil.py").write_text(
        "import sparsae\n"
        f"TEXT = '{text}'\n"
        "class Evil(sparsae.SimpleKernel):\n"
        "    def backprop(self, *_):\n        raise ValueError(TEXT)\n"
        "@sparsae.hookimpl\n"
        "def sparsae_backend():\n"
        "    return sparsae.Backend('evil', Evil, summary=TEXT, threading='workers')\n"
    )
    (site / "plugin_broken.py").write_text(f"class Odd(Exception): pass\nraise Odd('{text}')\n")
    return f"import sys; sys.path.insert(0, {str(site)!r})"


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("backends", 0),
        ("backends evil", 0),
        ("backends broken", 0),
        ("backends --json", 0),
        ("check evil --quick --only reference", 1),
        ("check broken", 2),
        ("train x.npy --backend evil", 1),
        ("train x.npy --backend broken", 2),
    ],
)
def test_plugins(start: Callable[..., object], plugin: str, words: str, code: int) -> None:
    """Summaries, errors, tracebacks; markup is shown as it is, not obeyed and no cause of a crash."""
    process = start(*words.split(), program=plugin)
    out, err = process.communicate(timeout=120)  # type: ignore[attr-defined]
    assert process.returncode == code, out + err  # type: ignore[attr-defined]
    assert not OBEYED.search(out + err)
    assert "[/x] [red]boom[/red] :smile:" in out + err


def test_names_of_files(run: Callable[..., Ended], folder: Path) -> None:
    """What cannot be read, what was written, what is refused."""
    name = HOSTILE.replace("/", "")
    np.save(folder / "a.npy", np.random.default_rng(0).uniform(0.1, 0.9, (30, 4)))
    for words in (
        ("train", name),
        ("info", name),
        ("train", "a.npy", "-o", f"none/{name}"),
        ("train", "a.npy", "--max-iter", 2, "-o", name),
        ("train", "a.npy", "--max-iter", 2, "-o", name),
        ("check", name),
        ("bench", "show", name),
        ("bench", "--backends", name),
        (name,),
    ):
        _, out, err = run(*words)
        assert not OBEYED.search(out + err), (words, out, err)
        assert "boom" in out + err
    assert os.path.lexists(folder / name)


def test_everything_that_prints(capsys: pytest.CaptureFixture[str]) -> None:
    """Lines, facts, tables with and without a title, warnings, progress."""
    import warnings

    say(HOSTILE, indent=2)
    print_facts({"name": HOSTILE})
    print_table(("name", HOSTILE), [("a", HOSTILE), (HOSTILE, "b")])
    print_titled_table(table_console(), HOSTILE, ("a", "b"), [StyledRow((HOSTILE, "1"), "yellow")], words=("a",))
    with warnings_as_lines():
        warnings.warn(HOSTILE, UserWarning, stacklevel=1)
    with progress_bar() as show:
        show(HOSTILE, 0.5)
    out, err = capsys.readouterr()
    assert not OBEYED.search(out + err)
    assert out.count("[red]boom[/red] :smile:") == 7
    assert err.count("\n") == 1


def test_a_bar_shows_text_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal, where rich would take brackets for markup."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system=None, width=120, markup=False)
    monkeypatch.setattr(sparsae.cli.progress, "make_console", lambda **_: console)
    with progress_bar() as show:
        show(HOSTILE, 0.5)
    assert "[/x] [red]boom[/red] :smile: name second line" in screen.getvalue()
    assert "title" not in screen.getvalue()
