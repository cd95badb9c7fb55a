"""What the modules of this folder share.  Each module is one kind of fault, tried as a user meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from sparsae.cli import main


class Said(NamedTuple):
    """Exit code and output of one call of the command."""

    code: int
    out: str
    err: str

    @property
    def is_one_error_line(self) -> bool:
        """Whether standard error is one line that begins with Error, and no traceback."""
        lines = self.err.strip().splitlines()
        return len(lines) == 1 and lines[0].startswith("Error: ") and "Traceback" not in self.out


Run = Callable[..., Said]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Said:
        with pytest.raises(SystemExit) as done:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return Said(done.value.code or 0, out, err)

    return call


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the command as a process of its own, in an empty folder."""

    def call(*words: object, **options: object) -> subprocess.Popen[str]:
        settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "cwd": tmp_path} | options
        environment = os.environ | settings.pop("env", {})
        command = [sys.executable, "-m", "sparsae", *map(str, words)]
        return subprocess.Popen(command, env=environment, **settings)

    return call


@pytest.fixture
def python(tmp_path: Path) -> Callable[..., Said]:
    """Run a program in an interpreter of its own, with a time limit."""

    def call(code: str, *, timeout: float = 120, **environment: str) -> Said:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=tmp_path,
            env=os.environ | environment,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return call


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A small data file: 60 samples of 6 inputs in [0.1, 0.9]."""
    path = tmp_path / "rows.npy"
    np.save(path, np.random.default_rng(0).uniform(0.1, 0.9, (60, 6)))
    return path


@pytest.fixture
def model(run: Run, rows: Path) -> Path:
    """A model file trained on `rows`."""
    said = run("train", rows, "-o", "m.npz", "--hidden", 3, "--max-iter", 3)
    assert said.code == 0, said.err
    return rows.with_name("m.npz")
