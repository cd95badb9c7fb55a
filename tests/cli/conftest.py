"""A folder with data and a model, and two ways to run the command in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from tests.support.command import Ended, run_here


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with x.npy: 60 samples of 6 inputs."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).uniform(0.1, 0.9, (60, 6)))
    return tmp_path


@pytest.fixture
def run(folder: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run the command in this process."""
    return partial(run_here, capsys)


@pytest.fixture
def model(run: Callable[..., Ended]) -> str:
    """m.npz, a model of x.npy with 3 hidden units."""
    ended = run("train", "x.npy", "-o", "m.npz", "--hidden", 3, "--max-iter", 2, "--quiet")
    assert ended.code == 0, ended.err
    return "m.npz"


@pytest.fixture
def start(folder: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start the command as a process; `program` is Python that runs before it."""

    def call(*words: object, program: str = "", **streams: object) -> subprocess.Popen[str]:
        code = f"{program}\nimport sys\nfrom sparsae.cli import main\nmain(sys.argv[1:])"
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, words)], cwd=folder, env=environment, text=True, **options
        )

    return call
