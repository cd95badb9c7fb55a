"""Ctrl-C while the command still imports its modules."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PROGRAM, FUNCTION = PROJECT["scripts"]["sparsae"].split(":")
STARTS = {
    "python -m sparsae": ["-m", "sparsae"],
    "sparsae": ["-c", f"import sys; from {PROGRAM} import {FUNCTION}; sys.exit({FUNCTION}())"],  # as pip writes it
}


@pytest.mark.parametrize("words", STARTS.values(), ids=STARTS)
def test_ctrl_c_during_the_imports_is_one_word(words: list[str], tmp_path: Path) -> None:
    """Exit code 130, no traceback: the first module that the command imports sends the signal."""
    (tmp_path / "click.py").write_text("import signal\nsignal.raise_signal(signal.SIGINT)\n")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, *words, "--version"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Interrupted.\n")


def test_what_comes_before_the_launcher_is_short() -> None:
    """Until its function runs, a Ctrl-C is Python's traceback: the package imports nothing by then."""
    code = (
        "import sys; before = set(sys.modules); import sparsae.__main__;"
        "print(*sorted(set(sys.modules) - before - {'__future__'}));"
        "print('train' in dir(sparsae), 'train' in sparsae.__all__, sparsae.train.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == ["sparsae sparsae.__main__", "True True train"]


@pytest.mark.parametrize("first", ["sparsae.train", "dir(sparsae)", "sparsae.__all__", "sparsae.nothing"])
def test_whatever_is_asked_first_finds_the_public_names(first: str) -> None:
    """The list of names is read then, once."""
    code = (
        f"import contextlib, sparsae\nwith contextlib.suppress(AttributeError): {first}\n"
        "assert sorted(sparsae.__all__) == sorted(dir(sparsae)), dir(sparsae)\n"
        "from sparsae import *\nassert train is sparsae.train\nassert not hasattr(sparsae, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", code], timeout=60, check=True)
