"""The container never decides the algorithm: the same values give the same passes, storage and bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import sparsae


class Sliced:
    """Rows by slicing, as HDF5 and Zarr give them."""

    def __init__(self, data: np.ndarray) -> None:
        self._data, self.shape, self.dtype = data, data.shape, data.dtype

    def __getitem__(self, where: object) -> np.ndarray:
        return self._data[where]


def containers(data: np.ndarray, folder: Path) -> dict[str, object]:
    """The same values in other containers."""
    path = folder / "data.npy"
    np.save(path, data)
    read_only = data.copy()
    read_only.flags.writeable = False
    return {
        "read-only": read_only,
        "Fortran order": np.asfortranarray(data),
        "strided": np.repeat(data, 2, axis=0)[::2],
        "memory map": np.load(path, mmap_mode="r"),
        "frame": pd.DataFrame(data),
        "row slicing": Sliced(data),
        "list": data.tolist(),
    }


@pytest.mark.parametrize(
    "kind", ["read-only", "Fortran order", "strided", "memory map", "frame", "row slicing", "list"]
)
def test_bits_do_not_depend_on_the_container(kind: str, tmp_path: Path) -> None:
    """Cost, gradient, passes and storage are those of the array, for more than a megabyte of data."""
    data = np.random.default_rng(0).uniform(0.1, 0.9, (3000, 60))
    theta = sparsae.Parameters.random(60, 7).flatten()
    with sparsae.Objective(data, 7) as objective:
        cost, gradient = objective(theta)
        receipt = objective.receipt
    with sparsae.Objective(containers(data, tmp_path)[kind], 7) as objective:
        other_cost, other_gradient = objective(theta)
        other = objective.receipt
    assert (other.passes, other.storage) == (receipt.passes, receipt.storage)
    assert other_cost == cost
    assert other_gradient.tobytes() == gradient.tobytes()
