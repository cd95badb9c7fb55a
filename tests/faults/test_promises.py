"""Promises hold under faults."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import sparsae
from sparsae.training import checkpoint as checkpoints


def quiet_train(*arguments: object, **options: object) -> sparsae.TrainResult:
    """Train without the warning about the iteration limit."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sparsae.ConvergenceWarning)
        return sparsae.train(*arguments, **options)


def test_every_flipped_bit_falls_back_to_the_previous_checkpoint(digits: np.ndarray, tmp_path: Path) -> None:
    """A damaged checkpoint gives the one before, or is whole; never another error, never arrays missing."""
    path = tmp_path / "c.ckpt"
    plan = sparsae.Checkpoint(path, every=1)
    quiet_train(digits[:60], 3, max_iter=4, checkpoint=plan)
    content, previous = path.read_bytes(), checkpoints.previous(path).read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(40):
        damaged = bytearray(content)
        damaged[int(rng.integers(len(damaged)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        checkpoints.previous(path).write_bytes(previous)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sparsae.errors.CheckpointWarning)
            result = quiet_train(digits[:60], 3, max_iter=5, checkpoint=plan, resume=True)
        assert len(result.history) == 6


def test_output_that_cannot_be_written_never_ends_a_fit(start, rows: Path) -> None:
    """Standard error closed, or a reader that went away: the model is there."""
    process = start("train", rows, "-o", "m.npz", "--hidden", 3, "--max-iter", 50)
    process.stderr.close()
    process.stdout.close()
    assert process.wait(timeout=120) in (0, 141)
    assert rows.with_name("m.npz").exists()


def test_an_observer_whose_text_raises_is_dropped(digits: np.ndarray) -> None:
    """Its exception's str raises, so does its own repr."""

    class BadError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    class Observer:
        def __call__(self, progress: object) -> None:
            raise BadError

        def __repr__(self) -> str:
            raise RuntimeError("no text")

        def __eq__(self, other: object) -> bool:
            raise RuntimeError("no comparison")

        __hash__ = None  # type: ignore[assignment]

    with pytest.warns(sparsae.errors.ObserverWarning):
        assert quiet_train(digits[:60], 3, max_iter=2, observers=[Observer()]).n_iter == 2


@pytest.mark.parametrize("error", ["SystemExit", "GeneratorExit"])
@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_a_kernel_that_exits_is_a_backend_error(digits: np.ndarray, error: str, method: str) -> None:
    """What a kernel raises, but for KeyboardInterrupt, is a BackendError."""

    class Kernel(sparsae.SimpleKernel):
        def backprop(self, *_: object) -> sparsae.Parameters:
            raise {"SystemExit": SystemExit, "GeneratorExit": GeneratorExit}[error](0)

    backend = sparsae.Backend("exits", Kernel, threading="workers")
    with pytest.raises(sparsae.BackendError, match=error):
        quiet_train(digits[:200], 3, max_iter=2, backend=backend, threads=2, method=method)


DEADLOCK = """
import threading, numpy as np, sparsae, sys
class Kernel(sparsae.SimpleKernel):
    def backprop(self, *arguments):
        print("stuck", flush=True)
        threading.Lock().acquire() and threading.Event().wait()
backend = sparsae.Backend("stuck", Kernel, threading="workers")
sparsae.train(np.full((2000, 8), 0.5), 3, backend=backend, threads=2, block_rows=64)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_deadlocked_kernel_can_be_ended(tmp_path: Path, number: signal.Signals) -> None:
    """The second signal ends the process within a bounded time."""
    process = subprocess.Popen(
        [sys.executable, "-c", DEADLOCK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    try:
        for _ in range(3):
            time.sleep(0.5)
            process.send_signal(number)
        process.wait(timeout=300)
    finally:
        process.kill()
        process.communicate()


def test_what_is_not_finite_is_an_error_everywhere() -> None:
    """After the cast too: no NaN or infinity is returned."""
    parameters, X = sparsae.Parameters.random(4, 2), np.full((9, 4), 0.5)
    with pytest.raises(sparsae.SparsaeError):
        sparsae.cost_and_gradient(parameters, X, beta=1e300, dtype="float32")
    with pytest.raises(sparsae.SparsaeError):
        sparsae.cost_and_gradient(parameters, X * 1e200, output="linear", dtype="float32")
    if np.finfo(np.longdouble).max > np.finfo(np.float64).max:
        huge = np.full((9, 4), np.longdouble("1e4000"))
        with pytest.raises(sparsae.SparsaeError):
            sparsae.cost_and_gradient(parameters, huge, output="linear")


PLUGINS = {
    "hangs": "import time; time.sleep(3600)",
    "prints": "print('hello from a plugin')\nimport sparsae\nraise ImportError('no')",
    "interrupts": "raise KeyboardInterrupt",
}


@pytest.fixture
def disturbed(tmp_path: Path) -> dict[str, str]:
    """An environment with plugins that nobody named."""
    for name, code in PLUGINS.items():
        (tmp_path / f"{name}_plugin.py").write_text(textwrap.dedent(code))
        info = tmp_path / f"{name}-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[sparsae.backends]\n{name} = {name}_plugin\n")
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}


def test_plugins_that_nobody_named_disturb_no_list(disturbed: dict[str, str], tmp_path: Path) -> None:
    """`backends --json` ends, parses, and says what is broken."""
    import json

    done = subprocess.run(
        [sys.executable, "-m", "sparsae", "backends", "--json"],
        capture_output=True,
        text=True,
        timeout=200,
        env=disturbed,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    states = {record["name"]: record["state"] for record in json.loads(done.stdout)}
    assert states["numpy"] == "ready"
    assert {states[name] for name in PLUGINS} == {"broken"}


def test_plugins_that_nobody_named_disturb_no_fit(disturbed: dict[str, str], rows: Path) -> None:
    """A named backend is loaded alone."""
    done = subprocess.run(
        [sys.executable, "-m", "sparsae", "train", rows, "--backend", "numpy", "--hidden", "2", "--max-iter", "1"],
        capture_output=True,
        text=True,
        timeout=100,
        env=disturbed,
        cwd=rows.parent,
    )
    assert done.returncode == 0, done.stderr
    assert "hello" not in done.stdout


def test_interrupts_at_random_moments_leak_nothing(python) -> None:
    """Thread limits and workers are given back, KeyboardInterrupt is what is raised."""
    code = textwrap.dedent("""
        import os, random, signal, threading, time, warnings, numpy as np, sparsae
        from sparsae.machine.limits import pools
        warnings.simplefilter("ignore")
        X = np.random.default_rng(0).uniform(.1, .9, (500, 16))
        sparsae.train(X, 4, max_iter=1, threads=2)
        before = [pool["num_threads"] for pool in pools()]
        rng = random.Random(0)
        for _ in range(25):
            timer = threading.Timer(rng.uniform(0, 0.06), os.kill, (os.getpid(), signal.SIGINT))
            timer.start()
            try:
                sparsae.train(X, 4, max_iter=40, threads=2, block_rows=64)
                timer.join(); time.sleep(0.01)
            except KeyboardInterrupt:
                pass
            timer.join()
        print([pool["num_threads"] for pool in pools()] == before, threading.active_count())
    """)
    assert python(code).out.split() == ["True", "1"]
