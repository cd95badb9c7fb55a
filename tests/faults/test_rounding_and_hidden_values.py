"""Values that are right but for rounding are accepted; values that are masked or missing are counted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import sparsae
from sparsae import DataError


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_one_unit_in_the_last_place_is_rounding(dtype: type) -> None:
    """A maximum of 1 + eps, as scalers give it, trains; 1 + 1000 eps does not, and the message shows the digits."""
    data = np.full((20, 4), 0.5, dtype=dtype)
    data[3, 2] = 1 + np.finfo(dtype).eps
    parameters = sparsae.Parameters.random(4, 2)
    assert np.isfinite(sparsae.cost_and_gradient(parameters, data)[0])
    data[3, 2] = dtype(1) + dtype(40) * np.finfo(dtype).eps
    with pytest.raises(DataError, match=r"1\.0\d*[1-9]"):
        sparsae.cost_and_gradient(parameters, data)


def test_scaled_data_trains() -> None:
    """What MinMaxScaler returns is within [0, 1] for sparsae."""
    from sklearn.preprocessing import MinMaxScaler

    rng = np.random.default_rng(0)
    scaled = [MinMaxScaler().fit_transform(rng.normal(size=(50, 8)) * 10**k) for k in range(-3, 4)]
    assert max(data.max() for data in scaled) > 1
    for data in scaled:
        sparsae.cost_and_gradient(sparsae.Parameters.random(8, 2), data)


def test_masked_values_are_counted() -> None:
    """A masked array with masked values is refused with their number; one without is used."""
    data = np.ma.masked_array(np.full((20, 4), 0.5))
    sparsae.cost_and_gradient(sparsae.Parameters.random(4, 2), data)
    data[3, 2] = np.ma.masked
    data[4] = np.ma.masked
    with pytest.raises(DataError, match="5 masked"):
        sparsae.cost_and_gradient(sparsae.Parameters.random(4, 2), data)


def test_missing_values_of_a_frame_are_counted_by_column() -> None:
    """Nullable columns with NA are refused with their names and numbers; without NA they are used."""
    frame = pd.DataFrame({"a": pd.array([0.1] * 5, dtype="Float64"), "b": pd.array([1, 0, 1, 1, 0], dtype="Int64")})
    sparsae.cost_and_gradient(sparsae.Parameters.random(2, 2), frame)
    frame.loc[2, "b"] = pd.NA
    frame.loc[3, "b"] = pd.NA
    with pytest.raises(DataError, match=r"missing values .*2 in b"):
        sparsae.cost_and_gradient(sparsae.Parameters.random(2, 2), frame)
