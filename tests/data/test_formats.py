"""Every format: the same values in any container give the same bits, in memory and out of it."""

import hashlib

import numpy as np
import pytest
from tests.support.matrix_files import IN_MEMORY, matrix_files

from sparsae import Objective, Parameters
from sparsae.data import load
from sparsae.data.readers import limits
from sparsae.engine import storage
from sparsae.engine.row_file import RowFile

X = np.random.default_rng(0).random((333, 12))
FILES = matrix_files()


def evaluate(data, **options):
    """Cost and gradient, their container's digest, and how they were read."""
    theta = Parameters.random(12, 5, seed=1).flatten()
    with Objective(data, 5, threads=2, **options) as objective:
        cost, gradient = objective(theta)
        receipt = objective.receipt
    return cost.hex(), hashlib.sha256(gradient).hexdigest(), receipt.data_digest, receipt.storage, receipt.passes


@pytest.mark.filterwarnings("ignore:.* can only be read in order")
@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, np.float32) for name in FILES), ("x.parquet", np.float64), ("v2.zarr", np.float64)]
)
def test_the_same_values_in_any_file_give_the_same_bits(tmp_path, name, dtype, monkeypatch):
    """Loaded whole, read in blocks by two workers, and from a temporary copy: values, cost, gradient, digest."""
    dtype = np.float64 if ".csv" in name else dtype
    values = X.astype(dtype)
    FILES[name](tmp_path / name, values)
    data = load(tmp_path / name)
    np.testing.assert_array_equal(data.X, values)
    assert (type(data.X), data.X.dtype) == (np.ndarray, values.dtype)
    assert evaluate(data.X) == evaluate(values)
    if name in IN_MEMORY:
        return
    monkeypatch.setattr(limits, "memory_limit", lambda: 2 * values.nbytes - 2)
    monkeypatch.setattr(storage, "SHARE", 1 << 60)
    rows = load(tmp_path / name).X
    assert isinstance(rows, RowFile)
    expected = evaluate(values, block_rows=32)
    assert expected[3:] == ("streamed", 1)
    assert evaluate(rows, block_rows=32, temporary_copy=False) == expected
    assert evaluate(rows, block_rows=32) == expected
