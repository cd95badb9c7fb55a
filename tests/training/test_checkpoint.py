"""Checkpoints: a fit that was stopped goes on as if it had not been, and a file that is wrong is never trusted."""

from __future__ import annotations

import warnings
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sparsae
from sparsae import Checkpoint, TrainResult, errors, train
from sparsae.errors import CheckpointError, CheckpointWarning
from sparsae.optimize import LBFGS, Adam
from sparsae.plugins import selection
from sparsae.training.checkpoint import load, previous

Array = NDArray[Any]
QUIET = "ignore::sparsae.ConvergenceWarning"
pytestmark = pytest.mark.filterwarnings(QUIET)


def same(a: TrainResult, b: TrainResult) -> bool:
    """Whether parameters and learning curve agree bit for bit, times aside."""
    names = {field.name for field in fields(a.history)} - {"seconds", "evaluation_seconds"}
    return a.parameters.flatten().tobytes() == b.parameters.flatten().tobytes() and all(
        getattr(a.history, name).tobytes() == getattr(b.history, name).tobytes() for name in names
    )


@pytest.mark.parametrize("method", ["lbfgs", LBFGS(memory=5), "adam", "sgd", Adam(batch_rows=32, held_out=0.2)])
def test_stop_and_resume_is_never_having_stopped(uniform: Array, path: Path, method: Any) -> None:
    """13 iterations, then 30: parameters and the whole history are those of 30 at once, bit for bit."""
    whole = train(uniform, 5, method=method, max_iter=30)
    train(uniform, 5, method=method, max_iter=13, checkpoint=path)
    resumed = train(uniform, 5, method=method, max_iter=30, checkpoint=path, resume=True)
    assert same(resumed, whole)
    assert (np.diff(resumed.history.seconds) > 0).all()
    assert "Resumed at iteration 13." in resumed.receipt.notes


@pytest.mark.parametrize("method", [Adam(batch_rows=32), Adam(batch_rows=32, held_out=0.2)])
def test_a_fit_that_stopped_in_mid_epoch_goes_on_there(uniform: Array, path: Path, method: Any) -> None:
    """Stopped by the number of evaluations between two mini-batches; the end has the bits of never having stopped."""
    whole = train(uniform, 5, method=method, max_iter=6)
    part = train(uniform, 5, method=method, stop=sparsae.Stop(evaluations=18), max_iter=6, checkpoint=path)
    assert part.status.reason == "evaluation limit"
    assert load(path).arrays["counts"][2] > 0  # rows of the epoch that are done
    assert same(train(uniform, 5, method=method, max_iter=6, checkpoint=path, resume=True), whole)


def test_the_number_of_threads_may_change_for_row_workers(uniform: Array, path: Path) -> None:
    """One thread before, two after: the same bits, and no note about it."""
    whole = train(uniform, 5, max_iter=20, block_rows=16, threads=1)
    train(uniform, 5, max_iter=9, block_rows=16, threads=1, checkpoint=path)
    resumed = train(uniform, 5, max_iter=20, threads=2, checkpoint=path, resume=True)
    assert same(resumed, whole)
    assert resumed.receipt.block_rows == 16
    assert resumed.receipt.notes[-1].startswith("Resumed at")


def test_for_other_backends_a_note_says_that_bits_may_depend_on_threads(uniform: Array, path: Path) -> None:
    """`numpy` gives its threads to BLAS."""
    train(uniform, 5, max_iter=3, backend="numpy", threads=1, checkpoint=path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", errors.ThreadsWarning)  # where there is one CPU only
        resumed = train(uniform, 5, max_iter=5, backend="numpy", threads=2, checkpoint=path, resume=True)
    if resumed.receipt.threads_granted == 2:
        assert "Resumed with 2 threads after 1" in " ".join(resumed.receipt.notes)


def test_resuming_a_fit_that_is_done_changes_nothing(uniform: Array, path: Path) -> None:
    """The same result comes back, without an iteration or an evaluation more: the checkpoint holds the evaluation."""
    done = train(uniform, 5, max_iter=6, checkpoint=path)
    again = train(uniform, 5, max_iter=6, checkpoint=path, resume=True)
    assert same(done, again)
    assert again.status.reason == done.status.reason
    assert (again.cost, again.metrics) == (done.cost, done.metrics)


def test_an_early_stop_stays_stopped(uniform: Array, path: Path) -> None:
    """Held-out patience that ran out is still out after a resume."""
    method = Adam(learning_rate=0.05, batch_rows=16, held_out=0.3, patience=2)
    done = train(uniform, 5, method=method, max_iter=300, checkpoint=path)
    assert done.status.converged
    assert same(done, train(uniform, 5, method=method, max_iter=300, checkpoint=path, resume=True))


def test_where_there_is_no_checkpoint_yet_it_starts_afresh_and_says_so(uniform: Array, path: Path) -> None:
    """`resume=True` can stand in a script from the first run on."""
    with pytest.warns(CheckpointWarning, match=r"No checkpoint at .*run.ckpt yet: training starts afresh"):
        first = train(uniform, 5, max_iter=4, checkpoint=path, resume=True)
    assert same(first, train(uniform, 5, max_iter=4))
    assert path.exists()


def test_settings_of_the_optimiser_are_adopted(uniform: Array, path: Path) -> None:
    """A bare name takes the checkpoint's settings silently; other settings are told that they are not used."""
    whole = train(uniform, 5, method=LBFGS(memory=7), max_iter=20, block_rows=16, passes=1)
    train(uniform, 5, method=LBFGS(memory=7), max_iter=9, block_rows=16, passes=1, checkpoint=path)
    resumed = train(uniform, 5, max_iter=14, checkpoint=path, resume=True)
    assert resumed.settings["memory"] == 7
    with pytest.warns(CheckpointWarning, match="settings are those of the checkpoint") as caught:
        resumed = train(uniform, 5, method=LBFGS(memory=9), max_iter=20, checkpoint=path, resume=True)
    assert caught[0].filename == __file__
    assert same(resumed, whole)
    assert (resumed.receipt.passes, resumed.receipt.block_rows) == (1, 16)


def test_block_size_and_passes_are_adopted_and_said(uniform: Array, path: Path) -> None:
    """They decide the last bits, so the checkpoint's are used, whatever is asked for."""
    train(uniform, 5, max_iter=2, block_rows=16, passes=1, checkpoint=path)
    with pytest.warns(CheckpointWarning, match=r"block_rows=16 and passes=1 are used, not block_rows=32, passes=2"):
        resumed = train(uniform, 5, max_iter=3, block_rows=32, passes=2, checkpoint=path, resume=True)
    assert (resumed.receipt.block_rows, resumed.receipt.passes) == (16, 1)


def test_auto_goes_on_with_the_backend_of_the_checkpoint(uniform: Array, path: Path) -> None:
    """Timing might choose another one the second time; the bits would be others."""
    whole = train(uniform, 5, max_iter=8, backend="einsum", threads=1)
    train(uniform, 5, max_iter=4, backend="einsum", threads=1, checkpoint=path)
    resumed = train(uniform, 5, max_iter=8, backend="auto", threads=1, checkpoint=path, resume=True)
    assert resumed.receipt.backend == "einsum"
    assert same(resumed, whole)


def test_a_default_goes_on_with_the_backend_of_the_checkpoint(
    uniform: Array, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be another one after something was installed; the bits would be others."""
    monkeypatch.delenv("SPARSAE_BACKEND", raising=False)
    monkeypatch.setattr(selection, "default_backend", lambda: "einsum")
    whole = train(uniform, 5, max_iter=8, threads=1)
    train(uniform, 5, max_iter=4, threads=1, checkpoint=path)
    monkeypatch.setattr(selection, "default_backend", lambda: "dot")
    resumed = train(uniform, 5, max_iter=8, threads=1, checkpoint=path, resume=True)
    assert resumed.receipt.backend == "einsum"
    assert same(resumed, whole)


def test_another_fit_is_refused_with_every_difference(uniform: Array, path: Path) -> None:
    """Data, sizes, settings, backend, version, method, seed: all that differ are named, and the file is unchanged."""
    train(uniform, 5, max_iter=2, backend="dot", checkpoint=path)
    before = path.read_bytes()
    other = uniform.copy()
    other[3, 4] += 1e-12
    with pytest.raises(CheckpointError, match=r"run.ckpt belongs to another fit: the data are not the same\. Give"):
        train(other, 5, backend="dot", checkpoint=path, resume=True)
    with pytest.raises(
        CheckpointError,
        match=r"rho is 0.02 here and 0.01 in the checkpoint; .*backend is 'numpy' here and 'dot'.*"
        r"method is 'adam' here and 'lbfgs' .*seed is 3 here and 0",
    ):
        train(uniform, 5, rho=0.02, backend="numpy", method="adam", seed=3, checkpoint=path, resume=True)
    with pytest.raises(CheckpointError, match="n_hidden is 6 here and 5 in the checkpoint"):
        train(uniform, 6, backend="dot", checkpoint=path, resume=True)
    assert path.read_bytes() == before


def test_another_version_of_the_backend_is_refused(uniform: Array, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its bits may be others."""
    from sparsae.plugins.selection import select

    train(uniform, 5, max_iter=2, checkpoint=path)

    def newer(*arguments: Any) -> Any:
        from dataclasses import replace

        chosen = select(*arguments)
        return replace(chosen, record=replace(chosen.record, version="99"))

    monkeypatch.setattr("sparsae.objective.select", newer)
    with pytest.raises(CheckpointError, match="distribution_version is '99' here and"):
        train(uniform, 5, checkpoint=path, resume=True)


def test_an_existing_checkpoint_is_not_overwritten_by_a_new_fit(uniform: Array, path: Path) -> None:
    """Forgetting to resume must not cost the run."""
    train(uniform, 5, max_iter=2, checkpoint=path)
    with pytest.raises(errors.OutputExistsError, match=r"run.ckpt exists; resume=True \(--resume\) goes on from it"):
        train(uniform, 5, checkpoint=path)


def test_the_last_two_are_kept(uniform: Array, path: Path) -> None:
    """And nothing else is left in the folder."""
    train(uniform, 5, max_iter=9, checkpoint=Checkpoint(path, every=2))
    assert load(path).header["iteration"] == 9
    assert load(previous(path)).header["iteration"] == 8
    assert sorted(p.name for p in path.parent.iterdir()) == ["run.ckpt", "run.ckpt.previous"]


def test_seconds_between_checkpoints(uniform: Array, path: Path) -> None:
    """Zero seconds: after every iteration."""
    train(uniform, 5, max_iter=5, checkpoint=Checkpoint(path, seconds=0))
    assert load(previous(path)).header["iteration"] == 4


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def _foreign(path: Path) -> None:
    path.write_text("a shopping list")


def _archive(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, header=np.frombuffer(b'{"format": "other"}', np.uint8), history=np.zeros(3))


def _array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def _later(path: Path) -> None:
    with path.open("wb") as file:
        header = b'{"format": "sparsae checkpoint", "version": 99}'
        np.savez(file, header=np.frombuffer(header, np.uint8), history=np.zeros(3))


SPOIL = {
    "truncated": _truncate,
    "one bit flipped": _flip,
    "foreign": _foreign,
    "another archive": _archive,
    "a bare array": _array,
    "a later version": _later,
    "empty": lambda path: path.write_bytes(b""),
    "gone": lambda path: path.unlink(),
}


@pytest.mark.parametrize("damage", SPOIL)
def test_a_spoilt_checkpoint_falls_back_to_the_one_before(uniform: Array, path: Path, damage: str) -> None:
    """And says so; the fit ends with the bits of never having stopped, and both files are whole again."""
    whole = train(uniform, 5, max_iter=12)
    train(uniform, 5, max_iter=9, checkpoint=Checkpoint(path, every=4))
    SPOIL[damage](path)
    with pytest.warns(CheckpointWarning, match=r"goes on from the one before, .*run.ckpt.previous, at iteration 8"):
        resumed = train(uniform, 5, max_iter=12, checkpoint=Checkpoint(path, every=1), resume=True)
    assert same(resumed, whole)
    assert (load(path).header["iteration"], load(previous(path)).header["iteration"]) == (12, 11)


def test_a_spoilt_file_never_takes_the_place_of_the_one_before(
    uniform: Array, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fallback the first save leaves the good one alone, so that a kill in the middle loses nothing."""
    train(uniform, 5, max_iter=9, checkpoint=Checkpoint(path, every=4))
    _flip(path)
    kept = previous(path).read_bytes()
    with pytest.warns(CheckpointWarning):
        train(uniform, 5, max_iter=10, checkpoint=Checkpoint(path, every=100), resume=True)
    assert previous(path).read_bytes() == kept
    assert load(path).header["iteration"] == 10


def test_where_both_are_spoilt_it_is_an_error(uniform: Array, path: Path) -> None:
    """Both reasons are given, and the files are left for the user to look at."""
    train(uniform, 5, max_iter=9, checkpoint=Checkpoint(path, every=4))
    _truncate(path)
    _foreign(previous(path))
    with pytest.raises(
        CheckpointError, match=r"run.ckpt is truncated or damaged, .*previous is truncated or damaged.* Remove them"
    ):
        train(uniform, 5, checkpoint=path, resume=True)
    assert previous(path).read_text() == "a shopping list"
