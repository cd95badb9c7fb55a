"""Checkpoints and model files that are damaged or hostile: all of them is loaded, or a `FileFormatError` says why."""

from __future__ import annotations

import io
import json
import os
import tracemalloc
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.damaged_archives import checkpoint_outcome, model_outcome
from tests.support.damaged_files import damaged

import sparsae
from sparsae.errors import FileAccessError, FileFormatError
from sparsae.training import archive, checkpoint
from sparsae.training.archive import read_archive, write_archive

pytestmark = pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
X = np.random.default_rng(0).uniform(0.1, 0.9, (40, 6))


@pytest.fixture(scope="module")
def result() -> sparsae.TrainResult:
    """A short fit."""
    return sparsae.train(X, 3, max_iter=5)


@pytest.fixture
def model(tmp_path: Path, result: sparsae.TrainResult) -> Path:
    """Its model file."""
    sparsae.save(tmp_path / "m.npz", result)
    return tmp_path / "m.npz"


@pytest.mark.parametrize("method", ["lbfgs", "sgd"])
def test_a_damaged_checkpoint_is_whole_or_falls_back(tmp_path: Path, method: str) -> None:
    """300 seeded damages: the bits are those saved, or those saved before; nothing else."""
    path = tmp_path / "run.ckpt"
    sparsae.train(X, 3, method=method, max_iter=6, checkpoint=sparsae.Checkpoint(path, every=2))
    content = path.read_bytes()
    newest, before = checkpoint.load(path), checkpoint.load(checkpoint.previous(path))
    outcomes = Counter(checkpoint_outcome(path, c, newest, before) for c in damaged(content, 300, seed=0))
    assert outcomes["fell back"] > 250
    assert set(outcomes) <= {"fell back", "whole"}


def test_a_damaged_model_file_is_whole_or_refused(model: Path, result: sparsae.TrainResult) -> None:
    """300 seeded damages: the same model, or a FileFormatError in one line."""
    outcomes = Counter(model_outcome(model, c, result) for c in damaged(model.read_bytes(), 300, seed=1))
    assert outcomes["FileFormatError"] > 250
    assert set(outcomes) <= {"FileFormatError", "whole"}


def members(path: Path) -> dict[str, bytes]:
    """The members of an archive."""
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def rewrite(path: Path, contents: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Write an archive whose checksums are right, whatever it holds."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


def npy(array: np.ndarray[Any, Any]) -> bytes:
    """An array as a member."""
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def edited_header(path: Path, edit: Any) -> dict[str, bytes]:
    """The members, with an edit of the header."""
    contents = members(path)
    header = json.loads(np.load(io.BytesIO(contents["header.npy"])).tobytes())
    edit(header)
    return contents | {"header.npy": npy(np.frombuffer(json.dumps(header).encode(), np.uint8))}


HOSTILE: dict[str, Any] = {
    "a member that is missing": lambda p: {k: v for k, v in members(p).items() if k != "parameters.b1.npy"},
    "a member too many": lambda p: members(p) | {"extra.npy": npy(np.zeros(2))},
    "an array of another shape": lambda p: members(p) | {"parameters.b1.npy": npy(np.zeros(4))},
    "an array of another dtype": lambda p: members(p) | {"parameters.b1.npy": npy(np.zeros(3, np.int64))},
    "an array with other values": lambda p: members(p) | {"parameters.b1.npy": npy(np.ones(3))},
    "an array of objects": lambda p: members(p) | {"parameters.b1.npy": npy(np.array([None] * 3, dtype=object))},
    "bytes after an array": lambda p: members(p) | {"parameters.b1.npy": npy(np.zeros(3)) + b"x"},
    "no array": lambda p: members(p) | {"parameters.b1.npy": b"text"},
    "a header without a status": lambda p: edited_header(p, lambda h: h.pop("status")),
    "a status of another kind": lambda p: edited_header(p, lambda h: h["status"].update(reason="tired")),
    "a cost that is text": lambda p: edited_header(p, lambda h: h.update(cost="low")),
    "a receipt that is a list": lambda p: edited_header(p, lambda h: h.update(receipt=[])),
    "metrics that are a list": lambda p: edited_header(p, lambda h: h.update(metrics=[])),
    "versions that are a list": lambda p: edited_header(p, lambda h: h["receipt"].update(versions=[])),
    "notes that are an object": lambda p: edited_header(p, lambda h: h["receipt"].update(notes={})),
    "a receipt without a backend": lambda p: edited_header(p, lambda h: h["receipt"].pop("backend")),
    "members that are a list": lambda p: edited_header(p, lambda h: h.update(members=[])),
    "a member without a shape": lambda p: edited_header(p, lambda h: h["members"]["history.cost"].pop("shape")),
    "a version that is text": lambda p: edited_header(p, lambda h: h.update(version="1")),
    "a header that is no JSON": lambda p: members(p) | {"header.npy": npy(np.frombuffer(b"{", np.uint8))},
    "a header that is a number": lambda p: members(p) | {"header.npy": npy(np.frombuffer(b"3", np.uint8))},
    "JSON nested without end": lambda p: members(p) | {"header.npy": npy(np.frombuffer(b"[" * 10**5, np.uint8))},
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_model_file_made_by_hand_is_checked(model: Path, kind: str) -> None:
    """Its zip checksums are right, its contents are not: one line that names the file."""
    rewrite(model, HOSTILE[kind](model))
    with pytest.raises(FileFormatError, match=r"m\.npz is ") as caught:
        sparsae.load(model)
    assert "\n" not in str(caught.value)


def test_a_compressed_archive_is_refused_before_it_expands(model: Path) -> None:
    """200 MB of zeros in 200 kB: refused, with no memory for them."""
    rewrite(model, members(model) | {"parameters.W1.npy": npy(np.zeros(25 * 10**6))}, zipfile.ZIP_DEFLATED)
    assert model.stat().st_size < 10**6
    tracemalloc.start()
    try:
        with pytest.raises(FileFormatError, match="compressed"):
            sparsae.load(model)
        assert tracemalloc.get_traced_memory()[1] < 10**7
    finally:
        tracemalloc.stop()


def test_a_declared_shape_allocates_nothing_beyond_the_file(model: Path) -> None:
    """A header that declares 8 TB where 24 bytes are: compared with the file before memory is taken."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})

    def declare(header: Any) -> None:
        header["members"]["parameters.b1"]["shape"] = [10**12]

    rewrite(model, edited_header(model, declare) | {"parameters.b1.npy": file.getvalue() + bytes(24)})
    with pytest.raises(FileFormatError, match="shorter than its shape"):
        sparsae.load(model)


def test_two_members_of_one_name_are_refused(model: Path) -> None:
    """Which one is meant cannot be known."""
    contents = members(model)
    rewrite(model, contents)
    with zipfile.ZipFile(model, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("parameters.b1.npy", contents["parameters.b1.npy"])
    with pytest.raises(FileFormatError, match="two members of one name"):
        sparsae.load(model)


def test_arrays_beyond_the_memory_limit_are_refused(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they are read; the message has both sizes."""
    monkeypatch.setattr("sparsae.training.archive.memory_limit", lambda: 1000)
    with pytest.raises(FileFormatError, match="GiB of arrays and the memory limit is"):
        sparsae.load(model)


def test_what_is_written_comes_back(tmp_path: Path) -> None:
    """Shapes, dtypes and orders: empty, without dimensions, F-ordered, strided, float32 and integers."""
    arrays = {
        "empty": np.zeros(0),
        "scalar": np.array(2.5),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "strided": np.arange(10, dtype=np.float32)[::3],
        "integers": np.arange(4),
    }
    with (tmp_path / "a.npz").open("wb") as file:
        write_archive(file, {"format": "sparsae test", "version": 1}, arrays)
    header, again = read_archive(tmp_path / "a.npz", kind="sparsae test", version=1, what="test file")
    assert header == {"format": "sparsae test", "version": 1}
    for name, array in arrays.items():
        assert (again[name].dtype, again[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(again[name], array)
        assert again[name].flags.writeable


def test_a_checkpoint_made_by_hand_is_checked(tmp_path: Path) -> None:
    """Without its counts, with another curve, with an unknown member: a FileFormatError."""
    path = tmp_path / "run.ckpt"
    sparsae.train(X, 3, max_iter=2, checkpoint=path)
    whole = checkpoint.load(path)
    for saved in (
        checkpoint.SavedFit({k: v for k, v in whole.header.items() if k != "counts"}, whole.arrays, whole.history),
        checkpoint.SavedFit(whole.header, whole.arrays, whole.history[:, :5]),
        checkpoint.SavedFit({**whole.header, "columns": ["cost"]}, whole.arrays, whole.history),
    ):
        checkpoint.save(path, saved)
        with pytest.raises(FileFormatError, match=r"run\.ckpt is damaged"):
            checkpoint.load(path)


def test_a_state_of_another_method_is_a_checkpoint_error(tmp_path: Path) -> None:
    """Arrays that the optimiser does not know, behind a header that fits."""
    path = tmp_path / "run.ckpt"
    sparsae.train(X, 3, max_iter=2, checkpoint=path)
    whole = checkpoint.load(path)
    arrays = {name: array for name, array in whole.arrays.items() if name != "rows"}
    checkpoint.save(path, checkpoint.SavedFit(whole.header, arrays, whole.history))
    with pytest.raises(
        sparsae.errors.CheckpointError, match=r"does not hold the state of this optimiser: KeyError: 'rows'"
    ):
        sparsae.train(X, 3, max_iter=4, checkpoint=path, resume=True)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("name", ["run.ckpt", "run.ckpt.previous", "run.ckpt.part"])
def test_a_named_pipe_as_a_checkpoint_is_refused(tmp_path: Path, name: str, *, resume: bool) -> None:
    """Before training, without waiting for a writer or a reader; the pipe is still there."""
    os.mkfifo(tmp_path / name)
    with pytest.raises(FileAccessError, match=rf"{name} is a named pipe; name a regular file"):
        sparsae.train(X, 3, max_iter=2, checkpoint=tmp_path / "run.ckpt", resume=resume)
    assert (tmp_path / name).is_fifo()


def test_a_link_is_followed(tmp_path: Path) -> None:
    """The target of the link is written, beside the target; the link stays."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "here" / "run.ckpt", tmp_path / "there" / "real.ckpt"
    link.symlink_to(target)
    sparsae.train(X, 3, max_iter=4, checkpoint=sparsae.Checkpoint(link, every=2))
    assert link.is_symlink()
    assert checkpoint.load(target).header["iteration"] == 4
    assert sorted(p.name for p in target.parent.iterdir()) == ["real.ckpt", "real.ckpt.previous"]
    resumed = sparsae.train(X, 3, max_iter=6, checkpoint=link, resume=True)
    assert "Resumed at iteration 4." in resumed.receipt.notes


def test_a_link_in_a_circle_is_refused(tmp_path: Path) -> None:
    """One line, before training."""
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(FileAccessError, match="No checkpoint can be written to"):
        sparsae.train(X, 3, checkpoint=tmp_path / "a")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes")
def test_a_named_pipe_as_a_model_file_is_refused(tmp_path: Path) -> None:
    """Without waiting for a writer."""
    os.mkfifo(tmp_path / "m.npz")
    with pytest.raises(FileAccessError, match="is a named pipe; a model file must be a regular file"):
        sparsae.load(tmp_path / "m.npz")


def test_members_that_end_early_or_are_of_another_version_are_refused() -> None:
    """What zipfile says of their length is not believed."""
    with pytest.raises(ValueError, match="a member ends early"):
        archive._fill(io.BytesIO(b"abc"), memoryview(bytearray(4)))
    with pytest.raises(ValueError, match="a member is longer than its shape"):
        archive._fill(io.BytesIO(b"abcde"), memoryview(bytearray(4)))
    later = io.BytesIO()
    np.lib.format.write_array(later, np.zeros(3), version=(2, 0))
    later.seek(0)
    with pytest.raises(ValueError, match="a format version that sparsae does not write"):
        archive._read_npy_header(later)


def test_what_is_no_file_is_no_checkpoint(tmp_path: Path) -> None:
    """Neither a folder nor what does not exist."""
    assert not checkpoint.is_checkpoint(tmp_path)
    assert not checkpoint.is_checkpoint(tmp_path / "none.npz")
