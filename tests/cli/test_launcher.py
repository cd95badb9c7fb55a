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
