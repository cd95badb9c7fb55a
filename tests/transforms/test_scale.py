"""Scaling to [0.1, 0.9]: exact in float64, for every dtype and range; what cannot be scaled is refused."""

import numpy as np
import pytest

from sparsae import DataError, ParameterError
from sparsae.data import load
from sparsae.data.readers import limits
from sparsae.transforms import Scale, TransformedRows


def saved(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    return tmp_path / "x.npy"


def test_the_range_is_mapped_and_repeated_on_new_data(tmp_path):
    """The transform does the same to other data, which may lie outside the range."""
    X = np.arange(12.0).reshape(4, 3) * 2 - 3
    data = load(saved(tmp_path, X), scale=True)
    np.testing.assert_allclose(data.X, 0.1 + 0.8 * (X + 3) / 22, rtol=1e-15)
    assert data.transform == Scale(n_visible=3, low=-3.0, high=19.0)
    new = load(saved(tmp_path, np.array([[-3.0, 30.0, -25.0]])), like=data.transform).X
    np.testing.assert_allclose(new, [[0.1, 1.3, -0.7]], rtol=1e-12)


@pytest.mark.parametrize(
    ("dtype", "out"), [("f4", "f4"), ("f2", "f4"), ("f8", "f8"), ("i4", "f8"), ("u1", "f8"), (">f8", "f8")]
)
def test_17_levels_around_a_million_stay_17_levels(tmp_path, dtype, out):
    """Far from zero the data's own dtype has no digits for X * factor + offset."""
    offset = {"f2": 1000, "u1": 100}.get(dtype, 1_000_000)
    X = (offset + np.arange(17)).astype(dtype).reshape(17, 1)
    data = load(saved(tmp_path, X), scale=True)
    np.testing.assert_allclose(data.X[:, 0], np.linspace(0.1, 0.9, 17), rtol=1e-6 if out == "f4" else 1e-14)
    assert len(np.unique(data.X)) == 17
    assert data.X.dtype == np.dtype(out)


@pytest.mark.parametrize("span", [5e-324 * 16, 2.0**-1030, 1e-300, 1e-20, 1.0, 1e300])
def test_ranges_of_any_size_are_scaled(tmp_path, span):
    """Subnormal ranges, where 0.8 / range overflows, and huge ones."""
    X = np.array([[0.0, 0.25, 0.5, 1.0]]) * span
    np.testing.assert_allclose(load(saved(tmp_path, X), scale=True).X, [[0.1, 0.3, 0.5, 0.9]], rtol=1e-14)


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.array([[-1.7e308, 1.7e308]]), DataError, "-1.7e[+]308 to 1.7e[+]308, is too large for float64"),
        (np.array([[1.0, np.nan]]), DataError, "x.npy has missing values: 1 in column 2. Fill them"),
        (np.array([[1.0, np.inf]]), DataError, "1 value that is not finite; the first is inf in row 0, column 1"),
        (np.array([[2**60, 2**60 + 1]]), DataError, "integers up to 1152921504606846977, which float64 cannot hold"),
        (np.array([[-(2**63), 0]]), DataError, "integers up to 9223372036854775808"),
        (np.full((2, 2), 3.0), ParameterError, r"All values of .*x.npy are 3; there is no range to scale"),
    ],
)
def test_what_cannot_be_scaled_is_refused(tmp_path, array, error, message):
    """Never a constant or NaN in silence."""
    with pytest.raises(error, match=message):
        load(saved(tmp_path, array), scale=True)


def test_data_of_several_pieces_gives_the_same(monkeypatch):
    """Piece by piece in memory of fixed size; the ends are exactly 0.1 and 0.9."""
    X = np.random.default_rng(0).normal(size=(100, 7))
    whole = Scale.fit(X).apply(X)
    monkeypatch.setattr("sparsae.engine.sources.PIECE_BYTES", 1000)
    np.testing.assert_array_equal(Scale.fit(X).apply(X), whole)
    assert (whole.min(), whole.max()) == (0.1, 0.9)


def test_what_does_not_fit_into_memory_is_scaled_when_it_is_read(tmp_path, monkeypatch):
    """The same values, row by row; and asking for all of it says what to do."""
    X = np.random.default_rng(0).normal(size=(50, 3))
    path, whole = saved(tmp_path, X), load(saved(tmp_path, X), scale=True).X
    monkeypatch.setattr(limits, "memory_limit", lambda: 1000)
    data = load(path, scale=True)
    assert isinstance(data.X, TransformedRows)
    assert (data.X.shape, data.X.dtype, len(data.X)) == ((50, 3), np.float64, 50)
    np.testing.assert_array_equal(data.X[10:20], whole[10:20])
    np.testing.assert_array_equal(data.X[40::3], whole[40::3])
    np.testing.assert_array_equal(data.X[np.array([3, 4, 9])], whole[[3, 4, 9]])
    np.testing.assert_array_equal(np.asarray(data.X), whole)
    monkeypatch.setattr("sparsae.transforms.base.memory_limit", lambda: 1000)
    with pytest.raises(DataError, match=r"needs 0.0 MiB when it is transformed as a whole, .*use view\(X\)"):
        data.transform.apply(X)
