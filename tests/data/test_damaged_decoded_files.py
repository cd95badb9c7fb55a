"""Damaged files of the formats that other libraries decode: each is loaded or refused in one line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import matrix_files
from tests.support.damaged_files import damaged, load_outcome

from sparsae.data.readers.parquet_metadata import metadata_process

X = np.random.default_rng(0).random((40, 4))
Write = Callable[[Path, Any], None]
# What is written, the file in it that is damaged, how many times; fewer where each read starts a process.
KINDS: dict[str, tuple[str, str, Write, int]] = {
    "feather": ("x.feather", "", partial(matrix_files.write_table, chunksize=20), 120),
    "parquet": ("x.parquet", "", partial(matrix_files.write_table, row_group_size=20), 24),
    "lists in parquet": ("x.parquet", "", matrix_files.write_lists, 24),
    "safetensors": ("x.safetensors", "", matrix_files.write_safetensors, 120),
    "description of a zarr": ("x.zarr", "zarr.json", partial(matrix_files.write_zarr, chunks=(20, 4)), 60),
    "chunk of a zarr": ("x.zarr", "c/1/0", partial(matrix_files.write_zarr, chunks=(20, 4)), 60),
    "hdf5": ("x.h5", "", partial(matrix_files.write_hdf5, chunks=(20, 4), compression="gzip"), 6),
}


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_are_loaded_or_refused_in_one_line(tmp_path: Path, kind: str) -> None:
    """Nothing but a SparsaeError escapes; some are refused.  `tests/prove/fuzz_files.py` tries thousands."""
    name, part, write, n_files = KINDS[kind]
    write(tmp_path / name, X)
    target, source = tmp_path / name / part, str(tmp_path / name)
    sound = target.read_bytes()
    assert load_outcome(target, sound, source) == "loaded"
    with metadata_process():
        outcomes = Counter(load_outcome(target, content, source) for content in damaged(sound, n_files, seed=1))
    assert outcomes.total() == n_files
    assert outcomes["FileFormatError"] + outcomes["DataError"] > n_files // 10
