"""Data that is read block by block: nothing grows with its rows, and what changes or vanishes is noticed."""

import itertools
import json
import mmap
import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pytest
from tests.support.kernels import WholeKernel

import sparsae
from sparsae import Backend, DataError, Objective, ParameterError, Parameters
from sparsae.engine import memmap as mapped
from sparsae.engine import storage
from sparsae.engine.setup import choose_block_rows
from sparsae.engine.sources import DataSource
from sparsae.engine.storage import choose_storage


def data(m, n, *, dtype=np.float64, seed=0):
    """Uniform rows."""
    return np.random.default_rng(seed).random((m, n)).astype(dtype)


PEAKS = """
import json, sys, tracemalloc
import numpy as np
from sparsae import Objective, Parameters
peaks = []
for m in (4096, 16384):
    X = np.random.default_rng(0).random((m, 32))
    theta = Parameters.random(32, 16).flatten()
    with Objective(X, 16, backend=sys.argv[1], threads=1, passes=int(sys.argv[2]), block_rows=256) as objective:
        for _ in range(2):
            objective(theta)
        tracemalloc.start()
        objective(theta)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
print(json.dumps(peaks))
"""


@pytest.mark.parametrize("passes", [1, 2])
def test_nothing_that_grows_with_rows_is_allocated_in_steady_state(backend, passes):
    """Tracemalloc over an evaluation: the peak is the same for 4 times the rows ("workers" backends).

    In an interpreter of its own: threads that other tests have left allocate too.
    """
    if sparsae.get_backend(backend).threading != "workers":
        pytest.skip("promised for backends that share rows among workers")
    done = subprocess.run([sys.executable, "-c", PEAKS, backend, str(passes)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    peaks = json.loads(done.stdout)
    assert peaks[1] < peaks[0] + 4096
    # The gradient is 8.5 kB; NumPy's own iterator takes up to 65 kB for adding a bias to rows, whatever their number.
    assert max(peaks) < 100_000


@pytest.fixture
def streaming(monkeypatch):
    """The memory share is nothing, so that all data is read block by block."""
    monkeypatch.setattr(storage, "SHARE", 1 << 60)


@pytest.mark.usefixtures("streaming")
def test_a_memory_map_that_does_not_fit_is_streamed_in_one_pass_and_never_copied(tmp_path):
    """One pass, blocks prepared on the fly, and the same result as in memory; two passes when asked."""
    X = data(3000, 16, dtype=np.float32)
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    theta = Parameters.random(16, 4).flatten()
    with Objective(mapped, 4, block_rows=128) as streamed, Objective(X, 4, block_rows=128, passes=1) as memory:
        assert (streamed.receipt.storage, streamed.receipt.passes) == ("streamed", 1)
        tracemalloc.start()
        cost, gradient = streamed(theta)
        assert tracemalloc.get_traced_memory()[1] < X.nbytes / 2
        tracemalloc.stop()
        other = memory(theta)
        assert cost == other[0]
        np.testing.assert_array_equal(gradient, other[1])
    with Objective(mapped, 4, block_rows=128, passes=2) as twice:
        np.testing.assert_allclose(twice(theta)[0], cost, rtol=1e-6)


class Map:
    """A memory map that remembers the advice that it was given."""

    def __init__(self, real):
        self.real, self.asked = real, []

    def __len__(self):
        return len(self.real)

    def madvise(self, option, start, length):
        self.asked.append((start, length))
        self.real.madvise(option, start, length)


@pytest.fixture
def spied(tmp_path, monkeypatch, streaming):
    """An objective on a slice of a mapped file that is read in 21 windows, and the advice given on it."""
    monkeypatch.setattr(mapped, "AHEAD_BYTES", 1 << 14)
    X = data(3000, 16)
    np.save(tmp_path / "x.npy", X)
    objective = Objective(np.load(tmp_path / "x.npy", mmap_mode="r")[300:], 3, block_rows=50, threads=1)
    objective._x._map._map = asked = Map(objective._x._map._map)
    return objective, asked, X[300:], (tmp_path / "x.npy").stat().st_size


def test_read_ahead_asks_for_what_comes_next(spied, monkeypatch):
    """While the disk is read, advice is given once a window, for pages of the map only; results are the same."""
    objective, given, X, size = spied
    reads = itertools.count()
    monkeypatch.setattr(mapped, "reads_from_disk", lambda: (0, next(reads)))
    cost, _ = objective(np.zeros(objective.size))
    assert cost == Objective(X, 3, block_rows=50, passes=1)(np.zeros(objective.size))[0]
    assert len(given.asked) == pytest.approx(2700 * 128 / (1 << 14), abs=2)
    assert all(start % 4096 == 0 and length > 0 and start + length <= size for start, length in given.asked)


def test_what_is_in_memory_is_not_asked_for_again(spied, monkeypatch):
    """Nothing is read from the disk: one question, no more; something is read again: one more."""
    objective, given, *_ = spied
    monkeypatch.setattr(mapped, "reads_from_disk", lambda: (7, 7))
    for _ in range(2):
        objective(np.zeros(objective.size))
    assert len(given.asked) == 1
    monkeypatch.setattr(mapped, "reads_from_disk", lambda: (8, 7))
    objective(np.zeros(objective.size))
    assert len(given.asked) == 2


def test_nothing_is_asked_for_behind_the_end_of_a_file(tmp_path, monkeypatch):
    """A file that ends with a page: after its last rows there is nothing to read."""
    monkeypatch.setattr(mapped, "AHEAD_BYTES", 1 << 14)
    reads = itertools.count()
    monkeypatch.setattr(mapped, "reads_from_disk", lambda: (0, next(reads)))
    data(8 * mmap.PAGESIZE // 128, 16).tofile(tmp_path / "x")
    X = np.memmap(tmp_path / "x", float, "r").reshape(-1, 16)
    file = mapped.MappedFile(X, "X")
    file._map = asked = Map(file._map)
    for start in range(0, len(X), 16):
        file.before_read(slice(start, start + 16))
    assert next(reads) == 8 * mmap.PAGESIZE // (1 << 14)
    assert [start + length for start, length in asked.asked] == [8 * mmap.PAGESIZE] * (next(reads) - 2)


class Rows:
    """Something with shape, dtype and row slicing that is no NumPy array, such as an HDF5 data set."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype
        self.reads = []

    def __getitem__(self, where):
        self.reads.append(where)
        return self.array[where]


@pytest.mark.usefixtures("streaming")
def test_any_array_like_with_row_slicing_is_read_once_an_evaluation():
    """Each row is read exactly once, in blocks, and NaN is found on the first pass."""
    rows = Rows(data(1000, 5))
    with Objective(rows, 3, block_rows=100, threads=2) as objective:
        cost, _ = objective(np.zeros(objective.size))
    assert sorted((r.start, r.stop) for r in rows.reads) == [(i, i + 100) for i in range(0, 1000, 100)]
    np.testing.assert_allclose(cost, Objective(rows.array, 3, passes=2)(np.zeros(objective.size))[0], rtol=1e-13)
    bad = data(1000, 5)
    bad[731, 2] = np.nan
    with pytest.raises(DataError, match="1 value that is not finite; the first is nan in row 731, column 2"):
        Objective(Rows(bad), 3, block_rows=100)(np.zeros(38))
    with pytest.raises(DataError, match=r"values from .* to .*; a sigmoid output"):
        Objective(Rows(data(100, 5) * 3), 3, block_rows=100)(np.zeros(38))


@pytest.mark.usefixtures("streaming")
@pytest.mark.parametrize("separate", [False, True])
def test_a_cost_that_is_infinite_while_the_data_is_sound_is_no_error(separate):
    """The data is read again, found sound, and the cost is given: an optimiser takes a shorter step."""
    rows, target = Rows(data(400, 5)), Rows(data(400, 5, seed=1))
    options = {"output": "linear", "block_rows": 50, "backend": "numpy", "threads": 1}  # errstate is of this thread
    with Objective(rows, 3, target=target if separate else None, **options) as objective:
        with np.errstate(over="ignore", invalid="ignore"):
            cost, _ = objective(np.full(objective.size, 1e200))
        assert cost == np.inf
        assert np.isfinite(objective(np.zeros(objective.size))[0])
    again = [sum(where.stop == 400 for where in source.reads) for source in (rows, target)]
    assert again == ([3, 3] if separate else [3, 0])


@pytest.mark.usefixtures("streaming")
def test_nan_that_appears_on_a_later_pass_is_named():
    """Streamed data is trusted after the first pass; when the cost leaves the numbers it is read again to find out."""
    rows = Rows(data(400, 5))
    with Objective(rows, 3, block_rows=50) as objective:
        objective(np.zeros(objective.size))
        rows.array[333, 4] = np.nan
        with pytest.raises(DataError, match="1 value that is not finite; the first is nan in row 333, column 4"):
            objective(np.zeros(objective.size))


def test_a_file_that_vanishes_or_shrinks_is_noticed_before_it_kills(tmp_path):
    """Reading a truncated map would be SIGBUS; instead: one error that names the file."""
    path = tmp_path / "x.npy"
    np.save(path, data(4000, 8))
    objective = Objective(np.load(path, mmap_mode="r"), 3, block_rows=100)
    with objective:
        objective(np.zeros(objective.size))
        with path.open("r+b") as file:
            file.truncate(4000)
        with pytest.raises(DataError, match=r"x.npy shrank from 256128 to 4000 bytes while it was used"):
            objective(np.zeros(objective.size))
        path.unlink()
        with pytest.raises(DataError, match=r"x.npy vanished while it was used"):
            objective(np.zeros(objective.size))


@pytest.mark.usefixtures("streaming")
def test_a_file_that_shrinks_within_an_evaluation_is_noticed_too(tmp_path):
    """The file is looked at again after a millisecond, not only before the first block."""
    path = tmp_path / "x.npy"
    np.save(path, data(4000, 8))

    class Slow(WholeKernel):
        def backprop(self, *arrays):
            with path.open("r+b") as file:  # by one row, in a page that stays
                file.truncate(256128 - 64)
            time.sleep(0.002)
            return super().backprop(*arrays)

    backend = Backend("slow", Slow, threading="workers")
    with (
        Objective(np.load(path, mmap_mode="r"), 3, block_rows=100, backend=backend) as objective,
        pytest.raises(DataError, match=r"x.npy shrank from 256128 to 256064 bytes while it was used"),
    ):
        objective(np.zeros(objective.size))


@pytest.mark.usefixtures("streaming")
def test_array_likes_that_change_shape_are_noticed():
    """Fewer rows than promised; either worker may be the first to see it."""
    rows = Rows(data(400, 5))
    with Objective(rows, 3, block_rows=50) as objective:
        rows.array = rows.array[:333]
        with pytest.raises(DataError, match=r"rows 3[05]0 to \d+ came with shape \((33|0), 5\) instead of \(50, 5\)"):
            objective(np.zeros(objective.size))


def test_storage_follows_the_memory_share():
    """Kept with two passes while it fits; streamed with one when it does not; asked-for passes are honoured."""
    source = DataSource(data(1000, 10), "X")
    need = 1000 * (10 + 5) * 8
    f8 = np.dtype(np.float64)
    assert choose_storage([source], 5, f8, "auto", share=need) == (
        fits := choose_storage([source], 5, f8, 2, share=need)
    )
    assert (fits.kept, fits.passes) == (True, 2)
    tight = choose_storage([source], 5, f8, "auto", share=need - 1)
    assert (tight.kept, tight.passes) == (False, 1)
    asked = choose_storage([source], 5, f8, 2, share=need - 1)
    assert (asked.kept, asked.passes) == (False, 2)


def test_block_rows_too_large_for_memory_are_refused(monkeypatch):
    """A million rows where they do not fit the share: the number that does is named; more than the data is the data."""
    problem = sparsae.Problem(n_visible=64, n_hidden=25, dtype=np.dtype(np.float64))
    dot = sparsae.get_backend("dot")
    assert choose_block_rows(10**6, dot, problem, 1000) == 1000
    monkeypatch.setattr("sparsae.engine.setup.memory_limit", lambda: 1 << 30)
    with pytest.raises(ParameterError, match=r"block_rows=1000000 needs about 2.7 GiB.*allows 94254 rows"):
        choose_block_rows(10**6, dot, problem, 10**7)
    assert choose_block_rows(None, sparsae.get_backend("numpy"), problem, 10**7) == 94254
