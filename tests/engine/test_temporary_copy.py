"""Rows that have to be decoded are decoded once for a fit, into a file without a name; what changes is noticed."""

import os
import re
import tempfile
import tracemalloc
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import sparsae
from sparsae import DataError, Objective
from sparsae.data import load
from sparsae.engine import storage, temporary_copy
from sparsae.engine.chunked_rows import ChunkedRows
from sparsae.engine.sources import DataSource
from sparsae.errors import DataWarning
from sparsae.transforms import fit

X = np.random.default_rng(0).random((400, 5))
THETA = sparsae.Parameters.random(5, 3).flatten()
NO_SPACE = r"x.h5 is decoded anew in each evaluation, since {}\. Set TMPDIR to a folder with space, or save"


@pytest.fixture(autouse=True)
def streaming(monkeypatch, tmp_path):
    """No data is kept in memory, and temporary files lie in a folder of the test."""
    monkeypatch.setattr(storage, "SHARE", 1 << 60)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()


def chunked(decoded):
    """Rows that note which chunks were decoded."""
    return ChunkedRows("x.h5", X.shape, X.dtype, [*range(0, 400, 100), 400], lambda a, b: decoded.append(a) or X[a:b])


def test_a_fit_decodes_once_and_gives_the_bits_of_the_array(tmp_path):
    """With a warning that says how much space is taken where; the copy has no name, so that nothing can be left."""
    decoded = []
    expected = Objective(X, 3, output="linear", passes=1, block_rows=50)(THETA)
    objective = Objective(chunked(decoded), 3, output="linear", block_rows=50)
    assert not decoded
    with pytest.warns(
        DataWarning, match=r"x.h5 can only be read in order .* the fit reads a temporary copy of 0.0 MiB"
    ):
        cost, gradient = objective(THETA)
    assert objective(THETA)[0] == cost == expected[0]
    np.testing.assert_array_equal(gradient, expected[1])
    assert decoded == [0, 100, 200, 300]
    assert not list((tmp_path / "tmp").iterdir())
    assert objective.receipt.data_digest == Objective(X, 3, output="linear").receipt.data_digest
    assert objective.receipt.storage == "streamed"


def test_a_copy_can_be_declined(tmp_path):
    """Then each evaluation decodes; one evaluation alone never copies; mini-batches cannot do without."""
    decoded = []
    objective = Objective(chunked(decoded), 3, output="linear", temporary_copy=False, block_rows=50, threads=1)
    first = objective(THETA)[0]
    assert objective(THETA)[0] == first
    assert len(decoded) == 8
    sparsae.cost_and_gradient(sparsae.Parameters.random(5, 3), chunked(decoded), output="linear")
    assert len(decoded) == 12
    with pytest.raises(
        DataError, match=r"x.h5 can only be read in order and .* temporary_copy=False excludes. .* the method lbfgs"
    ):
        sparsae.train(chunked([]), 3, output="linear", method="adam", temporary_copy=False)


@pytest.mark.parametrize(
    ("lack", "message"),
    [
        ({"disk_usage": SimpleNamespace(free=100)}, r"a copy needs 0.0 MiB in .*tmp, where it may take 0.0 MiB"),
        ({"memory": True}, r"the folder for temporary files, .*tmp, lies in memory"),
        ({"full": True}, r"it cannot be copied to .*tmp: No space left on device"),
    ],
)
def test_without_space_each_evaluation_decodes(lack, message, monkeypatch):
    """Said once; the fit goes on.  Where rows are needed at random it is an error with the way out."""
    if "disk_usage" in lack:
        monkeypatch.setattr(temporary_copy.shutil, "disk_usage", lambda folder: lack["disk_usage"])
    if "memory" in lack:
        monkeypatch.setenv("TMPDIR", "chosen")
        monkeypatch.setattr(temporary_copy, "lies_in_memory", lambda folder: True)
    if "full" in lack:
        monkeypatch.setattr(temporary_copy.tempfile, "TemporaryFile", lambda **options: Path("/dev/full").open("wb"))  # noqa: SIM115
    decoded = []
    one = {"threads": 1}  # of two workers one may keep, from an evaluation to the next, a piece that it decoded late
    objective = Objective(chunked(decoded), 3, output="linear", block_rows=50, **one)
    with pytest.warns(DataWarning) as warned:
        first = objective(THETA)[0]
    said = [str(warning.message) for warning in warned if "decoded anew" in str(warning.message)]
    assert len(said) == 1
    assert re.search(NO_SPACE.format(message), said[0])
    decoded.clear()
    assert objective(THETA)[0] == first
    assert decoded == [0, 100, 200, 300]
    if "memory" not in lack:
        with (
            warnings.catch_warnings(action="ignore"),
            pytest.raises(DataError, match=message + r"\. Set TMPDIR .* lbfgs"),
        ):
            DataSource(chunked([]), "X").take(np.array([1]), X.dtype)


def test_a_folder_for_temporary_files_that_lies_in_memory_is_avoided(monkeypatch, tmp_path):
    """As /tmp does on many systems; unless somebody has chosen it."""
    mounts = tmp_path / "mounts"
    place = os.path.realpath(tmp_path / "tmp")
    mounts.write_text(f"disk / ext4 rw 0 0\ntmpfs {place} tmpfs rw 0 0\n", encoding="utf-8")
    monkeypatch.setattr(temporary_copy, "MOUNTS", mounts)
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "disk").mkdir()
    monkeypatch.setattr(temporary_copy, "ON_DISK", str(tmp_path / "disk"))
    assert temporary_copy.copy_folder() == str(tmp_path / "disk")
    monkeypatch.setenv("TMPDIR", place)
    assert temporary_copy.copy_folder() == tempfile.gettempdir()


@pytest.mark.parametrize(
    ("table", "folder", "expected"),
    [
        ("d / ext4 r\nt /tmp tmpfs r\n", "/tmp/x", True),
        ("d / ext4 r\nt /tmp tmpfs r\n", "/tmpfs", False),
        ("d / ext4 r\nt /tmp tmpfs r\nd /tmp/disk xfs r\n", "/tmp/disk/x", False),
        ("d / ext4 r\nt /a\\040b tmpfs r\n", "/a b/c", True),
        ("t / tmpfs r\nd / ext4 r\n", "/x", False),
    ],
)
def test_the_last_mount_of_the_nearest_folder_decides(table, folder, expected, monkeypatch, tmp_path):
    """Names with blanks are written in octal."""
    (tmp_path / "mounts").write_text(table, encoding="utf-8")
    monkeypatch.setattr(temporary_copy, "MOUNTS", tmp_path / "mounts")
    assert temporary_copy.lies_in_memory(folder) is expected
    monkeypatch.setattr(temporary_copy, "MOUNTS", tmp_path / "none")
    assert not temporary_copy.lies_in_memory(folder)


@pytest.mark.filterwarnings("ignore:x.h5 can only be read in order")
@pytest.mark.parametrize("method", ["lbfgs", "adam"])
def test_transformed_rows_are_copied_once_too(method):
    """Transformed: neither decoding nor the transform is done again; mini-batches do not decode at random."""
    decoded = []
    rows = chunked(decoded)
    transform = fit(rows, "standardise")
    decoded.clear()
    options = {"output": "linear", "method": method, "max_iter": 3, "block_rows": 50, "backend": "numpy", "passes": 1}
    with pytest.warns(sparsae.ConvergenceWarning):
        found = sparsae.train(transform.view(rows), 3, **options)
    assert decoded == [0, 100, 200, 300]
    with pytest.warns(sparsae.ConvergenceWarning):
        expected = sparsae.train(transform.view(X), 3, **options)
    assert found.cost == expected.cost


def write(kind: str, folder: Path, X=X, chunk: int = 100) -> tuple[Path, Path]:
    """Write X; return the data set and the file in it that changes."""
    import h5py
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet
    import zarr

    table = pa.table(list(X.T.copy()), names=[f"x{j}" for j in range(X.shape[1])])
    path = folder / f"x.{kind}"
    if kind == "parquet":
        pyarrow.parquet.write_table(table, path, row_group_size=chunk)
    elif kind == "feather":
        pyarrow.feather.write_feather(table, path, chunksize=chunk)
    elif kind == "npy":
        np.save(path, X)
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("X", data=X, chunks=(chunk, X.shape[1]))
    elif kind == "zarr":
        zarr.create_array(path, shape=X.shape, dtype=X.dtype, chunks=(chunk, X.shape[1]))[:] = X
        return path, path / "c" / "2" / "0"
    else:
        path = folder / "parts"
        path.mkdir()
        for i in range(4):
            pyarrow.parquet.write_table(table.slice(100 * i, 100), path / f"{i}.parquet")
        return path, path / "2.parquet"
    return path, path


@pytest.mark.filterwarnings("ignore:.*can only be read in order")
@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize(
    ("kind", "where"),
    [
        ("parquet", "x.parquet"),
        ("feather", "x.feather"),
        ("h5", "x.h5:X"),
        ("npy", "x.npy"),
        ("zarr", r"x.zarr: the chunk c/2/0 with row 200 \(counted from 0\)"),
        ("parts", r"parts: 2.parquet, whose first row is row 200 \(counted from 0\),"),
    ],
)
def test_a_file_that_changes_or_vanishes_in_mid_fit_is_noticed(kind, where, copied, tmp_path):
    """Also where the fit reads a copy: a result would be that of data that is no more."""
    path, changing = write(kind, tmp_path)
    objective = Objective(load(path, stay=True).X, 3, output="linear", temporary_copy=copied)
    first = objective(THETA)[0]
    with changing.open("r+b") as file:
        file.write(changing.read_bytes())
    os.utime(changing, ns=(1, 1))
    with pytest.raises(DataError, match=rf"{where} was (replaced or )?written to while it was used"):
        objective(THETA)
    changing.unlink()
    if path == changing:
        path, changing = write(kind, tmp_path)
        objective = Objective(load(path, stay=True).X, 3, output="linear", temporary_copy=copied)
        changing.unlink()
        assert objective(THETA)[0] == first  # it is held open
    else:
        with pytest.raises(DataError, match=rf"{where} vanished while it was used"):
            objective(THETA)


@pytest.mark.filterwarnings("ignore:.*can only be read in order")
def test_a_file_that_changes_while_it_is_copied_is_noticed(tmp_path, monkeypatch):
    """After the last row."""
    path, _ = write("parquet", tmp_path)
    rows = load(path, stay=True).X
    source = DataSource(rows, "X")
    monkeypatch.setattr(temporary_copy, "_copy", lambda *args: (os.utime(path, ns=(1, 1)), rows)[1])
    with pytest.raises(DataError, match=r"x.parquet was written to while it was used"):
        source.prepare_passes()


@pytest.mark.filterwarnings("ignore:.*can only be read in order")
@pytest.mark.parametrize("kind", ["parquet", "zarr", "feather", "h5"])
def test_a_fit_of_a_file_holds_a_small_part_of_it(kind, tmp_path):
    """A sixteenth of `tests/prove/out_of_core.py`: what NumPy and Arrow hold at most, as they count it themselves."""
    import pyarrow as pa

    many = np.random.default_rng(0).random((1 << 19, 16), dtype=np.float32)  # 32 MiB
    path, _ = write(kind, tmp_path, many, chunk=8192)
    pool = pa.default_memory_pool()
    held, most = pool.bytes_allocated(), 0

    def watch(progress):
        nonlocal most
        most = max(most, pool.bytes_allocated() - held)

    rows = load(path, stay=True).X
    tracemalloc.start()
    with pytest.warns(sparsae.ConvergenceWarning):
        found = sparsae.train(rows, 3, max_iter=2, passes=1, threads=1, observers=watch)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < many.nbytes / 2
    assert most < many.nbytes / 2
    with pytest.warns(sparsae.ConvergenceWarning):
        assert found.cost == sparsae.train(many, 3, max_iter=2, passes=1, threads=1).cost
