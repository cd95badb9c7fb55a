"""What the estimator takes (frames by column name, memory maps, sparse matrices), and how it refuses the rest."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
import scipy.sparse as sp
from tests.support.distributions import good, install, run

import sparsae
from sparsae import DataError, SparseAutoencoder
from sparsae.engine import storage
from sparsae.estimator.sparse_rows import SparseRows

pytestmark = pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
NAMES = ["age", "height", "weight"]
X = np.random.default_rng(0).normal(size=(80, 3))
QUICK: dict[str, Any] = {"n_components": 2, "max_iter": 5, "random_state": 0}


def pandas_frame(values: Any = X, names: list[str] = NAMES) -> Any:
    return pd.DataFrame(values, columns=names)


def polars_frame(values: Any = X, names: list[str] = NAMES) -> Any:
    return pl.DataFrame(values, schema=names)


def arrow_frame(values: Any = X, names: list[str] = NAMES) -> Any:
    return pa.table({name: np.ascontiguousarray(column) for name, column in zip(names, values.T, strict=True)})


def table_of(frame: Any, columns: dict[str, list[Any]]) -> Any:
    """A table of columns of different types, of the same library."""
    return {pandas_frame: pd.DataFrame, polars_frame: pl.DataFrame, arrow_frame: pa.table}[frame](columns)


FRAMES = pytest.mark.parametrize("frame", [pandas_frame, polars_frame, arrow_frame])


@FRAMES
def test_a_frame_gives_the_bits_of_its_array(frame: Any) -> None:
    """In every method; the names of its columns are kept, and features are named."""
    plain, named = SparseAutoencoder(**QUICK).fit(X), SparseAutoencoder(**QUICK).fit(frame())
    assert np.array_equal(named.components_, plain.components_)
    assert list(named.feature_names_in_) == NAMES
    assert not hasattr(plain, "feature_names_in_")
    features = plain.transform(X)
    assert np.array_equal(named.transform(frame()), features)
    assert named.score(frame()) == plain.score(X)
    assert np.array_equal(named.inverse_transform(frame(features, ["a", "b"])), plain.inverse_transform(features))
    assert np.array_equal(named.partial_fit(frame()).components_, plain.partial_fit(X).components_)


@FRAMES
@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["age", "weight", "height"], "Feature names must be in the same order as they were in fit"),
        (["age", "height", "size"], r"unseen at fit time:\n- size\nFeature names seen at fit time, yet now missing:\n"),
        (["age", "height"], r"Feature names seen at fit time, yet now missing:\n- weight"),
        (["age", "height", "weight", "shoe"], r"unseen at fit time:\n- shoe"),
    ],
)
def test_other_missing_and_reordered_columns_are_refused_by_name(frame: Any, names: list[str], message: str) -> None:
    """In transform, score and the next partial_fit."""
    model = SparseAutoencoder(**QUICK).fit(frame())
    other = frame(np.resize(X, (80, len(names))), names)
    for use in (model.transform, model.score, model.partial_fit):
        with pytest.raises(ValueError, match=message):
            use(other)


@FRAMES
def test_names_are_found_by_a_scikit_learn_that_knows_the_exchange_of_frames_alone(
    frame: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As 1.6 to 1.8 do: newer frames of polars do not have it, and columns in another order would be taken."""

    def find_names(X: Any) -> Any:
        if isinstance(X, pd.DataFrame):
            return np.asarray(X.columns, dtype=object)
        return np.asarray(X.__dataframe__().column_names(), object) if hasattr(X, "__dataframe__") else None

    monkeypatch.setattr("sklearn.utils.validation._get_feature_names", find_names)
    model = SparseAutoencoder(**QUICK).fit(frame())
    assert list(model.feature_names_in_) == NAMES
    with pytest.raises(ValueError, match="Feature names must be in the same order as they were in fit"):
        model.transform(frame(X, ["age", "weight", "height"]))


def test_another_number_of_columns_is_refused() -> None:
    """Of samples by scikit-learn's message, of activations by ours."""
    model = SparseAutoencoder(**QUICK).fit(X)
    for use in (model.transform, model.score, model.partial_fit):
        with pytest.raises(ValueError, match="X has 2 features, but SparseAutoencoder is expecting 3 features"):
            use(X[:, :2])
    with pytest.raises(DataError, match=r"A has shape \(80, 3\); expected \(n_samples, 2\): n_hidden is 2"):
        model.inverse_transform(X)


@pytest.mark.parametrize(("container", "kind"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_features_come_as_the_frame_that_is_asked_for(container: Any, kind: type) -> None:
    """With the names of `get_feature_names_out`; pandas keeps the index."""
    model = SparseAutoencoder(**QUICK).set_output(transform=container)
    frame = pd.DataFrame(X, columns=NAMES, index=range(100, 180))
    features = model.fit_transform(frame)
    assert isinstance(features, kind)
    assert list(features.columns) == ["sparseautoencoder0", "sparseautoencoder1"]
    if kind is pd.DataFrame:
        assert list(features.index) == list(frame.index)
    np.testing.assert_array_equal(features.to_numpy(), SparseAutoencoder(**QUICK).fit_transform(X))


@FRAMES
def test_booleans_and_integers_become_numbers(frame: Any) -> None:
    """Frames and arrays of them are fitted as their values; float32 columns stay float32."""
    mixed = {"age": [1, 2, 3, 4], "height": [True, False, True, True], "weight": [0.5, 1.5, 2.5, 3.5]}
    data = table_of(frame, mixed)
    values = np.array(list(mixed.values()), dtype=float).T
    assert np.array_equal(
        SparseAutoencoder(**QUICK).fit_transform(data), SparseAutoencoder(**QUICK).fit_transform(values)
    )
    assert SparseAutoencoder(**QUICK).fit_transform(X > 0).dtype == np.float64
    assert SparseAutoencoder(**QUICK).fit_transform(frame(X.astype(np.float32))).dtype == np.float32


@FRAMES
@pytest.mark.parametrize("values", [["a", "b", "1"], [dt.datetime(2020, 1, d) for d in (1, 2, 3)]])
def test_columns_of_text_and_dates_are_named(frame: Any, values: list[Any]) -> None:
    """Also where NumPy would have made numbers of them."""
    columns = {"age": [1.0, 2.0, 3.0], "when": values}
    data = table_of(frame, columns)
    with pytest.raises(DataError, match=r"X has 1 column that is not of numbers: when \("):
        SparseAutoencoder(**QUICK).fit(data)


@pytest.mark.parametrize(
    "values", [[["1", "2"], ["3", "4"]], np.array([["1", "2"]]), np.array([["2020-01-01", "2020-01-02"]], "M8[D]")]
)
def test_text_and_dates_in_arrays_are_refused(values: Any) -> None:
    """NumPy would turn them into numbers."""
    with pytest.raises(DataError, match=r"X has dtype .* expected real numbers. Convert it first"):
        SparseAutoencoder(**QUICK).fit(values)


def test_objects_that_are_numbers_are_converted() -> None:
    """As scikit-learn does with arrays; its message says what is none."""
    fitted = SparseAutoencoder(**QUICK).fit(X.astype(object))
    assert np.array_equal(fitted.components_, SparseAutoencoder(**QUICK).fit(X).components_)
    with pytest.raises(ValueError, match="could not convert string to float: 'x'"):
        SparseAutoencoder(**QUICK).fit(np.array([[1.0, "x"]], dtype=object))


@FRAMES
def test_missing_values_are_refused(frame: Any) -> None:
    """NaN in an array by scikit-learn's message, in a frame with the name of the column; before and after a fit."""
    holes = X.copy()
    holes[3, 1] = np.nan
    plain, named = SparseAutoencoder(**QUICK).fit(X), SparseAutoencoder(**QUICK).fit(frame())
    for use in (SparseAutoencoder(**QUICK).fit, plain.transform):
        with pytest.raises(ValueError, match="Input X contains NaN"):
            use(holes)
    for use in (SparseAutoencoder(**QUICK).fit, named.transform):
        with pytest.raises(DataError, match=r"X has missing values \(NA or NaN\): 1 in height"):
            use(frame(holes))


def test_a_column_of_arrays_is_a_matrix_without_names() -> None:
    """As polars stores embeddings."""
    frame = pl.DataFrame({"vector": pl.Series(X.tolist(), dtype=pl.Array(pl.Float64, 3))})
    model = SparseAutoencoder(**QUICK).fit(frame)
    assert model.n_features_in_ == 3
    assert not hasattr(model, "feature_names_in_")
    assert np.array_equal(model.transform(frame), SparseAutoencoder(**QUICK).fit_transform(X))


def test_data_sets_of_hdf5_and_large_files_are_read_in_rows(tmp_path: Path) -> None:
    """Not as a whole: what has shape, dtype and row slicing is read as `train` reads it."""
    h5py = pytest.importorskip("h5py")
    plain = SparseAutoencoder(**QUICK).fit(X)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        data = file.create_dataset("x", data=X)
        model = SparseAutoencoder(**QUICK).fit(data)
        assert np.array_equal(model.components_, plain.components_)
        assert np.array_equal(model.transform(data), plain.transform(X))
        assert model.score(data) == plain.score(X)
        with pytest.raises(ValueError, match="X has 2 features, but SparseAutoencoder is expecting 3 features"):
            model.transform(file.create_dataset("y", data=X[:, :2]))


def test_a_read_only_memory_map_is_read_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bits of the array; one that exceeds the memory share is streamed, and never checked or cast as a whole."""
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    whole = SparseAutoencoder(**QUICK).fit(X)
    fitted = SparseAutoencoder(**QUICK).fit(mapped)
    assert np.array_equal(fitted.components_, whole.components_)
    assert np.array_equal(fitted.transform(mapped), whole.transform(X))
    np.save(tmp_path / "h.npy", X.astype(np.float16))
    half = np.load(tmp_path / "h.npy", mmap_mode="r")
    assert SparseAutoencoder(**QUICK).fit(half).transform(half).dtype == np.float32
    monkeypatch.setattr(storage, "memory_limit", lambda: 1)
    streamed = SparseAutoencoder(**QUICK)
    monkeypatch.setattr("sparsae.objective.check_model_memory", lambda *_: None)
    assert streamed.fit(mapped).receipt_.storage == "streamed"
    np.testing.assert_allclose(streamed.components_, whole.components_, rtol=1e-6)
    with pytest.raises(ValueError, match="X has 2 features, but SparseAutoencoder is expecting 3 features as input"):
        whole.transform(mapped[:, :2])
    holes = X.copy()
    holes[3, 1] = np.nan
    np.save(tmp_path / "holes.npy", holes)
    with pytest.raises(DataError, match="not finite; the first is nan in row 3, column 1"):
        SparseAutoencoder(**QUICK).fit(np.load(tmp_path / "holes.npy", mmap_mode="r"))


@pytest.mark.parametrize("make", [sp.csr_matrix, sp.csr_array, sp.coo_matrix, sp.csc_array])
def test_sparse_matrices_are_declined_with_the_way_out_or_read_block_by_block(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`accept_sparse=True` gives the bits of the dense matrix; where it exceeds the share no piece is all of it."""
    dense = X * (X > 0.5)
    sparse = make(dense)
    assert len(SparseRows(sparse.tocsr())) == len(dense)
    with pytest.raises(DataError, match=r"sparse matrix .*accept_sparse=True .*block by block, or pass X.toarray\(\)"):
        SparseAutoencoder(**QUICK).fit(sparse)
    plain, model = SparseAutoencoder(**QUICK).fit(dense), SparseAutoencoder(**QUICK, accept_sparse=True)
    assert np.array_equal(model.fit(sparse).components_, plain.components_)
    assert np.array_equal(model.transform(sparse), plain.transform(dense))
    assert model.score(sparse) == plain.score(dense)
    assert np.array_equal(model.partial_fit(sparse).components_, plain.partial_fit(dense).components_)

    read: list[int] = []
    get = SparseRows.__getitem__
    monkeypatch.setattr(SparseRows, "__getitem__", lambda self, rows: read.append(len(g := get(self, rows))) or g)
    monkeypatch.setattr(storage, "memory_limit", lambda: 1)
    monkeypatch.setattr("sparsae.objective.check_model_memory", lambda *_: None)
    monkeypatch.setattr("sparsae.engine.sources.PIECE_BYTES", 8 * 3 * 20)
    monkeypatch.setattr("sparsae.engine.summary.PIECE_BYTES", 8 * 3 * 20)
    monkeypatch.setattr("sparsae.engine.setup.cache_rows", lambda problem: 20)
    assert model.set_params(backend="loop").fit(sparse).receipt_.storage == "streamed"
    assert max(read) == 20


def test_a_sparse_matrix_with_values_that_are_not_finite_is_refused() -> None:
    """By scikit-learn's check of its values."""
    broken = sp.csr_array(X * (X > 0.5))
    broken.data[0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        SparseAutoencoder(**QUICK, accept_sparse=True).fit(broken)


def test_a_model_is_loaded_where_its_backend_is_missing(tmp_path: Path) -> None:
    """It transforms; only a fit needs the backend, and names it."""
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    install(tmp_path / "with", "stranger", {"stranger": good("stranger")})
    work = f"""
    import pickle, joblib, numpy as np, sparsae, warnings
    warnings.simplefilter("ignore", sparsae.ConvergenceWarning)
    X = np.random.default_rng(0).random((20, 3))
    folder = {str(tmp_path)!r}
    """
    run(
        tmp_path / "with",
        work
        + """
    model = sparsae.SparseAutoencoder(2, output="sigmoid", backend="stranger", max_iter=3, warm_start=True).fit(X)
    assert model.receipt_.backend == "stranger"
    pickle.dump(model, open(folder + "/model.pickle", "wb"))
    joblib.dump(model, folder + "/model.joblib")
    np.save(folder + "/features.npy", model.transform(X))
    """,
    )
    run(
        tmp_path / "without",
        work
        + """
    for model in (pickle.load(open(folder + "/model.pickle", "rb")), joblib.load(folder + "/model.joblib")):
        assert np.array_equal(model.transform(X), np.load(folder + "/features.npy"))
        assert model.receipt_.distribution == "stranger"
        try:
            model.fit(X)
        except sparsae.BackendError as error:
            assert "stranger" in str(error), error
        else:
            raise AssertionError("it was fitted without its backend")
    """,
    )


MISSING = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sklearn":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
import inspect, sparsae
from sparsae import *
inspect.getmembers(sparsae)
try:
    sparsae.SparseAutoencoder(3)
except ImportError as error:
    assert isinstance(error, sparsae.SparsaeError)
    print(error)
"""


def test_without_scikit_learn_everything_else_works() -> None:
    """A star import and help do; making one says what to install; training does without."""
    done = subprocess.run([sys.executable, "-c", MISSING], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.startswith(
        "SparseAutoencoder needs scikit-learn 1.6 or newer (No module named 'sklearn'): pip install"
    )
    assert done.stdout.endswith("[sklearn]'. sparsae.train does without.\n")


def test_an_error_of_our_own_import_is_not_taken_for_a_missing_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what scikit-learn lacks makes the stand-in."""
    monkeypatch.setitem(sys.modules, "sparsae.estimator.autoencoder", None)
    monkeypatch.delitem(sys.modules, "sparsae.estimator")
    with pytest.raises(ImportError, match=r"sparsae\.estimator\.autoencoder"):
        __import__("sparsae.estimator")
    monkeypatch.undo()
    assert sparsae.SparseAutoencoder is SparseAutoencoder
