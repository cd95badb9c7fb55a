"""Parquet and Feather: columns, missing values, lists, large row groups, damage."""

import datetime as dt
import sys
import threading
from functools import partial

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest
from tests.support.matrix_files import write_lists, write_table

from sparsae import DataError, ParameterError
from sparsae.data import load
from sparsae.data.readers import ReadRequest, limits, parquet, parquet_metadata, read_file
from sparsae.errors import FileFormatError, MissingExtraError

X = np.random.default_rng(0).random((500, 4)).astype(np.float32)
NAMES = ("x0", "x1", "x2", "x3")


def rows_of(path, **request):
    """The rows, which stay in the file."""
    return read_file(path, ReadRequest(**request))[1].values


@pytest.mark.parametrize("name", ["x.parquet", "x.feather"])
def test_columns_are_chosen_by_name_and_number(tmp_path, name):
    """In the order that is asked for; what is not there is named with what is."""
    write_table(tmp_path / name, X)
    assert load(tmp_path / name).columns == NAMES
    data = load(tmp_path / name, columns="x2,x0")
    np.testing.assert_array_equal(data.X, X[:, [2, 0]])
    assert data.columns == ("x2", "x0")
    np.testing.assert_array_equal(load(tmp_path / name, columns="!x1").X, X[:, [0, 2, 3]])
    np.testing.assert_array_equal(load(tmp_path / name, columns=[-1, "x1"]).X, X[:, [3, 1]])
    with pytest.raises(ParameterError, match=r"has no column 'y'; it has the columns x0, x1, x2, x3\."):
        load(tmp_path / name, columns="y")
    np.testing.assert_array_equal(load(tmp_path / name, transpose=True).X, X.T)


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_columns_that_are_no_numbers_are_named_and_can_be_left_out(tmp_path, suffix):
    """Text, dates, times, decimals, categories and objects; booleans and integers are numbers."""
    columns = {
        "name": ["a", "b"],
        "when": [dt.date(2020, 1, 1)] * 2,
        "day": pd.Categorical(["x", "y"]),
        "cost": pa.array([1, 2]).cast(pa.decimal128(20)),
        "ok": [True, False],
        "count": np.array([1, 2], np.int16),
        "x": np.array([0.5, 1.5], np.float32),
    }
    table = pa.table({n: pa.Array.from_pandas(c) if n == "day" else c for n, c in columns.items()})
    path = tmp_path / f"x.{suffix}"
    pq.write_table(table, path) if suffix == "parquet" else pyarrow.feather.write_feather(table, path)
    message = (
        r"has 4 columns that are not of numbers: name \(string\), when \(date32\[day\]\), day \(dictionary<.*>\), "
        r"cost \(decimal128\(20, 0\)\)\. Leave them out with --columns '!name,!when,!day,!cost'"
    )
    with pytest.raises(DataError, match=message):
        load(path)
    data = load(path, columns="!name,!when,!day,!cost")
    np.testing.assert_array_equal(data.X, [[1, 1, 0.5], [0, 2, 1.5]])
    assert data.X.dtype == np.float32  # what NumPy makes of bool, int16 and float32
    with pytest.raises(DataError, match=r"1 column that is not of numbers: when"):
        load(path, columns="x,when")


@pytest.mark.parametrize("suffix", ["parquet", "feather", "csv"])
def test_missing_values_are_counted_by_column_or_their_rows_left_out(tmp_path, suffix, monkeypatch):
    """Null and NaN, in floats, integers and booleans; the same in memory and block by block."""
    frame = pd.DataFrame(
        {
            "a": pd.array([1.0, 2.0, 3.0, None, 5.0], "Float64"),
            "b": pd.array([1, None, 3, None, 5], "Int32"),
            "c": pd.array([True, True, None, False, True], "boolean"),
            "d": [0.5, 1.5, 2.5, 3.5, 4.5],
        }
    )
    path = tmp_path / f"x.{suffix}"
    write = {"csv": partial(frame.to_csv, index=False), "feather": partial(frame.to_feather, chunksize=2)}
    write.get(suffix, frame.to_parquet)(path)
    message = (
        r"missing values: 1 in column 1 \(a\), 2 in column 2 \(b\), 1 in column 3 \(c\)\. Fill them, or leave their "
        r"rows out with --drop-missing \(drop_missing=True in Python\), or those columns with --columns '!1,!2,!3'\."
    )
    with pytest.raises(DataError, match=message):
        load(path)
    np.testing.assert_array_equal(load(path, columns="d").X, frame[["d"]].to_numpy())
    data = load(path, drop_missing=True)
    np.testing.assert_array_equal(data.X, [[1, 1, 1, 0.5], [5, 5, 1, 4.5]])
    assert data.notes[-1].endswith(
        "x." + suffix + ": 3 of 5 rows were left out for missing values: "
        "1 in column 1 (a), 2 in column 2 (b), 1 in column 3 (c)."
    )
    if suffix == "csv":
        return
    monkeypatch.setattr(limits, "memory_limit", lambda: 319)
    rows = load(path, drop_missing=True).X
    np.testing.assert_array_equal(rows[:], data.X)
    np.testing.assert_array_equal(rows[[1]], data.X[1:])
    if suffix == "parquet":  # which counts missing values itself
        with pytest.raises(DataError, match=message):
            load(path)


def test_rows_without_a_complete_one_are_an_error(tmp_path):
    """With the counts; and one column of many is said in a few words."""
    pd.DataFrame(np.full((3, 9), np.nan)).to_parquet(tmp_path / "x.parquet")
    counted = r"3 in column 1 \(0\), .* 3 in column 5 \(4\) and more in 4 other columns"
    with pytest.raises(DataError, match=rf"x.parquet has no row without a missing value: {counted}\."):
        load(tmp_path / "x.parquet", drop_missing=True)
    with pytest.raises(DataError, match=rf"{counted}\. Fill them, .*in Python\)\.$"):
        load(tmp_path / "x.parquet")


def test_the_index_of_a_pandas_frame_is_no_input_unless_it_is_named(tmp_path):
    """As pandas itself reads it."""
    frame = pd.DataFrame(X, columns=NAMES, index=pd.Index(np.arange(500.0), name="id"))
    frame.to_parquet(tmp_path / "x.parquet")
    assert load(tmp_path / "x.parquet").columns == NAMES
    assert load(tmp_path / "x.parquet", columns="id,x0").X[3, 0] == 3


def test_lists_of_one_length_are_the_rows_of_a_matrix(tmp_path):
    """Variable and fixed lists; one of another length is named by its row; a missing list is a missing row."""
    path = tmp_path / "x.parquet"
    write_lists(path, X)
    data = load(path)
    np.testing.assert_array_equal(data.X, X)
    assert data.columns is None
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(X.ravel()), 4)
    pq.write_table(pa.table({"v": fixed, "label": ["a"] * 500}), path)
    np.testing.assert_array_equal(load(path, columns="v").X, X)
    with pytest.raises(DataError, match=r"has lists in 1 column \(v\) beside other columns; choose one of them alone"):
        load(path)
    uneven = [[1.0, 2.0]] * 90 + [[1.0]] + [[1.0, 2.0]]
    pq.write_table(pa.table({"v": uneven}), path)
    with pytest.raises(DataError, match=r"row 90 \(counted from 0\) has a list of 1 numbers where the first has 2"):
        load(path)
    pq.write_table(pa.table({"v": [[1, 2], None, [3, None], [5, 6]]}), path)
    with pytest.raises(DataError, match="missing values: 1 in column 1, 2 in column 2"):
        load(path)
    np.testing.assert_array_equal(load(path, drop_missing=True).X, [[1, 2], [5, 6]])


@pytest.mark.usefixtures("one_child")
@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_lists_of_other_lengths_in_a_later_part_and_missing_ones_in_the_first_row(tmp_path, suffix):
    """Row groups and record batches are decoded one by one: the row that differs is named in either."""
    path, schema = tmp_path / f"x.{suffix}", pa.schema([("v", pa.list_(pa.float64()))])
    write_parts(path, schema, [[[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0, 3.0]]])
    with pytest.raises(
        DataError, match=r"x\.\w+: row 2 \(counted from 0\) has a list of 3 numbers where the first has 2"
    ):
        load(path)
    write_parts(path, schema, [[[1.0, 2.0]], [None, [3.0]]])
    with pytest.raises(DataError, match=r"row 2 \(counted from 0\) has a list of 1 numbers where the first has 2"):
        load(path)
    write_parts(path, schema, [[None, [3.0, 4.0]], [None], [[5.0, 6.0]]])
    np.testing.assert_array_equal(load(path, drop_missing=True).X, [[3, 4], [5, 6]])
    write_parts(path, schema, [[]])
    with pytest.raises(DataError, match=r"is empty: its shape is \(0, 0\)"):
        load(path)


@pytest.mark.usefixtures("one_child")
@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_parts_without_rows_are_passed_over(tmp_path, suffix):
    """At the beginning, in the middle and at the end; in memory and block by block."""
    path = tmp_path / f"x.{suffix}"
    parts = [X[i:j, 0] for i, j in ((0, 0), (0, 3), (3, 3), (3, 3), (3, 5), (5, 5))]
    write_parts(path, pa.schema([("x0", pa.float32())]), parts)
    np.testing.assert_array_equal(load(path).X, X[:5, :1])
    np.testing.assert_array_equal(rows_of(path)[[0, 2, 3, 4]], X[[0, 2, 3, 4], :1])


@pytest.mark.usefixtures("one_child")
@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_a_damaged_note_of_pandas_is_no_damage_of_the_numbers(tmp_path, suffix):
    """All columns are read: which one is the index is not known."""
    for i, said in enumerate((b"{no json", b"[1]", b"\xff")):
        table = pa.table({"a": X[:, 0], "__index_level_0__": X[:, 1]}).replace_schema_metadata({b"pandas": said})
        path = tmp_path / f"{i}.{suffix}"
        pq.write_table(table, path) if suffix == "parquet" else pyarrow.feather.write_feather(table, path)
        np.testing.assert_array_equal(load(path).X, X[:, :2])


@pytest.fixture
def one_child():
    """All footers of a test are read by one process: to start it takes a second."""
    with parquet_metadata.metadata_process():
        yield


def write_parts(path, schema, parts):
    """A table of one column in so many row groups or record batches."""
    tables = [pa.table([pa.array(part, schema.field(0).type)], schema=schema) for part in parts]
    if path.suffix == ".parquet":
        with pq.ParquetWriter(path, schema) as file:
            for table in tables:
                file.write_table(table)
        return
    with pa.ipc.new_file(path, schema) as file:
        for table in tables:
            file.write_batch(pa.RecordBatch.from_arrays([c.combine_chunks() for c in table.columns], schema=schema))


def test_a_large_row_group_is_decoded_in_pieces_once_in_a_pass(tmp_path, monkeypatch):
    """By several threads at different places: each gets its rows, and no piece is decoded more often than is kept."""
    values = np.arange(100_000, dtype=np.float32).reshape(-1, 2)
    write_table(tmp_path / "x.parquet", values, row_group_size=40_000)
    monkeypatch.setattr(parquet, "PIECE_BYTES", 1000 * 8)
    rows = rows_of(tmp_path / "x.parquet")
    decoded = []
    pick = rows._layout.__class__.pick
    monkeypatch.setattr(
        rows._layout.__class__, "pick", lambda self, batch, *at: decoded.append(at[0]) or pick(self, batch, *at)
    )
    wrong = []

    def read(segments):
        for segment in segments:
            for start in range(segment * 4096, min(segment * 4096 + 4096, 50_000), 300):
                stop = min(start + 300, segment * 4096 + 4096, 50_000)
                if not np.array_equal(rows[start:stop], values[start:stop]):
                    wrong.append(start)

    threads = [threading.Thread(target=read, args=(range(i, 13, 3),)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert sorted(set(decoded)) == list(range(0, 50_000, 1000))
    assert len(decoded) <= 60
    decoded.clear()
    np.testing.assert_array_equal(rows[:], values)
    assert len(decoded) == 50


def test_a_thread_that_is_far_behind_gets_its_rows(tmp_path, monkeypatch):
    """Pieces that nobody could keep are decoded again, from a stream of its own."""
    values = np.arange(40_000, dtype=np.float32).reshape(-1, 2)
    write_table(tmp_path / "x.parquet", values, row_group_size=10**6)
    monkeypatch.setattr(parquet, "PIECE_BYTES", 1000 * 8)
    monkeypatch.setattr("sparsae.engine.piece_cache.KEPT_BYTES", 1000 * 8)
    rows = rows_of(tmp_path / "x.parquet")
    for start in (0, 15_500, 100, 19_999, 15_499, 7_000, 0):
        np.testing.assert_array_equal(rows[start : start + 10], values[start : start + 10])


def test_a_batch_that_is_too_large_for_the_memory_is_refused_with_its_size(tmp_path, monkeypatch):
    """Feather's record batches are decoded whole."""
    write_table(tmp_path / "x.feather", X, chunksize=500)
    monkeypatch.setattr(limits, "memory_limit", lambda: 12_000)
    message = (
        r"x.feather has chunks of 500 rows, which need 8 kB .* at most 3 kB are used. Write it in chunks of about 1"
    )
    with pytest.raises(FileFormatError, match=message):
        load(tmp_path / "x.feather")


def test_a_file_that_is_truncated_while_it_is_read_is_an_error_with_the_rows(tmp_path):
    """Rows before the cut are still there; the file is named."""
    for name in ("x.parquet", "x.feather"):
        path = tmp_path / name
        write_table(path, np.random.default_rng(0).random((50_000, 4)), **({"chunksize": 5000} if "f" in name else {}))
        rows = rows_of(path)
        with path.open("r+b") as file:
            file.truncate(path.stat().st_size // 2)
        with pytest.raises(DataError, match=rf"{name}: rows \d+ to \d+ \(counted from 0\) cannot be read; the file is"):
            rows[:]
        assert rows[:3].shape == (3, 4)


@pytest.mark.usefixtures("one_child")
def test_fewer_rows_than_the_footer_promises_are_an_error_with_the_rows(tmp_path, monkeypatch):
    """What the decoder gives is counted: rows that follow would be those of other numbers."""
    write_table(tmp_path / "x.parquet", X)
    batches = parquet.ParquetRows._batches
    monkeypatch.setattr(parquet.ParquetRows, "_batches", lambda self, group: (b.slice(1) for b in batches(self, group)))
    with pytest.raises(
        DataError, match=r"x\.parquet: rows 0 to 69 .*cannot be read; .*it has other rows than it promises"
    ):
        rows_of(tmp_path / "x.parquet")[:3]


def test_without_pyarrow_the_file_says_what_to_install(tmp_path, monkeypatch):
    """The library and the extra."""
    write_table(tmp_path / "x.parquet", X)
    write_table(tmp_path / "x.feather", X)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for name, kind in (("x.parquet", "Parquet"), ("x.feather", "Feather")):
        message = rf"{name} is a {kind} file, which needs pyarrow; .*: pip install pyarrow, or .*\[files\]'"
        with pytest.raises(MissingExtraError, match=message):
            load(tmp_path / name)


def test_two_columns_of_one_name_are_refused(tmp_path):
    """Which of them is meant cannot be said."""
    table = pa.table([X[:, 0], X[:, 1]], names=["a", "a"])
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match="has more than one column named a; rename them first"):
        load(tmp_path / "x.parquet")


def test_a_footer_that_ends_the_process_of_its_reader_is_one_error(tmp_path, monkeypatch):
    """Pyarrow aborts at some damaged footers: only a child ends, and the next file gets another one."""
    write_table(tmp_path / "x.parquet", X)
    write_table(tmp_path / "y.parquet", X)
    script = tmp_path / "parser.py"
    with parquet_metadata.metadata_process():
        monkeypatch.setattr(parquet_metadata.parser_script, "__file__", str(script))
        script.write_text("import os; os.abort()")
        with pytest.raises(FileFormatError, match=r"x.parquet is damaged or not .*: its reader ended with SIGABRT"):
            load(tmp_path / "x.parquet")
        monkeypatch.undo()
        assert load(tmp_path / "y.parquet").X.shape == X.shape
        child = parquet_metadata._current.child._process
    assert child.poll() is not None
    damaged = tmp_path / "x.parquet"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-8] + b"\xff\xff\0\0PAR1")
    with pytest.raises(FileFormatError, match=r"x.parquet is damaged or not a Parquet file: "):
        load(damaged)
