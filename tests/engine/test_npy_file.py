"""Rows of a .npy file by pread: the same values as an array, and an error where a map would end the process."""

import itertools
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from sparsae import DataError
from sparsae.engine import npy_file
from sparsae.engine.npy_file import NpyFile
from sparsae.errors import FileAccessError, FileFormatError, FileMissingError, SparsaeError


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "f4", "f2", "u1", "?"])
def test_slices_and_row_numbers_give_what_the_array_gives(tmp_path, order, dtype):
    """Any order and dtype; runs of rows, single rows, masks, nothing at all."""
    X = np.asarray(np.random.default_rng(0).random((37, 5)) * 2, dtype=dtype, order=order)
    np.save(tmp_path / "x.npy", X)
    rows = NpyFile(tmp_path / "x.npy")
    assert (rows.shape, rows.dtype, len(rows)) == (X.shape, X.dtype, 37)
    for key in (
        slice(None),
        slice(3, 9),
        slice(9, 3),
        slice(None, None, 5),
        [0, 1, 2, 7, 8, 36],
        np.arange(37) % 3 == 0,
        np.array([], int),
    ):
        got = rows[key]
        np.testing.assert_array_equal(got, X[key])
        assert got.dtype == X.dtype
        assert got.flags.c_contiguous
    for key in ([37], [-1], 3, [[1]]):
        with pytest.raises(IndexError):
            rows[key]


def test_a_file_that_is_truncated_meanwhile_is_an_error_with_the_row(tmp_path):
    """A memory map would be SIGBUS; rows before the cut are still read."""
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((100, 4)))
    rows = NpyFile(path)
    os.truncate(path, 128 + 32 * 60 + 8)
    assert rows[:60].shape == (60, 4)
    with pytest.raises(
        DataError, match=r"x.npy was truncated while it was read: row 60 \(counted from 0\) is not whol"
    ):
        rows[50:70]
    np.save(tmp_path / "f.npy", np.zeros((100, 4), order="F"))
    rows = NpyFile(tmp_path / "f.npy")
    os.truncate(tmp_path / "f.npy", 128 + 32 * 60)
    with pytest.raises(DataError, match="truncated while it was read: its header promises 100 rows"):
        rows[50:70]


def test_what_is_not_a_whole_file_of_numbers_is_refused_when_it_is_opened(tmp_path):
    """Missing, a folder, a FIFO, text, truncated, objects, text values, a scalar, a huge shape: never another error."""
    with pytest.raises(FileMissingError, match="does not exist"):
        NpyFile(tmp_path / "none.npy")
    with pytest.raises((FileAccessError, FileFormatError)):
        NpyFile(tmp_path)
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(FileFormatError, match="not a regular file"):
        NpyFile(tmp_path / "pipe.npy")
    (tmp_path / "text.npy").write_text("a,b\n1,2\n", encoding="ascii")
    with pytest.raises(FileFormatError, match=r"not a \.npy file, or its header is damaged"):
        NpyFile(tmp_path / "text.npy")
    for name, array, message in (
        ("objects", np.array([[None]]), "dtype object"),
        ("words", np.array([["a"]]), "dtype <U1"),
        ("scalar", np.array(1.0), r"shape \(\)"),
    ):
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
        with pytest.raises(FileFormatError, match=message):
            NpyFile(tmp_path / f"{name}.npy")
    np.save(tmp_path / "x.npy", np.zeros((10, 3)))
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:-1])
    with pytest.raises(FileFormatError, match="truncated: its header promises 368 bytes and it has 367"):
        NpyFile(tmp_path / "x.npy")
    huge = whole[:10] + whole[10:].replace(b"(10, 3), }", b"(99999999, 99999999), }", 1)
    (tmp_path / "x.npy").write_bytes(huge.replace(b" " * 13 + b"\n", b"\n", 1))
    with pytest.raises(FileFormatError, match="truncated: its header promises 79,999,998,"):
        NpyFile(tmp_path / "x.npy")


def test_damaged_headers_never_raise_anything_else(tmp_path):
    """600 seeded mutations: opened, or refused by a SparsaeError."""
    rng = np.random.default_rng(7)
    np.save(tmp_path / "x.npy", rng.random((20, 3)))
    whole = bytearray((tmp_path / "x.npy").read_bytes())
    opened = 0
    for _ in range(600):
        mutated = bytearray(whole)
        for _ in range(rng.integers(1, 4)):
            mutated[rng.integers(0, 128)] = rng.integers(0, 256)
        (tmp_path / "m.npy").write_bytes(mutated)
        try:
            NpyFile(tmp_path / "m.npy")[:2]
            opened += 1
        except SparsaeError:
            pass
    assert opened > 0


def test_the_file_is_closed_and_the_readahead_thread_ends_when_it_is_dropped(tmp_path, monkeypatch):
    """Neither a descriptor nor a thread remains; each window is requested once while the disk is read."""
    monkeypatch.setattr(npy_file, "WINDOW_BYTES", 1 << 12)
    asked = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, start, length, advice: asked.append(start), raising=False)
    reads = itertools.count()
    monkeypatch.setattr(npy_file, "reads_from_disk", lambda: (0, next(reads)))
    np.save(tmp_path / "x.npy", np.zeros((1000, 8)))
    before = len(list(Path("/proc/self/fd").iterdir()))
    rows = NpyFile(tmp_path / "x.npy")
    for start in range(0, 1000, 10):
        rows.will_need(start, start + 10)
    (thread,) = [t for t in threading.enumerate() if t.name == "sparsae-readahead"]
    del rows
    thread.join(10)
    assert not thread.is_alive()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    assert asked == [(window + 1) << 12 for window in range(16)]


def test_what_is_in_memory_is_not_requested_again(tmp_path, monkeypatch):
    """Nothing was read from the disk: one request, no more; something is read again: one more."""
    monkeypatch.setattr(npy_file, "WINDOW_BYTES", 1 << 12)
    monkeypatch.setattr(npy_file, "reads_from_disk", lambda: (7, 7))
    monkeypatch.setattr(npy_file, "_advise", lambda fd, requests: None)
    advice = npy_file.Readahead(0)
    for window in range(40):
        advice.ask(window << 12, window << 12)
    assert advice._requests.qsize() == 1
    monkeypatch.setattr(npy_file, "reads_from_disk", lambda: (8, 7))
    advice.ask(50 << 12, 50 << 12)
    assert advice._requests.qsize() == 2
