"""Runs in a process of its own: lists and reads the arrays of one Matlab or HDF5 file, for `parser_process`.

A damaged file can crash the library that parses it; here a crash ends this process alone.
The script imports nothing of sparsae.  It writes one line of JSON with the variables (or an error) to standard output,
reads one line of JSON with the variable that is wanted, and writes that variable as a .npy file.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any

import numpy as np

MAX_DATA_SETS = 10_000  # that are listed


def limit_memory(n_bytes: int) -> None:
    """Limit the address space to what is used now and `n_bytes` more, where the system can; write no core file."""
    try:
        import resource

        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
            used = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        wanted = used + n_bytes
        resource.setrlimit(resource.RLIMIT_AS, (wanted if hard < 0 else min(wanted, hard), hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        return


class MatFile:
    """A file of Matlab version 4 to 7, read with SciPy."""

    def __init__(self, path: str) -> None:
        import scipy.io
        import scipy.sparse  # before memory is limited

        self._path, self._io = path, scipy.io

    def variables(self) -> list[tuple[str, list[int], str]]:
        """Return name, shape and class of each variable."""
        return [(name, [int(n) for n in shape], kind) for name, shape, kind in self._io.whosmat(self._path)]

    def read(self, name: str) -> Any:
        """Return one variable as a dense array."""
        with warnings.catch_warnings():  # SciPy 1.18 announces another class of sparse matrices, which is read as well
            warnings.simplefilter("ignore", DeprecationWarning)
            value = self._io.loadmat(self._path, variable_names=[name])[name]
        return value.toarray() if hasattr(value, "toarray") else value


class Hdf5File:
    """An HDF5 file, read with h5py; Matlab 7.3 has the axes in reversed order, and a class for each variable."""

    def __init__(self, path: str) -> None:
        import h5py

        with open(path, "rb") as file:  # noqa: PTH123
            self._matlab = file.read(10) == b"MATLAB 7.3"
        self._file = h5py.File(path, "r")

    def variables(self) -> list[tuple[str, list[int], str]]:
        """Return name, shape and kind of each variable or data set."""
        return self._matlab_variables() if self._matlab else self._data_sets()

    def _matlab_variables(self) -> list[tuple[str, list[int], str]]:
        found = []
        for name, value in self._file.items():
            if name.startswith("#"):
                continue
            kind = value.attrs.get("MATLAB_class", b"unknown")
            kind = kind.decode() if isinstance(kind, bytes) else str(kind)
            if "MATLAB_sparse" in value.attrs:
                rows = int(value.attrs["MATLAB_sparse"])
                found.append((name, [rows, int(value["jc"].shape[0]) - 1], "sparse"))
            else:
                found.append((name, list(getattr(value, "shape", ()))[::-1], kind))
        return found

    def _data_sets(self) -> list[tuple[str, list[int], str]]:
        found: list[tuple[str, list[int], str]] = []

        def visit(name: str, value: Any) -> bool | None:
            if hasattr(value, "dtype"):
                found.append((name, [int(n) for n in value.shape or ()], value.dtype.name))
            return True if len(found) == MAX_DATA_SETS else None

        self._file.visititems(visit)
        return found

    def read(self, name: str) -> Any:
        """Return one variable as a dense array."""
        value = self._file[name]
        if getattr(value, "is_virtual", False):
            raise ValueError("it shows data sets of other files, of which a missing one reads as fill values")
        if getattr(value, "external", None):
            raise ValueError("it keeps its numbers in other files")
        if "MATLAB_sparse" not in value.attrs:
            return value[()].T if self._matlab else value[()]
        import scipy.sparse

        shape = (int(value.attrs["MATLAB_sparse"]), int(value["jc"].shape[0]) - 1)
        return scipy.sparse.csc_matrix((value["data"][()], value["ir"][()], value["jc"][()]), shape=shape).toarray()


def parquet_facts(path: str) -> dict[str, Any]:
    """Return the rows of each row group, and the missing values in each column that is not nested."""
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_metadata(path)
    rows: list[int] = []
    nulls: dict[str, int | None] = {column.path: 0 for column in metadata.schema}
    for i in range(metadata.num_row_groups):
        group = metadata.row_group(i)
        rows.append(group.num_rows)
        for j in range(group.num_columns):
            column = group.column(j)
            statistics, total = column.statistics, nulls.get(column.path_in_schema)
            if total is None or statistics is None or not statistics.has_null_count:
                nulls[column.path_in_schema] = None
            else:
                nulls[column.path_in_schema] = total + int(statistics.null_count)
    if min(rows, default=0) < 0 or sum(rows) != metadata.num_rows:
        raise ValueError("its row groups do not have the rows that it promises")
    return {"rows": rows, "nulls": nulls}


def answer_for_parquet(n_bytes: int) -> None:
    """Answer for each path, one a line, until there are no more."""
    import pyarrow.parquet  # noqa: F401  before memory is limited

    limit_memory(n_bytes)
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = parquet_facts(json.loads(line))
        except Exception as error:  # noqa: BLE001  whatever a damaged file causes goes back as text
            answer = {"error": f"{type(error).__name__}: {error}"[:300]}
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def main() -> None:
    """Answer for the file named in the arguments: PATH, "mat" or "hdf5", bytes of memory; or for many: "parquet"."""
    path, kind, n_bytes = sys.argv[1], sys.argv[2], int(sys.argv[3])
    out = sys.stdout.buffer
    if kind == "parquet":
        answer_for_parquet(n_bytes)
        return
    try:
        file = MatFile(path) if kind == "mat" else Hdf5File(path)
        limit_memory(n_bytes)
        out.write(json.dumps({"variables": file.variables()}).encode() + b"\n")
        out.flush()
        request = json.loads(sys.stdin.readline() or "null")
        if request is None:
            return
        if request["n_bytes"]:
            limit_memory(int(request["n_bytes"]))
        array = np.asarray(file.read(request["name"]))
        np.lib.format.write_array(out, array, allow_pickle=False)
        out.flush()
    except Exception as error:  # noqa: BLE001  whatever a damaged file causes goes back as text
        text = "the memory does not suffice" if isinstance(error, MemoryError) else f"{type(error).__name__}: {error}"
        out.write(json.dumps({"error": text[:300]}).encode() + b"\n")
        out.flush()


if __name__ == "__main__":
    main()
