"""Frames of pandas, polars and pyarrow: the bits of their arrays; text, dates and missing values by column."""

import datetime as dt

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from sparsae import DataError, Objective, Parameters

X = np.random.default_rng(0).random((300, 3)).astype(np.float32)
NAMES = ["a", "b", "c"]
MAKERS = {
    "pandas": lambda columns: pd.DataFrame(columns),
    "pandas with Arrow": lambda columns: pd.DataFrame(columns).convert_dtypes(dtype_backend="pyarrow"),
    "polars": lambda columns: pl.DataFrame(columns),
    "pyarrow": lambda columns: pa.table(columns),
    "record batch": lambda columns: pa.RecordBatch.from_pydict(columns),
}


def columns_of(values):
    return {name: np.ascontiguousarray(column) for name, column in zip(NAMES, values.T, strict=True)}


def evaluate(data):
    with Objective(data, 2, output="linear") as objective:
        cost, gradient = objective(Parameters.random(3, 2).flatten())
        return cost, gradient.tobytes(), objective.receipt.data_digest


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_frame_gives_the_bits_of_its_array(make):
    """In float32 and float64; booleans and integers beside floats become what NumPy makes of them."""
    for values in (X, X.astype(np.float64)):
        assert evaluate(make(columns_of(values))) == evaluate(values)
    mixed = {"a": X[:, 0] > 0.5, "b": np.arange(300, dtype=np.int16), "c": X[:, 2]}
    expected = np.column_stack([np.asarray(column, np.float32) for column in mixed.values()])
    assert evaluate(make(mixed)) == evaluate(expected)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_columns_that_are_no_numbers_are_named(make):
    """Text and dates."""
    columns = {"a": [1.0, 2.0], "name": ["x", "y"], "day": [dt.date(2020, 1, 1)] * 2}
    with pytest.raises(
        DataError, match=r"X has 2 columns that are not of numbers: name \(.*\), day \(.*\)\. .*convert|cast"
    ):
        Objective(make(columns), 2)


@pytest.mark.parametrize("missing", [None, float("nan")])
@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_missing_values_are_counted_by_column(make, missing):
    """Null and NaN alike, with what to do."""
    columns = {"a": [1.0, missing, 3.0], "b": [1.0, 2.0, 3.0], "c": [missing, missing, 1.0]}
    with pytest.raises(DataError, match=r"X has missing values \(NA or NaN\): 1 in a, 2 in c\. Fill or drop them, for"):
        Objective(make(columns), 2)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_a_frame_of_integers_has_no_nan_to_look_for(make):
    """It gives the bits of its array."""
    whole = np.arange(30).reshape(10, 3)
    assert evaluate(make(columns_of(whole))) == evaluate(whole)


@pytest.mark.parametrize("empty", [pd.DataFrame(index=range(3)), pl.DataFrame()], ids=["pandas", "polars"])
def test_a_frame_without_columns_is_empty(empty):
    """As an array of that shape is."""
    with pytest.raises(DataError, match=rf"X is empty: its shape is \({len(empty)}, 0\)"):
        Objective(empty, 2)


def test_vectors_in_one_column_and_lazy_frames():
    """Lists of one length are rows; what is not computed yet is named."""
    lists = pa.table({"v": pa.array(list(X))})
    arrays = pl.DataFrame({"v": X})
    assert evaluate(lists) == evaluate(arrays) == evaluate(X)
    with pytest.raises(DataError, match=r"X is a lazy frame, .* pass X.collect\(\)"):
        Objective(arrays.lazy(), 2)
    with pytest.raises(DataError, match=r"X has 1 column that is not of numbers: v \(list<.*string>\)\. Drop"):
        Objective(pa.table({"v": [["a"], ["b"]]}), 2)
    with pytest.raises(DataError, match=r"missing values .*1 in position 1"):
        Objective(pa.table({"v": [[1.0, 2.0], [1.0, None]]}), 2)
    with pytest.raises(DataError, match=r"shape \(300,\); expected a matrix"):
        Objective(pl.Series(X[:, 0]), 2)
