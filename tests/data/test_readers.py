"""Readers: every kind of file, and one clear error for each way in which a file can be unusable."""

import gzip
import io
import os
import struct
import sys

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from sparsae import DataError, ParameterError
from sparsae.data import extract_patches, load
from sparsae.data.pictures import images_of_array
from sparsae.data.readers import ReadRequest, hdf5, limits, read_file, row_views, source_file
from sparsae.data.readers.entries import LoadedArray
from sparsae.data.readers.missing import handle_missing
from sparsae.engine.npy_file import open_npy
from sparsae.errors import DataWarning, FileAccessError, FileFormatError, FileMissingError, MissingExtraError
from sparsae.transforms import Patches

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
    """Values come back exactly, in memory that nobody else can change."""
    data = load(write(tmp_path / name))
    np.testing.assert_array_equal(data.X, X)
    assert type(data.X) is np.ndarray
    assert data.transform is None


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
        ("1.5,2\n3,four\n", r"line 2, column 2 is 'four', which is not a number"),
        ("a,b\n1,2\n3,\n", r"line 3, column 2 \(b\) is empty"),
        ("1,2,3\n3,4,5\n3,4\n1,2,3\n", r"line 3 has 2 columns where the others have 3"),
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
    with pytest.raises(DataError, match=r"2 matrices; name one as .*x.npz::NAME. It has A \(4x3 float64\), B"):
        load(tmp_path / "x.npz")
    np.testing.assert_array_equal(load(f"{tmp_path}/x.npz:B").X, 2 * X)
    with pytest.raises(DataError, match="no array 'C'; it has A \\(4x3 float64\\), B"):
        load(f"{tmp_path}/x.npz:C")


def test_missing_files_folders_and_unknown_kinds_are_named(tmp_path):
    """With what is possible instead."""
    with pytest.raises(FileMissingError, match=r"There is no file nothing.npy. Give a file, or one of: digits"):
        load("nothing.npy")
    with pytest.raises(
        FileFormatError,
        match=r"is a folder without files of numbers \(.npy, .parquet, .* For pictures in it use patches:",
    ):
        load(tmp_path)
    (tmp_path / "x.doc").write_text("x")
    with pytest.raises(FileFormatError, match=r"x.doc is of no known kind; known are .npy, .npz, .mat, .csv"):
        load(tmp_path / "x.doc")


def test_a_file_without_permission_is_named(tmp_path, monkeypatch):
    """What the system says is passed on (simulated: the suite may run as root)."""
    path = write(tmp_path / "x.csv")

    def refuse(path, flags, permissions):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(source_file.os, "open", refuse)
    with pytest.raises(FileAccessError, match=r"x.csv cannot be read: Permission denied"):
        load(path)


def test_three_axes_are_images_and_no_matrix(tmp_path):
    """The exercise's IMAGES.mat, 512x512x10 as a small one: what it is, and what to do."""
    images = np.random.default_rng(0).normal(size=(24, 24, 5))
    scipy.io.savemat(tmp_path / "IMAGES.mat", {"IMAGES": images})
    with pytest.raises(DataError, match=r"three axes, 24x24x5: images\? Use patches:.*IMAGES.mat"):
        load(tmp_path / "IMAGES.mat")
    for source in ("IMAGES.mat", "IMAGES.mat:IMAGES"):
        data = load(f"patches:{tmp_path}/{source}", n_patches=50, patch_size=6, seed=1)
        assert data.X.shape == (50, 36)
    patches = extract_patches(list(np.moveaxis(images, 2, 0)), 50, 6, seed=1)
    expected = Patches.fit(patches).apply(patches)
    np.testing.assert_array_equal(data.X, expected)


@pytest.mark.parametrize(
    ("shape", "name", "n_images", "size"),
    [
        ((6, 6, 4), "x.npy", 4, (6, 6)),
        ((4, 6, 6), "x.npy", 4, (6, 6)),
        ((4, 6, 6), "x.mat", 4, (6, 6)),
        ((5, 6, 7), "x.npy", 5, (6, 7)),
        ((6, 7, 5), "x.mat", 5, (6, 7)),
        ((6, 6, 6), "x.npy", 6, (6, 6)),
        ((6, 7), "x.npy", 1, (6, 7)),
    ],
)
def test_which_axis_counts_the_images(tmp_path, shape, name, n_images, size):
    """The odd one out; else the last for Matlab and the first for NumPy. 16 bits are scaled by their range."""
    array = np.arange(np.prod(shape), dtype=np.uint16).reshape(shape)
    if name == "x.npy":
        np.save(tmp_path / name, array)
    else:
        scipy.io.savemat(tmp_path / name, {"x": array})
    label, loaded = read_file(tmp_path / name, ReadRequest(images=True))
    images = images_of_array(loaded, label)
    assert len(images) == n_images
    assert images[0].shape == size
    assert max(image.max() for image in images) == array.max() / 65535


@pytest.mark.parametrize("values", [np.ones((2, 2, 2, 2)), np.ones((0, 3)), np.full((3, 3), np.nan), np.ones(3)])
def test_arrays_that_are_no_images_are_refused(tmp_path, values):
    """Four axes, one axis, none of any, not finite."""
    np.save(tmp_path / "bad.npy", values)
    with pytest.raises(DataError, match=r"bad.npy"):
        load(f"patches:{tmp_path}/bad.npy")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "images.idx"])
def test_mnist_files_are_read_as_they_come(tmp_path, packed, name):
    """Samples are rows, pixels columns; the shape of a picture is known; labels are named as such."""
    pixels = np.random.default_rng(0).integers(0, 256, (30, 5, 4), dtype=np.uint8)
    pack = gzip.compress if packed else bytes
    path = tmp_path / (name + ".gz" * packed)
    path.write_bytes(pack(struct.pack(">HBBIII", 0, 8, 3, 30, 5, 4) + pixels.tobytes()))
    data = load(path)
    np.testing.assert_array_equal(data.X, pixels.reshape(30, 20))
    assert data.image_shape == (5, 4)
    assert load(path, scale=True).X.max() == pytest.approx(0.9)
    assert load(f"patches:{path}", n_patches=9, patch_size=3).X.shape == (9, 9)
    path.write_bytes(pack(struct.pack(">HBBI", 0, 8, 1, 30) + bytes(30)))
    with pytest.raises(DataError, match="holds one number for each of 30 samples, such as labels"):
        load(path)


def test_samples_as_columns_are_pointed_out_and_transposed(tmp_path):
    """Matlab's 64 x 10,000: a warning that names the option; with it, samples are rows and nothing is said."""
    patches = np.random.default_rng(0).random((8, 2000))
    scipy.io.savemat(tmp_path / "patches.mat", {"patches": patches})
    with pytest.warns(DataWarning, match=r"read as 8 samples of 2,000 inputs; .* use --transpose"):
        assert load(tmp_path / "patches.mat").X.shape == (8, 2000)
    data = load(tmp_path / "patches.mat", transpose=True)
    np.testing.assert_array_equal(data.X, patches.T)
    assert data.X.flags.c_contiguous


def test_sparse_matrices_of_matlab_are_made_dense(tmp_path, monkeypatch):
    """Within the memory share; beyond it the size is said before anything is read."""
    sparse = scipy.sparse.random(20, 6, 0.2, format="csc", random_state=0)
    scipy.io.savemat(tmp_path / "x.mat", {"X": sparse})
    np.testing.assert_array_equal(load(tmp_path / "x.mat").X, sparse.toarray())
    monkeypatch.setattr(limits, "memory_limit", lambda: 1000)
    with pytest.raises(FileFormatError, match=r"x.mat:X needs 960 bytes in memory; at most 500 bytes are used"):
        load(tmp_path / "x.mat")


def test_variables_of_matlab_that_are_no_matrix_are_named(tmp_path):
    """Structures, cells, text, complex numbers: by name and kind."""
    other = {"s": {"a": 1.0}, "c": np.array([[1, "b"]], object), "t": "text", "z": np.ones((2, 2)) * 1j}
    scipy.io.savemat(tmp_path / "x.mat", other)
    with pytest.raises(DataError, match=r"holds complex128 values; real numbers are needed"):
        load(tmp_path / "x.mat")
    with pytest.raises(DataError, match=r"s \(1x1 struct\) is not an array of real numbers. The file has s \(1x1 st"):
        load(f"{tmp_path}/x.mat:s")


def test_matlab_files_of_version_73_are_read_with_h5py(tmp_path):
    """HDF5 with the axes in reversed order; a sparse matrix; a name; a damaged file."""
    h5py = pytest.importorskip("h5py")
    sparse = scipy.sparse.random(8, 5, 0.3, format="csc", random_state=0)
    path = tmp_path / "x.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_dataset("X", data=X.T).attrs["MATLAB_class"] = np.bytes_("double")
        file.create_dataset("t", data=np.zeros((1, 3), "u2")).attrs["MATLAB_class"] = np.bytes_("char")
        group = file.create_group("S")
        group.attrs["MATLAB_class"], group.attrs["MATLAB_sparse"] = np.bytes_("double"), np.uint64(8)
        for name, values in (("data", sparse.data), ("ir", sparse.indices), ("jc", sparse.indptr)):
            group.create_dataset(name, data=values)
    content = bytearray(path.read_bytes())
    content[:10], content[124:128] = b"MATLAB 7.3", b"\x00\x02IM"
    path.write_bytes(content)
    np.testing.assert_array_equal(load(f"{path}:X").X, X)
    np.testing.assert_array_equal(load(f"{path}:S").X, sparse.toarray())
    with pytest.raises(DataError, match=r"2 matrices; name one as .* It has S \(8x5 sparse\), X \(4x3 double\), t"):
        load(path)
    path.write_bytes(content[:700])
    with pytest.raises(FileFormatError, match=r"x.mat is damaged or not a .mat file"):
        load(path)


def test_a_matlab_73_file_without_h5py_says_what_it_is(tmp_path, monkeypatch):
    """What to install, or how to save it."""
    monkeypatch.setitem(sys.modules, "h5py", None)
    (tmp_path / "x.mat").write_bytes(b"MATLAB 7.3 MAT-file".ljust(512) + hdf5.SIGNATURE)
    message = r"x.mat is a Matlab 7.3 file \(save\(..., '-v7'\) in Matlab writes one that .* needs h5py; .*\[files\]"
    with pytest.raises(MissingExtraError, match=message):
        load(tmp_path / "x.mat")


def test_columns_of_any_file_are_chosen(tmp_path):
    """By numbers from 1 as text, by positions from 0 in a sequence."""
    for name in ("x.npy", "x.npz", "x.mat"):
        path = write(tmp_path / name)
        np.testing.assert_array_equal(load(path, columns="3,1").X, X[:, [2, 0]])
        np.testing.assert_array_equal(load(path, columns=[2, 0]).X, X[:, [2, 0]])
    with pytest.raises(ParameterError, match="has no column 'a'; it has no column names"):
        load(path, columns="a")


def test_views_of_a_file_tell_when_it_was_written_to(tmp_path):
    """Chosen columns, chosen rows, complete rows; and none of them reads more than it is asked for."""
    np.save(tmp_path / "x.npy", np.arange(30.0).reshape(10, 3))
    rows = open_npy(tmp_path / "x.npy")
    views = (
        (row_views.ChosenColumns(rows, [2, 0], None), [[2, 0], [5, 3]]),
        (row_views.ChosenRows(rows, np.array([4, 5, 1])), [[12, 13, 14], [15, 16, 17]]),
        (row_views.CompleteRows(rows, np.array([0, 2])), [[3, 4, 5], [9, 10, 11]]),
    )
    for view, first in views:
        view.check_unchanged()
        np.testing.assert_array_equal(view[:2], first)
        assert view[1:1].shape == (0, view.shape[1])
    os.utime(tmp_path / "x.npy", (0, 0))
    for view, _ in views:
        with pytest.raises(DataError, match=r"x\.npy was written to while it was used"):
            view.check_unchanged()


@pytest.mark.parametrize("kind", ["in order", "other order", "read-only"])
def test_rows_are_left_out_in_place_where_the_array_allows_it(kind):
    """What may not be written to, or is not in the order of rows, is copied and stays as it is."""
    values = np.array([[0.0, 1], [np.nan, 3], [4, 5], [6, np.nan], [8, 9]])
    values = np.asfortranarray(values) if kind == "other order" else values
    before = values.copy()
    values.flags.writeable = kind != "read-only"
    kept = handle_missing("x", LoadedArray(values), drop=True)
    np.testing.assert_array_equal(kept.values, [[0, 1], [4, 5], [8, 9]])
    assert np.shares_memory(kept.values, values) == (kind == "in order")
    assert np.array_equal(values, before, equal_nan=True) == (kind != "in order")


def test_many_arrays_are_named_in_part(tmp_path):
    """Twenty, and how many more there are."""
    np.savez(tmp_path / "x.npz", **{f"a{i}": np.zeros((2, 2)) for i in range(25)})
    with pytest.raises(DataError, match=r"has 25 matrices; .* a19 \(2x2 float64\) and 5 more\.$"):
        load(tmp_path / "x.npz")
    assert load(f"{tmp_path}/x.npz:a24").X.shape == (2, 2)


@pytest.mark.parametrize(
    ("n_bytes", "text"), [(0, "0 bytes"), (999, "999 bytes"), (268e6, "268 MB"), (2.5e15, "2.5 PB"), (3e21, "3e+03 EB")]
)
def test_numbers_of_bytes_have_a_unit(n_bytes, text):
    """Up to the largest that has a name."""
    assert limits.format_bytes(n_bytes) == text


@pytest.mark.parametrize("missing", ["sklearn", "skimage", "PIL"])
def test_missing_libraries_are_named_with_the_line_that_installs_them(tmp_path, monkeypatch, missing):
    """Of digits, photos, patches, pictures."""
    for name in (missing, f"{missing}.datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    (tmp_path / "x.png").write_bytes(b"\x89PNG")
    sources = {"sklearn": ("digits", "photos"), "skimage": ("patches",), "PIL": (f"patches:{tmp_path}/x.png",)}
    for source in sources[missing]:
        with pytest.raises(MissingExtraError, match=r"pip install .*\[data\]'"):
            load(source)
