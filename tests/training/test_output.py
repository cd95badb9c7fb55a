"""Whatever happens to output while a fit runs, the fit goes on."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae.training.json_log import JsonLog

QUIET = "ignore::sparsae.ConvergenceWarning"
X = np.random.default_rng(0).uniform(0.1, 0.9, (40, 6))


class UnprintableError(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class Hostile:
    """An observer that fails however it is touched."""

    def __init__(self, error: type[BaseException]) -> None:
        self.error = error

    def __call__(self, progress: Any) -> None:
        raise self.error

    def __eq__(self, other: object) -> bool:
        raise self.error

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        raise self.error


@pytest.mark.parametrize("error", [SystemExit, GeneratorExit, UnprintableError, MemoryError, OSError])
@pytest.mark.parametrize("action", ["always", "error"])
def test_no_observer_ends_a_fit(error: type[BaseException], action: Any) -> None:
    """It is dropped, said once as a warning where warnings are no errors, and noted in the receipt in any case."""
    seen: list[int] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        warnings.simplefilter("ignore", sparsae.ConvergenceWarning)
        result = sparsae.train(X, 3, max_iter=3, observers=[Hostile(error), lambda p: seen.append(p.iteration)])
    assert seen == [0, 1, 2, 3]
    notes = [note for note in result.receipt.notes if "was dropped and the fit goes on" in note]
    assert len(notes) == 1
    assert notes[0].startswith(f"Observer Hostile raised {error.__name__}: ")
    assert [str(w.message) for w in caught] == ([] if action == "error" else notes)


@pytest.mark.filterwarnings(QUIET)
def test_a_keyboard_interrupt_of_an_observer_is_one() -> None:
    """It is what the user pressed."""

    def pressed(progress: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sparsae.train(X, 3, max_iter=3, observers=pressed)


@pytest.mark.filterwarnings(QUIET)
def test_one_observer_alone_needs_no_list(tmp_path: Path) -> None:
    """A function, a callable object, or a name."""
    seen: list[int] = []
    sparsae.train(X, 3, max_iter=2, observers=lambda p: seen.append(p.iteration))
    sparsae.train(X, 3, max_iter=2, observers=JsonLog(tmp_path / "log"))
    assert seen == [0, 1, 2]
    assert len((tmp_path / "log").read_text().splitlines()) == 3
    with pytest.raises(sparsae.ParameterError, match="No observer named 'nobody'"):
        sparsae.train(X, 3, observers="nobody")


LOUD = """
import os, sys, warnings
import numpy as np, sparsae
if sys.argv[1] == "closed":
    os.close(2)
elif sys.argv[1] == "none":
    sys.stderr = None
else:
    reader, writer = os.pipe()
    os.close(reader)
    os.dup2(writer, 2)

def progress(p):
    sys.stderr.write("line")
    sys.stderr.flush()

def show(message, *_, **__):
    os.write(2, str(message).encode())

warnings.showwarning = show
X = np.random.default_rng(0).uniform(0.1, 0.9, (40, 6))
print(sparsae.train(X, 3, max_iter=4, observers=[progress]).n_iter)
"""


@pytest.mark.parametrize("stream", ["closed", "none", "pipe without a reader"])
def test_a_standard_error_that_cannot_be_written_ends_no_fit(stream: str) -> None:
    """The observer fails, the warning about it fails, the final warning fails: the result is there."""
    done = subprocess.run([sys.executable, "-c", LOUD, stream], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == "4\n"


def test_a_warning_that_is_an_error_is_raised_after_the_fit() -> None:
    """Who turns ConvergenceWarning into an error gets it, with the status."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(sparsae.ConvergenceWarning, match="after 2 iterations") as caught:
            sparsae.train(X, 3, max_iter=2)
    assert caught.value.status.reason == "iteration limit"


def progress(iteration: int) -> Any:
    """A progress of fixed length."""
    numbers = dict.fromkeys(("cost", "squared_error", "weight_decay", "sparsity", "gradient_max"), 1.5)
    times = {"seconds": 1.0, "evaluation_seconds": 1.0}
    return sparsae.Progress(
        iteration=iteration, max_iter=9, evaluations=1, make_parameters=lambda: None, **numbers, **times
    )


def test_a_line_that_does_not_fit_on_the_disk_is_taken_back(tmp_path: Path) -> None:
    """Here the limit on file size is real: the line before is whole, and so is the one after there is room."""
    path = tmp_path / "log"
    log = JsonLog(path)
    log(progress(0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, hard))
        with pytest.raises(sparsae.errors.FileAccessError, match="log cannot be written to: File too large"):
            log(progress(1))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log(progress(2))
    assert [json.loads(line)["iteration"] for line in path.read_text().splitlines()] == [0, 2]


def test_a_piece_of_a_line_is_ended_before_the_next(tmp_path: Path) -> None:
    """What a killed process left is a line of its own."""
    path = tmp_path / "log"
    path.write_text('{"iteration": 0}\n{"iterat')
    JsonLog(path)(progress(1))
    lines = path.read_text().splitlines()
    assert lines[:2] == ['{"iteration": 0}', '{"iterat']
    assert json.loads(lines[2])["iteration"] == 1


def test_log_lines_end_alike_on_every_system(tmp_path: Path) -> None:
    """Bytes are written as they are."""
    JsonLog(tmp_path / "log")(progress(1))
    assert (tmp_path / "log").read_bytes().count(b"\r") == 0
