"""The script that parses files in a process of its own, called in this one: that process is killed after its answer."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from tests.support import matrix_files

from sparsae.data.readers import parser_script

X = np.random.default_rng(0).uniform(0.1, 0.9, (150, 3))
LIMITED = """
from sparsae.data.readers.parser_script import limit_memory
limit_memory(1 << 26)
try:
    bytearray(1 << 30)
except MemoryError:
    print("limited")
"""


def ask(monkeypatch: pytest.MonkeyPatch, path: Path, kind: str, *lines: Any) -> tuple[bytes, list[int]]:
    """What it writes for these lines, and the limits of memory that it would have set."""
    out, limits = io.TextIOWrapper(io.BytesIO(), write_through=True), []
    with monkeypatch.context() as patch:
        patch.setattr(sys, "argv", ["parser", str(path), kind, "1000"])
        patch.setattr(sys, "stdin", io.StringIO("".join(json.dumps(line) + "\n" for line in lines)))
        patch.setattr(sys, "stdout", out)
        patch.setattr(parser_script, "limit_memory", limits.append)
        parser_script.main()
        out.flush()
        assert isinstance(out.buffer, io.BytesIO)
        return out.buffer.getvalue(), limits


def write_sparse_mat73(path: Path, X: Any) -> None:
    """A sparse matrix as Matlab 7.3 stores it: three arrays in a group."""
    import h5py

    matrix = scipy.sparse.csc_matrix(X)
    with h5py.File(path, "w", userblock_size=512) as file:
        group = file.create_group("X")
        group.attrs["MATLAB_class"], group.attrs["MATLAB_sparse"] = np.bytes_("double"), np.uint64(len(X))
        group["data"], group["ir"], group["jc"] = matrix.data, matrix.indices, matrix.indptr
        file.create_group("#refs#")
    path.write_bytes(b"MATLAB 7.3" + path.read_bytes()[10:])


WRITERS = {
    "x.mat": (lambda path, X: scipy.io.savemat(path, {"X": X}), "mat"),
    "sparse.mat": (lambda path, X: scipy.io.savemat(path, {"X": scipy.sparse.csc_matrix(X)}), "mat"),
    "x.h5": (matrix_files.write_hdf5, "hdf5"),
    "v73.mat": (partial(matrix_files.write_hdf5, matlab=True), "hdf5"),
    "sparse-v73.mat": (write_sparse_mat73, "hdf5"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_variables_are_listed_and_the_one_that_is_asked_for_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    """One line of JSON, then the bytes of a .npy file; the memory is limited by what was asked for."""
    write, kind = WRITERS[name]
    write(tmp_path / name, X)
    listed, limits = ask(monkeypatch, tmp_path / name, kind)
    (variable,) = json.loads(listed)["variables"]
    assert (variable[1], limits) == ([150, 3], [1000])
    answer, limits = ask(monkeypatch, tmp_path / name, kind, {"name": variable[0], "n_bytes": 7})
    line, _, array = answer.partition(b"\n")
    assert (line + b"\n", limits) == (listed, [1000, 7])
    np.testing.assert_array_equal(np.load(io.BytesIO(array)), X)


@pytest.mark.parametrize("kind", ["mat", "hdf5"])
def test_what_a_parser_raises_is_an_answer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str) -> None:
    """One line with the error, which the parent puts into its message."""
    (tmp_path / "x").write_bytes(b"MATLAB 5.0 MAT-file" + bytes(300))
    answer, _ = ask(monkeypatch, tmp_path / "x", kind)
    assert set(json.loads(answer)) == {"error"}


def test_footers_of_parquet_are_answered_one_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The rows of each group and the missing values of each column; an error for what is no such file."""
    pytest.importorskip("pyarrow")
    matrix_files.write_table(tmp_path / "x.parquet", X)
    (tmp_path / "no.parquet").write_bytes(b"PAR1" * 9)
    paths = [str(tmp_path / name) for name in ("no.parquet", "x.parquet")]
    answer, limits = ask(monkeypatch, Path(), "parquet", *paths)
    damaged, facts = map(json.loads, answer.splitlines())
    assert "error" in damaged
    assert facts == {"rows": [70, 70, 10], "nulls": {"x0": 0, "x1": 0, "x2": 0}}
    assert limits == [1000]


def test_what_a_footer_does_not_count_is_not_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Columns without statistics, in one row group or in all."""
    pyarrow = pytest.importorskip("pyarrow")
    table = pyarrow.table({"a": X[:, 0], "b": X[:, 1]})
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(table, tmp_path / "x.parquet", row_group_size=100, write_statistics=["b"])
    answer, _ = ask(monkeypatch, Path(), "parquet", str(tmp_path / "x.parquet"))
    assert json.loads(answer) == {"rows": [100, 50], "nulls": {"a": None, "b": 0}}


def test_a_footer_whose_numbers_of_rows_contradict_each_other_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows would be looked for where there are none."""
    parquet = pytest.importorskip("pyarrow.parquet")
    for rows in ([3], [7, -3]):
        groups = [SimpleNamespace(num_rows=n, num_columns=0) for n in rows]
        footer = SimpleNamespace(schema=(), num_row_groups=len(rows), row_group=groups.__getitem__, num_rows=4)
        monkeypatch.setattr(parquet, "read_metadata", lambda path, footer=footer: footer)
        answer, _ = ask(monkeypatch, Path(), "parquet", "x.parquet")
        assert json.loads(answer)["error"].endswith("its row groups do not have the rows that it promises")


def test_numbers_in_other_files_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A file that comes from elsewhere could show whatever file is here."""
    h5py = pytest.importorskip("h5py")
    X.tofile(tmp_path / "other")
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("X", X.shape, X.dtype, external=[(str(tmp_path / "other"), 0, X.nbytes)])
    answer, _ = ask(monkeypatch, tmp_path / "x.h5", "hdf5", {"name": "X", "n_bytes": 7})
    assert json.loads(answer.splitlines()[1])["error"].endswith("it keeps its numbers in other files")


def test_where_there_are_no_limits_memory_is_not_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, which has no module for them; nothing is raised."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_CORE)
    monkeypatch.setitem(sys.modules, "resource", None)
    parser_script.limit_memory(0)
    assert resource.getrlimit(resource.RLIMIT_CORE) == before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere memory is not limited")
def test_memory_is_limited() -> None:
    """What a damaged file makes the parser ask for fails."""
    done = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False, timeout=300)
    assert (done.stdout, done.returncode) == ("limited\n", 0), done.stderr
