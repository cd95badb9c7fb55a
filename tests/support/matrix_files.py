"""One matrix in every kind of file that a program may keep it in."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

Array = Any
PACKERS = {".gz": lambda b: gzip.compress(b, mtime=0), ".bz2": bz2.compress, ".xz": lzma.compress}


def write_npy(path: Path, X: Array) -> None:
    np.save(path, X)


def write_text(path: Path, X: Array) -> None:
    """CSV, as many digits as it takes; compressed by the ending of the name."""
    file = io.StringIO()
    np.savetxt(file, X, delimiter=",", fmt="%r" if X.dtype == object else "%.17g")
    path.write_bytes(PACKERS.get(path.suffix, bytes)(file.getvalue().encode()))


def write_table(path: Path, X: Array, **options: Any) -> None:
    """Parquet with small row groups, or Feather with small batches."""
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet

    names = [f"x{j}" for j in range(X.shape[1])]
    table = pa.table([np.ascontiguousarray(column) for column in X.T], names=names)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(table, path, **{"row_group_size": 70, **options})
    else:
        pyarrow.feather.write_feather(table, path, **{"chunksize": 70, **options})


def write_lists(path: Path, X: Array) -> None:
    """Parquet with one column of lists, as activations are often stored."""
    import pyarrow as pa
    import pyarrow.parquet

    column = pa.array(list(X))
    pyarrow.parquet.write_table(pa.table({"activations": column}), path, row_group_size=70)


def write_zarr(path: Path, X: Array, **options: Any) -> None:
    """Chunks that fit neither rows nor columns."""
    import zarr

    array = zarr.create_array(path, shape=X.shape, dtype=X.dtype, **{"chunks": (30, 5), **options})
    array[:] = X


def write_hdf5(path: Path, X: Array, *, matlab: bool = False, **options: Any) -> None:
    import h5py

    with h5py.File(path, "w", userblock_size=512) as file:
        data = file.create_dataset("X" if matlab else "group/X", data=X.T if matlab else X, **options)
        if matlab:
            data.attrs["MATLAB_class"] = np.bytes_({"f8": "double", "f4": "single"}[X.dtype.str[1:]])
    if matlab:
        content = bytearray(path.read_bytes())
        content[:10], content[124:128] = b"MATLAB 7.3", b"\x00\x02IM"
        path.write_bytes(content)


def write_safetensors(path: Path, X: Array) -> None:
    import safetensors.numpy

    safetensors.numpy.save_file({"X": np.ascontiguousarray(X)}, path)


def write_bfloat16(path: Path, X: Array) -> None:
    """Safetensors with the upper halves of float32 numbers, which X must be exact in."""
    bits = (np.ascontiguousarray(X, np.float32).view(np.uint32) >> 16).astype("<u2").tobytes()
    header = json.dumps({"X": {"dtype": "BF16", "shape": list(X.shape), "data_offsets": [0, len(bits)]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + bits)


def write_shards(folder: Path, X: Array, write: Callable[[Path, Array], None], suffix: str) -> None:
    """Twelve files of unequal length, the second of which has no rows; names whose order is not that of letters."""
    folder.mkdir()
    bounds = [0, 9, 9, *np.linspace(9, len(X), 10).astype(int)[1:], len(X)]
    for i, (first, last) in enumerate(pairwise(bounds)):
        write(folder / f"part-{i}{suffix}", X[first:last])


def matrix_files() -> dict[str, Callable[[Path, Array], None]]:
    """Name of the file, and how it is written; "{}::NAME" is not needed, since each holds one matrix."""
    return {
        "x.npy": write_npy,
        "f.npy": lambda path, X: np.save(path, np.asfortranarray(X)),
        "big-endian.npy": lambda path, X: np.save(path, X.astype(X.dtype.newbyteorder(">"))),
        "x.npz": lambda path, X: np.savez(path, X=X),
        "x.mat": lambda path, X: scipy.io.savemat(path, {"X": X}),
        "x.csv": write_text,
        "x.csv.bz2": write_text,
        "x.csv.xz": write_text,
        "x.parquet": write_table,
        "plain.parquet": lambda path, X: write_table(path, X, row_group_size=10**6, use_dictionary=False),
        "lists.parquet": write_lists,
        "x.feather": write_table,
        "plain.feather": lambda path, X: write_table(path, X, compression="uncompressed"),
        "v2.zarr": lambda path, X: write_zarr(path, X, zarr_format=2),
        "v3.zarr": write_zarr,
        "sharded.zarr": lambda path, X: write_zarr(path, X, chunks=(20, 5), shards=(60, 10)),
        "x.h5": write_hdf5,
        "chunked.h5": lambda path, X: write_hdf5(path, X, chunks=(30, 5), compression="gzip", shuffle=True),
        "v73.mat": lambda path, X: write_hdf5(path, X, matlab=True),
        "chunked-v73.mat": lambda path, X: write_hdf5(path, X, matlab=True, chunks=(5, 30), compression="gzip"),
        "x.safetensors": write_safetensors,
        "folder of npy": lambda path, X: write_shards(path, X, write_npy, ".npy"),
        "folder of parquet": lambda path, X: write_shards(path, X, write_table, ".parquet"),
        "folder of safetensors": lambda path, X: write_shards(path, X, write_safetensors, ".safetensors"),
    }


IN_MEMORY = ("x.npz", "x.mat", "x.csv", "x.csv.bz2", "x.csv.xz")
"""Files that are always read whole."""
