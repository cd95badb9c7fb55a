"""One fit at a time writes to a checkpoint."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae.errors import CheckpointError
from sparsae.files import locks
from sparsae.training.checkpoint_lock import lock_checkpoint

pytestmark = pytest.mark.filterwarnings(
    "ignore::sparsae.ConvergenceWarning", "ignore::sparsae.errors.CheckpointWarning"
)
X = np.random.default_rng(0).uniform(0.1, 0.9, (40, 6))
HOLD = """
import sys, time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from sparsae.training.checkpoint_lock import lock_checkpoint
with lock_checkpoint(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["flock", "existence"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkpoint path, with the system's locks and as on a system without them."""
    if request.param == "existence":
        monkeypatch.setattr(locks, "fcntl", None)
    return tmp_path / "run.ckpt"


@contextmanager
def holder(path: Path) -> Iterator[int]:
    """A process that holds the lock, with the system's locks; killed at the end."""
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process.pid
        finally:
            process.kill()


def test_a_second_fit_is_refused_and_told_by_whom(tmp_path: Path) -> None:
    """The error names process, machine and time; the checkpoint is not touched; afterwards it can be used."""
    path = tmp_path / "run.ckpt"
    sparsae.train(X, 3, max_iter=2, checkpoint=path)
    before = path.read_bytes()
    with holder(path) as process:
        pattern = rf"run\.ckpt is in use by process {process} on {socket.gethostname()}, which started at 20"
        with pytest.raises(CheckpointError, match=pattern):
            sparsae.train(X, 3, max_iter=4, checkpoint=path, resume=True)
        with pytest.raises(sparsae.errors.OutputExistsError):
            sparsae.train(X, 3, max_iter=4, checkpoint=path)
        assert path.read_bytes() == before
    assert sparsae.train(X, 3, max_iter=4, checkpoint=path, resume=True).n_iter == 4


def test_the_lock_of_a_killed_process_is_free(path: Path) -> None:
    """Kill -9 leaves the file; the next fit takes it over and leaves nothing behind."""
    with holder(path) as process:
        pass
    lock = path.with_name("run.ckpt.lock")
    assert json.loads(lock.read_text())["process"] == process
    with lock_checkpoint(path):
        assert json.loads(lock.read_text())["process"] == os.getpid()
    assert not list(path.parent.iterdir())


def test_two_threads_of_one_process_exclude_each_other(path: Path) -> None:
    """A lock belongs to a fit and not to a process."""
    refused = pytest.raises(CheckpointError, match=rf"in use by this process {os.getpid()}")
    with lock_checkpoint(path), refused, lock_checkpoint(path):
        pass
    with lock_checkpoint(path):
        pass


def test_one_at_a_time(path: Path) -> None:
    """Eight threads, forty tries each: never two within, and the counter that only the holder changes is right."""
    inside, most, done = 0, 0, 0

    def work() -> None:
        nonlocal inside, most, done
        for _ in range(40):
            try:
                with lock_checkpoint(path):
                    inside += 1
                    most = max(most, inside)
                    done += 1
                    inside -= 1
            except CheckpointError:
                pass

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert done >= 1
    assert not list(path.parent.iterdir())


def test_an_owner_on_another_machine_is_believed(path: Path) -> None:
    """Where the file is the lock, only processes of this machine can be looked for; the message says what to do."""
    lock = path.with_name("run.ckpt.lock")
    lock.write_text(json.dumps({"process": 2**22 + 1, "host": "elsewhere", "since": "yesterday"}))
    if locks.fcntl is not None:
        with lock_checkpoint(path):
            return_of_owner = json.loads(lock.read_text())
        assert return_of_owner["host"] == socket.gethostname()
    else:
        advice = r"on elsewhere.* If that process has ended, remove .*run\.ckpt\.lock"
        with pytest.raises(CheckpointError, match=advice), lock_checkpoint(path):
            pass


@pytest.mark.parametrize(
    "content",
    [
        b"[" * 1000,
        b"\xff",
        b"[]",
        b'{"process": true, "host": "here", "since": "now"}',
        b'{"process": -1, "host": "here", "since": "now"}',
        b'{"process": 1%s, "host": "HOST", "since": "now"}' % (b"0" * 30),
        b'{"process": 1, "host": 2, "since": "now"}',
        b'{"process": 1, "host": "here"}',
    ],
)
def test_a_lock_file_of_another_form_names_no_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """Where the file is the lock, its content is never believed beyond its form."""
    monkeypatch.setattr(locks, "fcntl", None)
    (tmp_path / "run.lock").write_bytes(content.replace(b"HOST", socket.gethostname().encode()))
    with pytest.raises(CheckpointError, match="is in use by another process"), lock_checkpoint(tmp_path / "run"):
        pass


def test_an_owner_is_printed_without_control_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of a machine in a file of somebody else reaches no terminal as it is."""
    monkeypatch.setattr(locks, "fcntl", None)
    (tmp_path / "run.lock").write_text(json.dumps({"process": 1, "host": "a\x1b[31mb", "since": "now\n"}))
    with (
        pytest.raises(CheckpointError, match=r"process 1 on ab, which started at now\."),
        lock_checkpoint(tmp_path / "run"),
    ):
        pass


def test_a_fit_that_fails_lets_go(tmp_path: Path) -> None:
    """An error in the middle of a fit leaves no lock behind."""

    def broken(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sparsae.train(X, 3, checkpoint=tmp_path / "c", observers=[broken])
    assert not list(tmp_path.iterdir())
