"""Several files as one data set: which, in which order, and what does not fit together."""

import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from tests.support.matrix_files import write_npy, write_safetensors, write_shards, write_table

from sparsae import DataError, Objective, Parameters
from sparsae.data import load
from sparsae.data.readers import limits, shards
from sparsae.engine import storage
from sparsae.errors import FileFormatError, FileMissingError

X = np.random.default_rng(0).random((400, 5)).astype(np.float32)


def test_files_follow_each_other_in_natural_order(tmp_path):
    """part-2 before part-10, also with several numbers and letters; the note says so."""
    names = ["a1-b2", "a1-b10", "a2-b1", "a10", "b", "part-2", "part-10"]
    assert sorted(sorted(names), key=shards.natural_key) == names
    write_shards(tmp_path / "parts", X, write_npy, ".npy")
    data = load(tmp_path / "parts")
    np.testing.assert_array_equal(data.X, X)
    assert data.notes == (f"{tmp_path}/parts: 12 files in natural order, part-0.npy to part-11.npy, 400 rows.",)
    np.testing.assert_array_equal(
        load(f"{tmp_path}/parts/part-1?.npy").X, X[-len(load(f"{tmp_path}/parts/part-1?.npy").X) :]
    )
    deep = tmp_path / "year=2020" / "month=1"
    deep.mkdir(parents=True)
    np.save(deep / "x.npy", X)
    np.testing.assert_array_equal(load(f"{tmp_path}/year=*/**/*.npy").X, X)


def test_files_that_programs_leave_beside_data_are_not_data(tmp_path):
    """Hidden files, markers, text; files of two kinds are a question."""
    write_shards(tmp_path / "parts", X, write_table, ".parquet")
    for name in (".part-0.parquet.crc", "_SUCCESS", "_metadata.parquet", "README.md"):
        (tmp_path / "parts" / name).write_text("x")
    np.testing.assert_array_equal(load(tmp_path / "parts").X, X)
    np.save(tmp_path / "parts" / "y.npy", X)
    with pytest.raises(
        FileFormatError, match=r"has files of several kinds \(.npy, .parquet\); choose with a pattern: '"
    ):
        load(tmp_path / "parts")


def test_a_pattern_or_folder_without_files_says_what_is_possible(tmp_path):
    """Nothing matches; nothing to read."""
    with pytest.raises(
        FileMissingError, match=r"There is no file .*\*.npy\. As a pattern, it matches none\. Give a file,"
    ):
        load(f"{tmp_path}/*.npy")
    (tmp_path / "x.doc").write_text("x")
    with pytest.raises(
        FileFormatError, match=r"is a folder without files of numbers .* give a pattern: '.*/\*\*/\*.parq"
    ):
        load(tmp_path)
    with pytest.raises(FileFormatError, match=r"x.doc is of no known kind"):
        load(f"{tmp_path}/*.doc")
    np.savetxt(tmp_path / "x.csv", X, delimiter=",")
    with pytest.raises(
        FileFormatError, match=r"x.csv is one of several files, and its format cannot be read block by bl"
    ):
        load(f"{tmp_path}/*.csv")


def test_a_name_with_wildcards_may_be_that_of_a_file(tmp_path):
    """What exists is meant."""
    np.save(tmp_path / "x[1].npy", X)
    np.save(tmp_path / "x1.npy", 2 * X)
    np.testing.assert_array_equal(load(f"{tmp_path}/x[1].npy").X, X)


def test_files_with_other_columns_are_named(tmp_path):
    """Another number of columns, other names, another order; named columns are found in any order."""
    parts = tmp_path / "parts"
    write_shards(parts, X, write_npy, ".npy")
    np.save(parts / "part-7.npy", X[:, :4])
    with pytest.raises(DataError, match=r"parts/part-7.npy has 4 columns and part-0.npy has 5; files of one data set"):
        load(parts)
    np.save(parts / "part-7.npy", X[0])
    with pytest.raises(DataError, match=r"part-7.npy holds an array of shape \(5,\)"):
        load(parts)
    tables = tmp_path / "tables"
    write_shards(tables, X, write_table, ".parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pq.read_table(tables / "part-3.parquet")
    pq.write_table(table.select(["x0", "x2", "x1", "x3", "x4"]), tables / "part-3.parquet")
    with pytest.raises(
        DataError, match=r"part-3.parquet has column 2 named 'x2' where part-0.parquet has 'x1'; .*--col"
    ):
        load(tables)
    np.testing.assert_array_equal(load(tables, columns="x0,x1,x4").X, X[:, [0, 1, 4]])
    pq.write_table(pa.table({"x0": table["x0"]}), tables / "part-3.parquet")
    with pytest.raises(DataError, match=r"part-3.parquet has 1 column and part-0.parquet has 5"):
        load(tables)


def test_dtypes_are_joined_and_missing_values_counted_over_all_files(tmp_path):
    """float16 beside float64 becomes float64; the counts are sums."""
    parts = tmp_path / "parts"
    parts.mkdir()
    np.save(parts / "1.npy", X.astype(np.float16))
    np.save(parts / "2.npy", X.astype(np.float64))
    data = load(parts)
    assert data.X.dtype == np.float64
    np.testing.assert_array_equal(data.X, np.concatenate([X.astype(np.float16).astype(float), X.astype(float)]))
    holes = X.copy()
    holes[3, 1] = np.nan
    for name in ("1.npy", "2.npy"):
        np.save(parts / name, holes)
    with pytest.raises(DataError, match=r"parts has missing values: 2 in column 2\. Fill them"):
        load(parts)
    assert load(parts, drop_missing=True).X.shape == (798, 5)


def npy_shards(folder, n_rows):
    """A folder of .npy files of the first 400 rows, so many in each."""
    parts = folder / "parts"
    parts.mkdir()
    for start in range(0, 400, n_rows):
        np.save(parts / f"{start // n_rows}.npy", X[start : start + n_rows])
    return parts


def test_few_files_are_open_at_a_time(tmp_path, monkeypatch):
    """Whatever their number, and with several readers; every thread gets its rows."""
    monkeypatch.setattr(limits, "memory_limit", lambda: 1000)
    rows = load(npy_shards(tmp_path, 10)).X
    before = len(list(Path("/proc/self/fd").iterdir()))
    wrong = []

    def read(offset):
        wrong.extend(
            not np.array_equal(rows[start : start + 30], X[start : start + 30]) for start in range(offset, 400, 7)
        )

    threads = [threading.Thread(target=read, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong
    assert not any(wrong)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + shards.OPEN_FILES
    np.testing.assert_array_equal(rows[[0, 15, 399]], X[[0, 15, 399]])


def test_files_are_opened_anew_after_a_fork_whoever_held_the_lock(tmp_path, monkeypatch):
    """Another thread of the parent may have held it: the child does not wait for it."""
    monkeypatch.setattr(limits, "memory_limit", lambda: 1000)
    rows, found = load(npy_shards(tmp_path, 100)).X, []
    np.testing.assert_array_equal(rows[50:250], X[50:250])
    with rows._lock:
        monkeypatch.setattr(shards, "os", SimpleNamespace(getpid=lambda: -1))
        child = threading.Thread(target=lambda: found.append(rows[50:250]), daemon=True)
        child.start()
        child.join(60)
    np.testing.assert_array_equal(found, [X[50:250]])


def test_a_file_that_vanishes_or_is_replaced_is_an_error_with_its_row(tmp_path, monkeypatch):
    """In the middle of a fit; what was read before is right."""
    monkeypatch.setattr(limits, "memory_limit", lambda: 1000)
    monkeypatch.setattr(storage, "SHARE", 1 << 60)
    monkeypatch.setattr(shards, "OPEN_FILES", 2)
    parts = tmp_path / "parts"
    write_shards(parts, X, write_safetensors, ".safetensors")
    theta = Parameters.random(5, 2).flatten()
    rows = load(parts).X
    with Objective(rows, 2, threads=1, block_rows=20) as objective:
        objective(theta)
        write_safetensors(parts / "part-6.safetensors", X[:3])
        with pytest.raises(
            DataError, match=r"part-6.safetensors, whose first row is row 182 .* was replaced or written"
        ):
            objective(theta)
        with pytest.raises(DataError, match=r"first row is row 182 .* was replaced while it was used: .* has 3\."):
            rows[180:190]
        (parts / "part-6.safetensors").unlink()
        with pytest.raises(DataError, match=r"part-6.safetensors, whose first row is row 182 .* vanished while it was"):
            objective(theta)
        with pytest.raises(DataError, match=r"first row is row 182 .* cannot be read any more: There is no file"):
            rows[180:190]
