"""Rows in files: the same values as an array, and an error where a memory map would end the process."""

import itertools
import os
import tempfile
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from sparsae import DataError, Objective
from sparsae.engine import piece_cache, readahead, storage, temporary_copy
from sparsae.engine.binary_file import BinaryFile, open_binary
from sparsae.engine.chunked_rows import ChunkedRows
from sparsae.engine.npy_file import open_npy
from sparsae.engine.piece_cache import PieceCache
from sparsae.engine.row_file import RowFile
from sparsae.engine.sources import DataSource, dtype_note
from sparsae.errors import DataWarning, FileAccessError, FileFormatError, FileMissingError, SparsaeError


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "f4", "f2", "u1", "?"])
def test_slices_and_row_numbers_give_what_the_array_gives(tmp_path, order, dtype):
    """Any order and dtype; runs of rows, single rows, masks, nothing at all."""
    X = np.asarray(np.random.default_rng(0).random((37, 5)) * 2, dtype=dtype, order=order)
    np.save(tmp_path / "x.npy", X)
    rows = open_npy(tmp_path / "x.npy")
    native = X.dtype.newbyteorder("=")
    assert (rows.shape, rows.dtype, len(rows)) == (X.shape, native, 37)
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
        assert got.dtype == native
        assert got.flags.c_contiguous
    for key in ([37], [-1], 3, [[1]]):
        with pytest.raises(IndexError):
            rows[key]


def test_a_file_that_is_truncated_meanwhile_is_an_error_with_the_row(tmp_path):
    """A memory map would be SIGBUS; rows before the cut are still read."""
    path = tmp_path / "x.npy"
    np.save(path, np.zeros((100, 4)))
    rows = open_npy(path)
    os.truncate(path, 128 + 32 * 60 + 8)
    assert rows[:60].shape == (60, 4)
    with pytest.raises(
        DataError, match=r"x.npy was truncated while it was read: row 60 \(counted from 0\) is not whol"
    ):
        rows[50:70]
    np.save(tmp_path / "f.npy", np.zeros((100, 4), order="F"))
    rows = open_npy(tmp_path / "f.npy")
    os.truncate(tmp_path / "f.npy", 128 + 32 * 60)
    with pytest.raises(DataError, match="truncated while it was read: its header promises 100 rows"):
        rows[50:70]


def test_what_is_not_a_whole_file_of_numbers_is_refused_when_it_is_opened(tmp_path):
    """Missing, a folder, a FIFO, text, truncated, objects, text values, a scalar, a huge shape: never another error."""
    with pytest.raises(FileMissingError, match="does not exist"):
        open_npy(tmp_path / "none.npy")
    with pytest.raises((FileAccessError, FileFormatError)):
        open_npy(tmp_path)
    os.mkfifo(tmp_path / "pipe.npy")
    with pytest.raises(FileFormatError, match="not a regular file"):
        open_npy(tmp_path / "pipe.npy")
    (tmp_path / "text.npy").write_text("a,b\n1,2\n", encoding="ascii")
    with pytest.raises(FileFormatError, match=r"not a \.npy file, or its header is damaged"):
        open_npy(tmp_path / "text.npy")
    for name, array, message in (
        ("objects", np.array([[None]]), "dtype object"),
        ("words", np.array([["a"]]), "dtype <U1"),
        ("scalar", np.array(1.0), r"shape \(\)"),
    ):
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
        with pytest.raises(FileFormatError, match=message):
            open_npy(tmp_path / f"{name}.npy")
    np.save(tmp_path / "x.npy", np.zeros((10, 3)))
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(whole[:-1])
    with pytest.raises(FileFormatError, match="truncated: its header promises 368 bytes and it has 367"):
        open_npy(tmp_path / "x.npy")
    huge = whole[:10] + whole[10:].replace(b"(10, 3), }", b"(99999999, 99999999), }", 1)
    (tmp_path / "x.npy").write_bytes(huge.replace(b" " * 13 + b"\n", b"\n", 1))
    with pytest.raises(FileFormatError, match="truncated: its header promises 79,999,998,"):
        open_npy(tmp_path / "x.npy")


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
            open_npy(tmp_path / "m.npy")[:2]
            opened += 1
        except SparsaeError:
            pass
    assert opened > 0


def test_the_file_is_closed_and_the_readahead_thread_ends_when_it_is_dropped(tmp_path, monkeypatch):
    """Neither a descriptor nor a thread remains; each window is requested once while the disk is read."""
    monkeypatch.setattr(readahead, "WINDOW_BYTES", 1 << 12)
    asked = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, start, length, advice: asked.append(start), raising=False)
    reads = itertools.count()
    monkeypatch.setattr(readahead, "reads_from_disk", lambda: (0, next(reads)))
    np.save(tmp_path / "x.npy", np.zeros((1000, 8)))
    rows = open_npy(tmp_path / "x.npy")
    for start in range(0, 1000, 10):
        rows.will_need(start, start + 10)
    (thread,) = [t for t in threading.enumerate() if t.name == "sparsae-readahead"]
    del rows
    thread.join(300)
    assert not thread.is_alive()
    names = {os.path.realpath(link) for link in Path("/proc/self/fd").iterdir()}
    assert str(tmp_path / "x.npy") not in names
    assert asked == [(window + 1) << 12 for window in range(16)]


def test_what_is_in_memory_is_not_requested_again(tmp_path, monkeypatch):
    """Nothing was read from the disk: one request, no more; something is read again: one more."""
    monkeypatch.setattr(readahead, "WINDOW_BYTES", 1 << 12)
    monkeypatch.setattr(readahead, "reads_from_disk", lambda: (7, 7))
    monkeypatch.setattr(readahead, "_advise", lambda fd, requests: None)
    advice = readahead.Readahead(0)
    for window in range(40):
        advice.ask(window << 12, window << 12)
    assert advice._requests.qsize() == 1
    monkeypatch.setattr(readahead, "reads_from_disk", lambda: (8, 7))
    advice.ask(50 << 12, 50 << 12)
    assert advice._requests.qsize() == 2


def test_a_transposed_file_and_bfloat16_are_read_as_they_are_wanted(tmp_path):
    """Rows become columns without a copy; the upper halves of float32 numbers become those numbers."""
    X = np.random.default_rng(0).random((7, 5))
    np.save(tmp_path / "x.npy", X)
    turned = open_npy(tmp_path / "x.npy").transposed()
    np.testing.assert_array_equal(turned[1:4], X.T[1:4])
    np.testing.assert_array_equal(turned.transposed()[[0, 6]], X[[0, 6]])
    wanted = np.array([[1.0, -0.5, np.inf], [3.140625, 0.0, 2.0**-130]], np.float32)
    bits = (wanted.view(np.uint32) >> 16).astype(np.uint16)
    (tmp_path / "x.bin").write_bytes(bits.tobytes())
    options = {"shape": (2, 3), "dtype": bits.dtype, "offset": 0, "bfloat16": True}
    rows = BinaryFile(tmp_path / "x.bin", open_binary(tmp_path / "x.bin"), **options)
    assert (rows.dtype, rows.stored_as) == (np.float32, "bfloat16")
    np.testing.assert_array_equal(rows[:], wanted)
    np.testing.assert_array_equal(rows.transposed()[:], wanted.T)
    assert dtype_note(DataSource(rows, "X"), X.dtype) == ("X is bfloat16; it is computed in float64.",)
    assert dtype_note(DataSource(rows[:1], "X"), X.dtype) == ()


def test_rows_in_chunks_are_decoded_once_in_a_pass_by_several_threads(monkeypatch):
    """Whatever the blocks are; a chunk that fails is named by its rows, and the next read tries again."""
    X = np.random.default_rng(0).random((1000, 6))
    decoded, broken = [], set()

    def decode(first, last):
        decoded.append(first)
        if first in broken:
            raise OSError("gone")
        return X[first:last].astype(np.float32)

    rows = ChunkedRows("x.zarr", X.shape, np.dtype(np.float64), [*range(0, 1000, 70), 1000], decode)
    assert rows.in_order
    np.testing.assert_array_equal(rows[:], X.astype(np.float32))
    decoded.clear()
    monkeypatch.setattr(storage, "SHARE", 1 << 60)
    with Objective(rows, 3, output="linear", threads=2, block_rows=16, temporary_copy=False) as objective:
        objective(np.zeros(objective.size))
        assert sorted(decoded) == list(range(0, 1000, 70))
        broken.add(140)
        with pytest.raises(DataError, match=r"x.zarr: rows 140 to 209 \(counted from 0\) cannot be read.*: gone\."):
            objective(np.zeros(objective.size))
        broken.clear()
        objective(np.zeros(objective.size))


def test_rows_need_no_more_than_a_way_to_read_them():
    """No hints, no check of the file: the numbers are those of the array, in blocks, by number, and as an array."""
    X = np.random.default_rng(0).random((50, 3)).astype(np.float32)

    class Plain(RowFile):
        label, shape, dtype = "plain", X.shape, X.dtype

        def read_into(self, start, stop, out):
            out[...] = X[start:stop]

    for dtype in (None, np.float64):
        got = np.asarray(Plain(), dtype=dtype)
        np.testing.assert_array_equal(got, X)
        assert got.dtype == (dtype or np.float32)
    source = DataSource(Plain(), "X")
    np.testing.assert_array_equal(source.rows(slice(7, 9), X.dtype), X[7:9])
    np.testing.assert_array_equal(source.take(np.array([3, 8, 9]), X.dtype), X[[3, 8, 9]])


def test_chosen_rows_that_are_not_there_any_more_are_named(tmp_path):
    """What the reader says comes out as it is."""
    np.save(tmp_path / "x.npy", np.zeros((100, 4)))
    source = DataSource(open_npy(tmp_path / "x.npy"), "X")
    os.truncate(tmp_path / "x.npy", 128 + 32 * 60)
    with pytest.raises(DataError, match=r"x.npy was truncated while it was read: row 60 .* promises 100 rows\.$"):
        source.take(np.array([3, 60]), np.dtype(float))


class Child(SimpleNamespace):
    """What `os` says in the child after a fork."""

    def getpid(self):
        return -1


def test_pieces_are_decoded_anew_after_a_fork_whoever_held_the_locks(monkeypatch):
    """Another thread of the parent may have held them: the child waits for none of them, and is told of no piece."""
    cache = PieceCache()
    cache.add("a", np.zeros(3), n_rows=3, n_bytes=24)
    assert cache.find("a") is not None
    found = []

    def child():
        found.append(cache.find("a"))
        cache.add("a", np.ones(3), n_rows=3, n_bytes=24)
        found.append(cache.find("a"))

    with cache._lock, cache.turn("a"):
        monkeypatch.setattr(piece_cache, "os", Child())
        thread = threading.Thread(target=child, daemon=True)
        thread.start()
        thread.join(60)
    assert found[0] is None
    np.testing.assert_array_equal(found[1], np.ones(3))


def test_memory_that_is_short_is_not_called_damage():
    """A library that gets no memory for a chunk says nothing about the file."""

    def decode(first, last):
        raise MemoryError

    rows = ChunkedRows("x.zarr", (10, 2), np.dtype(np.float32), [0, 10], decode)
    with pytest.raises(DataError, match=r"x.zarr: rows 0 to 9 \(counted from 0\) do not fit into memory at once"):
        rows[:]


def test_rows_that_can_only_be_read_in_order_are_copied_for_mini_batches(monkeypatch, tmp_path):
    """Once, with a warning; the copy has no name and its space is checked."""
    X = np.random.default_rng(0).random((300, 4)).astype(np.float32)
    decoded = []
    rows = ChunkedRows("x.h5", X.shape, X.dtype, [0, 100, 300], lambda a, b: decoded.append(a) or X[a:b])
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    source = DataSource(rows, "X")
    with pytest.warns(DataWarning, match=r"x.h5 can only be read in order .* temporary copy of 0.0 MiB in"):
        np.testing.assert_array_equal(source.take(np.array([3, 7, 200]), X.dtype), X[[3, 7, 200]])
    np.testing.assert_array_equal(source.take(np.array([0, 299]), X.dtype), X[[0, 299]])
    np.testing.assert_array_equal(source.rows(slice(5, 9), X.dtype), X[5:9])
    assert decoded == [0, 100]
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(temporary_copy.shutil, "disk_usage", lambda folder: SimpleNamespace(free=100))
    with pytest.raises(DataError, match=r"needs 0.0 MiB in .*, where it may take 0.0 MiB\. Set TMPDIR"):
        DataSource(rows, "X").take(np.array([1]), X.dtype)
    monkeypatch.undo()
    full = partial(open, "/dev/full", "wb")
    monkeypatch.setattr(temporary_copy.tempfile, "TemporaryFile", lambda **kw: full())
    with pytest.warns(DataWarning), pytest.raises(DataError, match=r"cannot be copied to .*No space left on device"):
        DataSource(rows, "X").take(np.array([1]), X.dtype)
