"""Scaling to [0.1, 0.9]: exact in float64, for every dtype and range; what cannot be scaled is refused."""

import numpy as np
import pytest

from sparsae import DataError, ParameterError
from sparsae.data import load
from sparsae.data.readers import limits
from sparsae.data.scaling import apply_range, find_range
from sparsae.errors import FileFormatError


def saved(tmp_path, array):
    np.save(tmp_path / "x.npy", array)
    return tmp_path / "x.npy"


def test_the_range_is_mapped_and_repeated_on_new_data(tmp_path):
    """The record's constants do the same to other data, which may lie outside the range."""
    X = np.arange(12.0).reshape(4, 3) * 2 - 3
    data = load(saved(tmp_path, X), scale=True)
    np.testing.assert_allclose(data.X, 0.1 + 0.8 * (X + 3) / 22, rtol=1e-15)
    assert data.preprocessing == {"kind": "scaled", "low": -3.0, "high": 19.0}
    new = load(saved(tmp_path, np.array([[-3.0, 30.0, -25.0]])), like=data.preprocessing).X
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
        (np.array([[1.0, np.nan]]), DataError, "values that are not finite"),
        (np.array([[1.0, np.inf]]), DataError, "values that are not finite"),
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
    whole = apply_range(X, "X", find_range(X, "X"))
    monkeypatch.setattr("sparsae.data.scaling.PIECE_BYTES", 1000)
    np.testing.assert_array_equal(apply_range(X, "X", find_range(X, "X")), whole)
    assert (whole.min(), whole.max()) == (0.1, 0.9)


def test_a_damaged_record_and_a_result_too_large_are_refused(tmp_path, monkeypatch):
    """A model file may be damaged; the scaled copy must fit into the memory share."""
    path = saved(tmp_path, np.eye(3))
    with pytest.raises(DataError, match="needs low and high; it has kind, factor"):
        load(path, like={"kind": "scaled", "factor": 1})
    monkeypatch.setattr(limits, "memory_limit", lambda: 100)
    with pytest.raises(FileFormatError, match="needs 72 bytes in memory; at most 50 bytes"):
        load(path, scale=True)
