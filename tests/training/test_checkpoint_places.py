"""Checkpoints on full disks and in forbidden places, of SciPy's methods, and after kill -9."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.scripted import Scripted

import sparsae
from sparsae import Checkpoint, errors, train
from sparsae.errors import CheckpointWarning
from sparsae.training.checkpoint import load, previous

Array = NDArray[Any]
QUIET = "ignore::sparsae.ConvergenceWarning"
FRESH = "ignore:No checkpoint at:sparsae.errors.CheckpointWarning"
pytestmark = pytest.mark.filterwarnings(QUIET)


def test_a_full_disk_does_not_end_the_fit(uniform: Array, path: Path) -> None:
    """Said once; tried again, and once there is room it is written: here the limit on file size is real."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def act(iteration: int) -> None:
        if iteration == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        if iteration == 6:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    plan = Checkpoint(path, every=1)
    try:
        with pytest.warns(
            CheckpointWarning, match=r"Iteration 3: .* could not be written .*Training goes on"
        ) as caught:
            result = train(uniform, 5, method=Scripted(act), max_iter=10, checkpoint=plan)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert sum(w.category is CheckpointWarning for w in caught) == 1
    assert len(result.history) == 11
    assert load(path).header["iteration"] == 10
    assert load(previous(path)).header["iteration"] == 9


@pytest.mark.parametrize(
    ("where", "error", "message"),
    [
        ("/proc/run.ckpt", errors.FileAccessError, "No checkpoint can be written to /proc: "),
        ("/nowhere/at/all/run.ckpt", errors.FileMissingError, "/nowhere/at/all, does not exist; make it first"),
        ("/tmp", errors.FileAccessError, "The checkpoint /tmp is a folder; name a file in it"),
    ],
)
def test_a_place_without_permission_is_said_before_training(
    uniform: Array, where: str, error: type[Exception], message: str
) -> None:
    """Not after the first interval: the cost is never evaluated."""

    def never(iteration: int) -> None:
        raise AssertionError

    with pytest.raises(error, match=message):
        train(uniform, 5, method=Scripted(never), checkpoint=where)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"every": 0}, "every must be an integer of at least 1"), ({"seconds": -1}, "must be at least 0; given -1")],
)
def test_intervals_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    """With what was given."""
    with pytest.raises(sparsae.ParameterError, match=message):
        Checkpoint("x", **settings)


@pytest.mark.filterwarnings(FRESH)
def test_scipy_starts_afresh_from_the_saved_point_and_says_so(uniform: Array, path: Path) -> None:
    """What cannot be resumed exactly is resumed as well as can be, with a note."""
    train(uniform, 5, method="scipy:CG", max_iter=5, checkpoint=path)
    resumed = train(uniform, 5, method="scipy:CG", max_iter=8, checkpoint=path, resume=True)
    assert resumed.history.iteration.tolist() == list(range(9))
    assert resumed.history.cost[8] < resumed.history.cost[5]
    assert "keeps its state to itself" in " ".join(resumed.receipt.notes)


FIT = """
import sys, warnings
import numpy as np, sparsae
from sparsae.optimize import get_method
warnings.simplefilter("ignore")
path, out, method, threads, max_iter = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), int(sys.argv[5])
X = np.random.default_rng(0).uniform(0.1, 0.9, (400, 16))
plan = sparsae.Checkpoint(path, every=1) if path else None
result = sparsae.train(X, 6, method=method, threads=threads, block_rows=32, max_iter=max_iter,
                       checkpoint=plan, resume=bool(path))
h = result.history
np.savez(out, theta=result.parameters.flatten(), cost=h.cost, gradient=h.gradient_max, evaluations=h.evaluations)
"""


def run_fit(*arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", FIT, *map(str, arguments)])


@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_kill_9_and_resume_gives_the_same_bits(tmp_path: Path, method: str) -> None:
    """Three processes are killed midway, with changing thread counts; the fourth ends as one alone would have."""
    path, out = tmp_path / "run.ckpt", tmp_path / "out.npz"
    alone = run_fit("", tmp_path / "alone.npz", method, 1, 150)
    assert alone.wait(300) == 0
    for threads, reach in ((1, 20), (2, 60), (1, 100)):
        process = run_fit(path, out, method, threads, 100_000 if reach < 100 else 150)
        while process.poll() is None and not _at_least(path, reach):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait(300)
    assert load(path).header["iteration"] >= 100
    last = run_fit(path, out, method, 2, 150)
    assert last.wait(300) == 0
    with np.load(out) as a, np.load(tmp_path / "alone.npz") as b:
        for name in a.files:
            n = 151 if name != "theta" else None
            assert a[name][:n].tobytes() == b[name].tobytes(), name


def _at_least(path: Path, iteration: int) -> bool:
    """Whether the checkpoint, whole at every moment, has come so far."""
    return path.exists() and load(path).header["iteration"] >= iteration
