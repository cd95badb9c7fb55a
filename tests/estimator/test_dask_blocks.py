"""The estimator on Dask arrays and frames: lazy, block by block, with the numbers of the array in memory."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.base import clone

from sparsae import SparseAutoencoder
from sparsae.errors import DataError

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
RNG = np.random.default_rng(0)
X = RNG.normal(3, 2, (300, 5))
pytestmark = pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")


@pytest.fixture(autouse=True)
def synchronous():
    """Everything is computed in this thread."""
    with dask.config.set(scheduler="synchronous"):
        yield


@pytest.fixture(scope="module")
def fitted():
    return SparseAutoencoder(3, max_iter=3, random_state=0, preprocessing="standardise", threads=1).fit(X)


def test_a_fit_on_a_dask_array_is_the_fit_on_the_array(fitted):
    """`fit` and `partial_fit` give the same model to the last bit."""
    lazy = da.from_array(X, chunks=(70, 5))
    assert np.array_equal(clone(fitted).fit(lazy).components_, fitted.components_)
    portions = [clone(fitted).partial_fit(data).components_ for data in (X, lazy)]
    assert np.array_equal(*portions)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.int64])
def test_transform_and_its_inverse_are_lazy_arrays_of_the_same_blocks(fitted, dtype):
    """Nothing is computed before it is asked for; shape, chunks, dtype and meta are those of the result."""
    computed = []

    def noted(block):
        computed.append(1)
        return block

    data = X.astype(dtype)
    lazy = da.from_array(data, chunks=(70, 2)).map_blocks(noted, meta=np.empty((0, 0), dtype))
    activations = fitted.transform(lazy)
    samples = fitted.inverse_transform(activations)
    assert computed == []
    for made, width in ((activations, 3), (samples, 5)):
        assert isinstance(made, da.Array)
        assert made.chunks == ((70, 70, 70, 70, 20), (width,))
        assert made.dtype == made._meta.dtype == (np.float32 if dtype is np.float32 else np.float64)
    values = activations.compute()
    assert values.dtype == activations.dtype
    np.testing.assert_array_equal(values, fitted.transform(data))
    np.testing.assert_array_equal(samples.compute(), fitted.inverse_transform(fitted.transform(data)))


def test_score_is_that_of_the_array(fitted):
    """A number, summed over the blocks."""
    assert fitted.score(da.from_array(X, chunks=(70, 5))) == pytest.approx(fitted.score(X), rel=1e-12)


def test_blocks_of_unknown_length_can_be_transformed_but_not_fitted(fitted):
    """Rows chosen lazily, some blocks of them empty; `fit` says how to have them counted."""
    lazy = da.from_array(X, chunks=(70, 5))
    high = lazy[lazy[:, 0] > np.sort(X[:, 0])[-3]]
    chosen = X[X[:, 0] > np.sort(X[:, 0])[-3]]
    # Blocks of one or two rows: older BLAS libraries choose another product by the number of rows.
    expected = fitted.transform(chosen)
    np.testing.assert_allclose(fitted.transform(high).compute(), expected, rtol=1e-13, atol=1e-15)
    again = fitted.inverse_transform(fitted.transform(high)).compute()
    np.testing.assert_allclose(again, fitted.inverse_transform(expected), rtol=1e-13, atol=1e-15)
    assert fitted.score(high) == pytest.approx(fitted.score(chosen), rel=1e-12)
    with pytest.raises(DataError, match=r"compute_chunk_sizes"):
        clone(fitted).fit(high)


def test_columns_of_a_frame_are_known_by_name(fitted):
    """A Dask frame gives the names; other names, and another order, are refused."""
    pandas = pytest.importorskip("pandas")
    dd = pytest.importorskip("dask.dataframe")
    frame = dd.from_pandas(pandas.DataFrame(X, columns=list("abcde")), npartitions=3)
    named = clone(fitted).fit(frame)
    assert list(named.feature_names_in_) == list("abcde")
    assert np.array_equal(named.components_, fitted.components_)
    activations = named.transform(frame)
    assert isinstance(activations, da.Array)
    np.testing.assert_array_equal(activations.compute(), fitted.transform(X))
    with pytest.raises(ValueError, match="feature names should match"):
        named.transform(frame[list("bacde")])


def test_what_is_no_matrix_of_the_right_width_is_refused_before_anything_is_computed(fitted):
    """Columns, dimensions and types."""
    lazy = da.from_array(X, chunks=(70, 5))
    with pytest.raises(ValueError, match="5 features"):
        fitted.transform(lazy[:, :4])
    with pytest.raises(DataError, match="expected the activations of 3 components"):
        fitted.inverse_transform(lazy)
    with pytest.raises(DataError, match=r"expected a matrix \(n_samples, n_features\) of real numbers"):
        fitted.transform(lazy[:, 0])
    with pytest.raises(DataError, match="complex128"):
        fitted.transform(lazy * 1j)
    with pytest.raises(DataError, match="not finite"):
        fitted.transform(da.full((10, 5), np.nan, chunks=5)).compute()
