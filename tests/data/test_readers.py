"""Readers: every kind of file, and one clear error for each way in which a file can be unusable."""

import gzip
import io

import numpy as np
import pytest
import scipy.io

from sparsae import DataError
from sparsae.data import load
from sparsae.errors import FileAccessError, FileFormatError, FileMissingError

X = np.arange(12, dtype=float).reshape(4, 3) / 20


def text(delimiter, header=""):
    """The matrix as text."""
    file = io.StringIO()
    np.savetxt(file, X, delimiter=delimiter, fmt="%.17g")
    return header + file.getvalue()


def write(path):
    """Write the matrix in the kind of the path's ending."""
    kind = "".join(path.suffixes)
    if kind == ".npy":
        np.save(path, X)
    elif kind == ".npz":
        np.savez(path, X=X, names=np.array(["a"]))
    elif kind == ".mat":
        scipy.io.savemat(path, {"patches": X, "title": "x"})
    else:
        delimiter = {".csv": ",", ".tsv": "\t", ".txt": " "}[path.suffixes[0]]
        content = text(delimiter)
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(content.encode()))
        else:
            path.write_text(content)
    return path


@pytest.mark.parametrize(
    "name", ["x.npy", "x.npz", "x.mat", "x.csv", "x.tsv", "x.txt", "x.csv.gz", "x.tsv.gz", "x.txt.gz"]
)
def test_each_kind_of_file_gives_the_matrix(tmp_path, name):
    """Values come back exactly; .npy is mapped, not read."""
    data = load(write(tmp_path / name))
    np.testing.assert_array_equal(data.X, X)
    assert isinstance(data.X, np.memmap) == (name == "x.npy")
    assert data.preprocessing["kind"] == "none"


@pytest.mark.parametrize(
    "content",
    [
        text(","),
        text(";"),
        text("\t"),
        "a,b,c\n" + text(","),
        "# made by hand\n\n" + text(","),
        "\ufeff" + text(","),
    ],
)
def test_tables_with_headers_comments_and_other_delimiters(tmp_path, content):
    """Semicolons, tabs, a line of names, comments, empty lines, a byte order mark."""
    (tmp_path / "x.csv").write_text(content, encoding="utf-8")
    np.testing.assert_array_equal(load(tmp_path / "x.csv").X, X)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("1,2\n3,four\n", r"line 2, column 2 is 'four', which is not a number"),
        ("a,b\n1,2\n3,\n", r"line 3, column 2 is empty"),
        ("1,2\n3,4,5\n", r"line 2 has 3 columns where the lines before have 2"),
        ("", "is empty: there is no line with numbers"),
        ("# only a comment\n", "is empty"),
    ],
)
def test_bad_cells_are_named_by_line_and_column(tmp_path, content, message):
    """Text, empty cells, ragged lines, nothing at all."""
    (tmp_path / "x.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "x.csv")


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.mat", "x.csv.gz"])
def test_truncated_and_foreign_files_are_refused(tmp_path, name):
    """Cut in the middle, or something else under that name: FileFormatError that names the file."""
    path = write(tmp_path / name)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"this is not what the name says" * 9, b""):
        path.write_bytes(content)
        with pytest.raises((FileFormatError, DataError), match=name.replace(".", r"\.")):
            load(path)


def test_arrays_are_picked_by_name(tmp_path):
    """Two matrices: the error lists them, FILE:NAME picks one."""
    np.savez(tmp_path / "x.npz", A=X, B=2 * X)
    with pytest.raises(DataError, match=r"2 matrices; name one as .*x.npz:NAME. It has A, B"):
        load(tmp_path / "x.npz")
    np.testing.assert_array_equal(load(f"{tmp_path}/x.npz:B").X, 2 * X)
    with pytest.raises(DataError, match="no array 'C'; it has A, B"):
        load(f"{tmp_path}/x.npz:C")


def test_missing_files_folders_and_unknown_kinds_are_named(tmp_path):
    """With what is possible instead."""
    with pytest.raises(FileMissingError, match=r"There is no file nothing.npy. Give a file, or one of: digits"):
        load("nothing.npy")
    with pytest.raises(FileFormatError, match=r"is a folder\. For pictures in it use patches:"):
        load(tmp_path)
    (tmp_path / "x.doc").write_text("x")
    with pytest.raises(FileFormatError, match=r"x.doc is of no known kind; known are .npy, .npz, .csv"):
        load(tmp_path / "x.doc")
    np.save(tmp_path / "o.npy", np.array([[None, 1]], dtype=object))
    with pytest.raises(DataError, match=r"o.npy holds Python objects"):
        load(tmp_path / "o.npy")


def test_a_file_without_permission_is_named(tmp_path, monkeypatch):
    """What the system says is passed on (simulated: the suite may run as root)."""
    path = write(tmp_path / "x.csv")
    original = type(path).open

    def refuse(self, *args, **kwargs):
        if self.name == "x.csv":
            raise PermissionError(13, "Permission denied")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(type(path), "open", refuse)
    with pytest.raises(FileAccessError, match=r"x.csv cannot be read: Permission denied"):
        load(path)


def test_scaling_maps_the_range_and_is_repeated_on_new_data(tmp_path):
    """The record's constants do the same to other data."""
    np.save(tmp_path / "a.npy", 40 * X - 3)
    np.save(tmp_path / "b.npy", np.full((2, 3), -3.0))
    data = load(tmp_path / "a.npy", scale=True)
    assert data.X.min() == pytest.approx(0.1)
    assert data.X.max() == pytest.approx(0.9)
    np.testing.assert_allclose(load(tmp_path / "b.npy", like=data.preprocessing).X, 0.1, rtol=1e-12)
