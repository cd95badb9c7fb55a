"""The best parameters of a large model lie in a file: fits end as they do with them in memory."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsae import TrainResult, train
from sparsae.optimize import SGD, Adam, file_vector
from sparsae.optimize.file_vector import LEAST_BYTES, FileVector

pytestmark = [
    pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:(overflow|invalid value) encountered:RuntimeWarning"),  # of a fit that diverges
    pytest.mark.skipif(not hasattr(os, "pwrite"), reason="no pwrite on this system: they stay in memory"),
]
X = np.random.default_rng(0).random((80, 7))
OPTIONS: dict[str, Any] = {
    "activation": "relu",
    "output": "linear",
    "l1": 0.01,
    "l1_weighted": False,
    "backend": "numpy",
}
METHODS = {
    "held out": Adam(learning_rate=0.05, batch_rows=16, held_out=0.3, patience=3),
    "diverges": SGD(learning_rate=100, batch_rows=16, warm_up=1000),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for temporary files, and vectors of any size go there."""
    monkeypatch.setattr(file_vector, "LEAST_BYTES", 1)
    monkeypatch.setattr(file_vector, "lies_in_memory", lambda folder: False)
    monkeypatch.setattr(file_vector, "copy_folder", lambda: str(tmp_path))
    return tmp_path


@pytest.fixture
def written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of bytes that were written to files, in calls that each write a part of what they are given."""
    sizes: list[int] = []

    def pwrite(descriptor: int, values: Any, place: int) -> int:
        sizes.append(real(descriptor, values[:500], place))
        return sizes[-1]

    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", pwrite)
    return sizes


def same(one: TrainResult, other: TrainResult) -> bool:
    return one.parameters.flatten().tobytes() == other.parameters.flatten().tobytes() and one.cost == other.cost


@pytest.mark.parametrize("name", METHODS)
def test_a_fit_returns_the_same_best_parameters(name: str, written: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Where rows are held out, and where it diverges, it returns an earlier epoch's, bit for bit."""
    found = train(X, 5, method=METHODS[name], max_iter=40, **OPTIONS)
    size = found.parameters.flatten().nbytes
    assert sum(written) % size == 0
    assert sum(written) > size  # at the start and after epochs that were better
    monkeypatch.setattr(file_vector, "LEAST_BYTES", LEAST_BYTES)
    written.clear()
    expected = train(X, 5, method=METHODS[name], max_iter=40, **OPTIONS)
    assert not written
    assert found.status.reason == expected.status.reason == {"held out": "converged", "diverges": "not finite"}[name]
    assert same(found, expected)


def test_a_resumed_fit_ends_as_one_that_was_not_stopped(folder: Path, tmp_path: Path) -> None:
    """Checkpoints have the best parameters in them, and a resumed fit has them in a file again."""
    options = {**OPTIONS, "method": METHODS["held out"]}
    whole = train(X, 5, max_iter=40, **options)
    train(X, 5, max_iter=3, checkpoint=tmp_path / "fit", **options)
    assert same(train(X, 5, max_iter=40, checkpoint=tmp_path / "fit", resume=True, **options), whole)


@pytest.mark.parametrize("writes", [0, 1, 2])
def test_a_full_disk_changes_nothing(writes: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the file cannot be written, at the start or later, the best parameters are kept in memory."""
    expected = train(X, 5, method=METHODS["held out"], max_iter=40, **OPTIONS)
    real, calls = os.pwrite, 0

    def pwrite(descriptor: int, values: Any, place: int) -> int:
        nonlocal calls
        calls += 1
        if calls > writes:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, values, place)

    monkeypatch.setattr(os, "pwrite", pwrite)
    found = train(X, 5, method=METHODS["held out"], max_iter=40, **OPTIONS)
    assert calls == writes + 1  # it is not tried again
    assert same(found, expected)


def test_the_file_has_no_name_and_is_closed_with_the_vector(folder: Path) -> None:
    """Nothing stays behind; the array can be read as long as somebody has it."""
    values = np.arange(1000.0)
    vector = FileVector.of(values)
    assert vector is not None
    vector.store(values + 1)
    array, closing = vector.array, vector._close
    assert not list(folder.iterdir())
    assert not array.flags.writeable
    del vector
    assert not closing.alive
    assert array.tolist() == (values + 1).tolist()


def test_small_vectors_and_folders_in_memory_are_declined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file would save nothing there; nor is there one in a folder that cannot be written."""
    large = np.zeros(LEAST_BYTES // 8)
    monkeypatch.setattr(file_vector, "copy_folder", lambda: str(tmp_path))
    monkeypatch.setattr(file_vector, "lies_in_memory", lambda folder: False)
    assert FileVector.of(large[:-1]) is None
    assert FileVector.of(large) is not None
    monkeypatch.setattr(file_vector, "copy_folder", lambda: str(tmp_path / "absent"))
    assert FileVector.of(large) is None
    monkeypatch.setattr(file_vector, "copy_folder", lambda: str(tmp_path))
    monkeypatch.setattr(file_vector, "lies_in_memory", lambda folder: True)
    assert FileVector.of(large) is None
