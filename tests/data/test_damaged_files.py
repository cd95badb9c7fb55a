"""Damaged and hostile files: one line, a `SparsaeError`, no memory, no crash."""

import gzip
import io
import struct
import zipfile
from collections import Counter

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from tests.support.damaged_files import damaged, load_outcome, zip_members
from tests.support.sound_files import PICTURES, SOUND, X, csv_bytes, npy_bytes, npz_bytes, picture_bytes

from sparsae import DataError
from sparsae.data import load
from sparsae.data.readers import limits, npy
from sparsae.errors import FileFormatError


@pytest.mark.parametrize("name", SOUND)
def test_damaged_files_are_loaded_or_refused_in_one_line(tmp_path, name):
    """300 damaged versions of each kind of file: nothing but a SparsaeError escapes; most are refused."""
    sound = SOUND[name]()
    assert load_outcome(tmp_path / name, sound) == "loaded"
    outcomes = Counter(load_outcome(tmp_path / name, content) for content in damaged(sound, 300, seed=1))
    assert outcomes.total() == 300
    assert outcomes["FileFormatError"] + outcomes["DataError"] > 60


@pytest.mark.parametrize("name", PICTURES)
def test_damaged_pictures_are_loaded_or_refused_in_one_line(tmp_path, name):
    """200 damaged versions of a picture of each format."""
    path = tmp_path / name
    sound = picture_bytes(PICTURES[name])
    assert load_outcome(path, sound, f"patches:{path}") == "loaded"
    outcomes = Counter(load_outcome(path, content, f"patches:{path}") for content in damaged(sound, 200, seed=2))
    assert outcomes.total() == 200
    assert outcomes["FileFormatError"] > 20


@pytest.mark.parametrize("options", [{}, {"do_compression": True}, {"format": "4"}])
def test_damaged_matlab_files_are_loaded_or_refused_in_one_line(tmp_path, options):
    """Each read has a process of its own, so there are fewer of them; `tests/prove/fuzz_files.py` tries thousands."""
    file = io.BytesIO()
    scipy.io.savemat(file, {"X": X}, **options)
    assert load_outcome(tmp_path / "x.mat", file.getvalue()) == "loaded"
    outcomes = Counter(load_outcome(tmp_path / "x.mat", c) for c in damaged(file.getvalue(), 8, seed=3))
    assert outcomes.total() == 8
    assert outcomes["loaded"] < 7


# .npy and .npz


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000, 4)}", "truncated: shape"),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (-1, 4)}", "negative length"),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (6.5, 4)}", "damaged or not a .npy file"),
        (b"{'descr': '<f8', 'fortran_order': False, 'shape': (" + b"9" * 5000 + b", 4)}", "damaged or not a .npy file"),
        (b"{'descr': '<f8', 'fortran_order': 3, 'shape': (6, 4)}", "damaged or not a .npy file"),
        (b"{'descr': '<q9', 'fortran_order': False, 'shape': (6, 4)}", "damaged or not a .npy file"),
        (b"{'shape': (6, 4)}", "damaged or not a .npy file"),
        (b"(" * 1000, "damaged or not a .npy file"),
        (b"-" * 9000 + b"1", "damaged or not a .npy file"),
        (b"__import__('os').system('true')", "damaged or not a .npy file"),
    ],
)
def test_headers_of_npy_files_are_checked_before_anything_is_allocated(tmp_path, header, message):
    """Sizes that are not there, that are no sizes, and what is no header at all."""
    header = header.ljust(len(header) + 1) + b"\n"
    (tmp_path / "x.npy").write_bytes(npy.MAGIC + b"\1\0" + struct.pack("<H", len(header)) + header + X.tobytes())
    with pytest.raises(FileFormatError, match=rf"x\.npy.*{message}"):
        load(tmp_path / "x.npy")


def test_a_long_header_of_an_npy_file_is_not_read(tmp_path):
    """Version 2 may declare 4 GB of header."""
    (tmp_path / "x.npy").write_bytes(npy.MAGIC + b"\2\0" + struct.pack("<I", 2**32 - 1) + b"{")
    with pytest.raises(FileFormatError, match="declares a header of 4294967295 bytes; at most 10000"):
        load(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("array", "error", "message"),
    [
        (np.array([[None, 1]], dtype=object), DataError, "holds Python objects, not numbers"),
        (np.zeros(3, dtype=[("a", "f8"), ("b", "f4")]), DataError, r"structured array with the fields a, b"),
        (np.array([["a", "b"]]), DataError, "holds <U1 values; real numbers are needed"),
        (np.ones((3, 2), complex), DataError, "holds complex128 values; real numbers"),
        (np.ones((3, 2), "M8[s]"), DataError, r"holds datetime64\[s\] values"),
        (np.ones((3, 2, 2)), DataError, "three axes, 3x2x2: images"),
        (np.ones(3), DataError, r"shape \(3,\); a matrix .* for one sample X.reshape\(1, -1\)"),
        (np.array(1.5), DataError, r"shape \(\)"),
        (np.ones((0, 3)), DataError, r"is empty: its shape is \(0, 3\)"),
        (np.ones((3, 0)), DataError, r"is empty: its shape is \(3, 0\)"),
    ],
)
@pytest.mark.parametrize("scale", [False, True])
def test_arrays_that_are_no_matrix_of_numbers_are_refused_by_what_they_are(tmp_path, array, error, message, scale):
    """Objects, fields, text, complex numbers, dates, other numbers of axes, empty tables; with --scale too."""
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(error, match=message):
        load(tmp_path / "x.npy", scale=scale)


@pytest.mark.parametrize("dtype", [">f8", "<f4", ">f4", "<f2", ">i2", "u1", "?", "<i8", "g"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_every_kind_of_real_numbers_is_read(tmp_path, dtype, order, version):
    """Either byte order, either memory order, each version of the format; native byte order comes out."""
    array = np.asarray(np.arange(12).reshape(4, 3) % 2, dtype=dtype, order=order)
    (tmp_path / "x.npy").write_bytes(npy_bytes(array, version=version))
    loaded = load(tmp_path / "x.npy").X
    np.testing.assert_array_equal(loaded, array)
    assert loaded.dtype == array.dtype.newbyteorder("=")
    assert loaded.dtype.isnative


def test_a_byte_that_is_no_boolean_becomes_true(tmp_path):
    """A bool array with other bytes than 0 and 1 would be neither true nor false."""
    (tmp_path / "x.npy").write_bytes(npy_bytes(np.ones((2, 2), bool))[:-4] + b"\0\2\xff\1")
    assert load(tmp_path / "x.npy").X.tolist() == [[False, True], [True, True]]


def test_bytes_after_an_array_are_refused(tmp_path):
    """numpy.save twice into one file: the second array would be lost in silence."""
    (tmp_path / "x.npy").write_bytes(npy_bytes() * 2)
    with pytest.raises(FileFormatError, match=r"has bytes after the array; a .npy file must hold one array"):
        load(tmp_path / "x.npy")


def test_the_content_decides_what_a_file_is(tmp_path):
    """.npy bytes in x.npz, .npz bytes in x.npy, an array named x.csv or without an ending."""
    for name in ("x.npz", "x.csv", "x", "x.mat"):
        (tmp_path / name).write_bytes(npy_bytes())
        np.testing.assert_array_equal(load(tmp_path / name).X, X)
    (tmp_path / "y.npy").write_bytes(npz_bytes())
    np.testing.assert_array_equal(load(tmp_path / "y.npy").X, X)
    (tmp_path / "z.npy").write_bytes(csv_bytes())
    with pytest.raises(FileFormatError, match=r"z.npy is damaged or not a .npy file: its first bytes are b'\"a b"):
        load(tmp_path / "z.npy")


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("X.npy", npy_bytes()), ("X.npy", npy_bytes())], "more than one member 'X.npy'"),
        ([("[Content_Types].xml", b"<a/>")], "an office document, such as a spreadsheet; export it as CSV"),
        ([("a.txt", b"1,2")], "a zip archive without arrays .*; it has a.txt"),
        ([("X.npy", npy_bytes()[:-8])], r"x.npz:X is truncated"),
        ([("X.npy", npy_bytes() + b"1")], r"x.npz:X is truncated: .* needs 192 bytes, the file has 193"),
        ([("X.npy", b"not an array")], r"x.npz:X is damaged or not a .npy file"),
        ([("\x1b[31m\n.npy", b"")], r"x.npz: is damaged"),
        ([(f"{i}.npy", b"") for i in range(10_001)], "has 10001 members; at most 10000 are read"),
    ],
)
def test_archives_are_checked_before_they_are_read(tmp_path, members, message):
    """Members of one name, other archives, members that are not what they declare, escape sequences in names."""
    zip_members(tmp_path / "x.npz", members, zipfile.ZIP_STORED)
    with pytest.raises(FileFormatError, match=message) as caught:
        load(tmp_path / "x.npz")
    assert str(caught.value).isprintable()


def test_members_with_path_names_stay_in_the_archive(tmp_path):
    """Nothing is unpacked: a name is nothing but a name."""
    zip_members(tmp_path / "x.npz", [("../../escaped.npy", npy_bytes())])
    np.testing.assert_array_equal(load(f"{tmp_path}/x.npz:../../escaped").X, X)
    assert [path.name for path in tmp_path.iterdir()] == ["x.npz"]


def test_encrypted_and_foreign_compression_in_archives_is_named(tmp_path):
    """The flag of encryption is set by hand; LZMA is a compression that NumPy never uses."""
    zip_members(tmp_path / "x.npz", [("X.npy", npy_bytes())], zipfile.ZIP_STORED)
    content = bytearray((tmp_path / "x.npz").read_bytes())
    for signature, at in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + at] |= 1
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(FileFormatError, match=r"'X.npy' is encrypted; encrypted files are not read"):
        load(tmp_path / "x.npz")
    zip_members(tmp_path / "x.npz", [("X.npy", npy_bytes())], zipfile.ZIP_LZMA)
    with pytest.raises(FileFormatError, match="compressed in a way that NumPy does not use"):
        load(tmp_path / "x.npz")


def test_a_sparse_matrix_of_scipy_is_named(tmp_path):
    """With the line that makes a dense one."""
    scipy.sparse.save_npz(tmp_path / "x.npz", scipy.sparse.csr_matrix(X))
    with pytest.raises(DataError, match=r"holds a sparse matrix of SciPy; .*load_npz\('x.npz'\).toarray\(\)"):
        load(tmp_path / "x.npz")


# Expansion and memory


def test_what_compressed_files_may_expand_to_is_limited_and_said(tmp_path, monkeypatch):
    """A limit of 1 MB in place of 268 MB: archives, gzip, text in one line; below it the same files load."""
    zeros = np.zeros((500, 1000))
    np.savez_compressed(tmp_path / "x.npz", X=zeros)
    (tmp_path / "x.npy.gz").write_bytes(gzip.compress(npy_bytes(zeros)))
    (tmp_path / "x.csv.gz").write_bytes(gzip.compress(b"0,0,0,0\n" * 500_000))
    (tmp_path / "line.csv.gz").write_bytes(gzip.compress(b"0," * 2_000_000))
    for name in ("x.npz", "x.npy.gz", "x.csv.gz"):
        assert load(tmp_path / name).X.size in (500_000, 2_000_000)
    monkeypatch.setattr(limits, "EXPANSION_FLOOR", 1 << 20)
    for name in ("x.npz", "x.npy.gz", "x.csv.gz", "line.csv.gz"):
        with pytest.raises(FileFormatError, match=r"expand to more than 1\.\d+ MB, the limit .*store it uncompressed"):
            load(tmp_path / name)


def test_a_line_has_a_limit(tmp_path, monkeypatch):
    """A file of one endless line is not read into memory as one."""
    monkeypatch.setattr("sparsae.data.readers.text_lines.MAX_LINE", 1000)
    (tmp_path / "x.csv").write_bytes(b"1,2,3\n" + b"0," * 1000)
    with pytest.raises(FileFormatError, match="line 2 is longer than 1000 characters"):
        load(tmp_path / "x.csv")
