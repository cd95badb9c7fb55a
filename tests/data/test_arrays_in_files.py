"""Zarr, HDF5, Matlab 7.3, safetensors: names, chunks, other axes, half precision, what vanishes."""

import json
import shutil
import struct
import sys

import h5py
import numpy as np
import pytest
import zarr
from safetensors.numpy import save_file
from tests.support.matrix_files import write_bfloat16, write_hdf5, write_safetensors, write_zarr

from sparsae import DataError
from sparsae.data import load
from sparsae.data.readers import ReadRequest, limits, read_file
from sparsae.engine import chunked_rows
from sparsae.engine.row_file import RowFile
from sparsae.errors import DataWarning, FileFormatError, FileMissingError, MissingExtraError

X = np.random.default_rng(0).random((500, 6)).astype(np.float32)


def rows_of(path, **request):
    """The rows, which stay in the file."""
    rows = read_file(path, ReadRequest(stay=True, **request))[1].values
    assert isinstance(rows, RowFile)
    return rows


def small_memory(monkeypatch, n_bytes=6000):
    """As if the machine had little memory: X does not fit, small chunks of it do."""
    monkeypatch.setattr(limits, "memory_limit", lambda: 2 * n_bytes)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_arrays_of_a_zarr_group_are_picked_by_name(tmp_path, zarr_format):
    """Also nested ones; the error lists them; the path of an array works too."""
    group = zarr.create_group(tmp_path / "x.zarr", zarr_format=zarr_format)
    for name, factor in (("one", 1), ("deep/two", 2)):
        group.create_array(name, shape=X.shape, dtype="f4", chunks=(64, 4))[:] = factor * X
    group.create_array("labels", shape=(500,), dtype="i8", chunks=(100,))
    path = tmp_path / "x.zarr"
    np.testing.assert_array_equal(load(f"{path}::deep/two").X, 2 * X)
    np.testing.assert_array_equal(load(f"{path}:one").X, X)
    np.testing.assert_array_equal(load(path / "deep" / "two").X, 2 * X)
    with pytest.raises(
        DataError, match=r"2 matrices; name one as .*x.zarr::NAME. It has deep/two \(500x6 float32\), la"
    ):
        load(path)
    with pytest.raises(DataError, match="no array 'three'; it has deep/two"):
        load(f"{path}::three")
    with pytest.raises(DataError, match="shape \\(500,\\); a matrix"):
        load(f"{path}::labels")
    with pytest.raises(DataError, match="is one array without a name; leave out 'x'"):
        load(f"{path}/one::x")


def test_arrays_in_a_folder_that_is_no_group_are_named(tmp_path):
    """What there is, and what to give."""
    write_zarr(tmp_path / "runs" / "a.zarr", X)
    write_zarr(tmp_path / "runs" / "b.zarr", 2 * X)
    with pytest.raises(
        FileFormatError, match=r"is a folder of Zarr arrays: a.zarr, b.zarr\. Give one of them, such as"
    ):
        load(tmp_path / "runs")
    np.testing.assert_array_equal(load(f"{tmp_path}/runs::b.zarr").X, 2 * X)
    np.testing.assert_array_equal(load(f"{tmp_path}/runs/*").X, np.concatenate([X, 2 * X]))


def test_ragged_chunks_and_chunks_that_are_not_stored(tmp_path, monkeypatch):
    """The last chunk is short in both axes; what was never written reads as the fill value, and that is said."""
    array = zarr.create_array(tmp_path / "x.zarr", shape=X.shape, dtype="f4", chunks=(70, 4), fill_value=0.25)
    array[:350] = X[:350]
    expected = np.where(np.arange(500)[:, None] < 350, X, np.float32(0.25))
    note = "x.zarr: 6 of 16 chunks (70x4) are not stored and read as the fill value 0.25."
    for _ in range(2):
        data = load(tmp_path / "x.zarr")
        np.testing.assert_array_equal(data.X[:], expected)
        assert data.notes[0].endswith(note)
        small_memory(monkeypatch)


def test_a_shape_with_more_chunks_than_can_be_watched_is_refused_before_any_is_looked_at(tmp_path):
    """Damage to the description; looking for each chunk would take all memory."""
    write_zarr(tmp_path / "x.zarr", X, chunks=(70, 4))
    path = tmp_path / "x.zarr" / "zarr.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["shape"] = [5_000_000_000, 6]
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(
        FileFormatError,
        match=r"has shape \(5000000000, 6\) in 142,857,144 chunks of 70x4; at most 10,000,000 .* in larger chunks",
    ):
        load(tmp_path / "x.zarr")


@pytest.mark.parametrize("name", ["", ":a"])
def test_chunks_of_unequal_shapes_are_refused_with_what_to_do(tmp_path, name):
    """A grid that the library may read, in an array of its own or in a group; a file that is no JSON stays damaged."""
    zarr.create_array(tmp_path / "x.zarr" / name[1:], shape=(40, 4), dtype="f8", chunks=(10, 4))[:] = 1
    if name:
        zarr.open_group(tmp_path / "x.zarr", mode="a")
    path = tmp_path / "x.zarr" / name[1:] / "zarr.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    facts["chunk_grid"] = {"name": "rectilinear", "configuration": {"kind": "inline", "chunk_shapes": [[10, 30], [4]]}}
    path.write_text(json.dumps(facts), encoding="utf-8")
    with pytest.raises(
        FileFormatError, match=r"x.zarr has chunks of unequal shapes \(chunk grid 'rectilinear'\).* chunks of one shape"
    ):
        load(f"{tmp_path / 'x.zarr'}{name}")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(FileFormatError, match=r"x.zarr is damaged or not a Zarr store"):
        load(f"{tmp_path / 'x.zarr'}{name}")


@pytest.mark.parametrize(("zarr_format", "sharded"), [(2, False), (3, False), (3, True)])
def test_a_chunk_that_vanishes_is_an_error_and_not_the_fill_value(tmp_path, zarr_format, sharded, monkeypatch):
    """The library itself returns zeros; the error names the chunk and the row."""
    monkeypatch.setattr(chunked_rows, "GROUP_BYTES", 1)
    shards = {"shards": (140, 8)} if sharded else {}
    write_zarr(tmp_path / "x.zarr", X, chunks=(70, 4), zarr_format=zarr_format, **shards)
    rows = rows_of(tmp_path / "x.zarr")
    np.testing.assert_array_equal(rows[:], X)
    chunk = {(3, False): "c/2/1", (3, True): "c/1/0", (2, False): "2.1"}[zarr_format, sharded]
    (tmp_path / "x.zarr" / chunk).unlink()
    np.testing.assert_array_equal(rows[:100], X[:100])
    with pytest.raises(
        DataError, match=rf"x.zarr: the chunk {chunk} with row 140 \(counted from 0\) vanished while it"
    ):
        rows[:]
    shutil.rmtree(tmp_path / "x.zarr")
    with pytest.raises(DataError, match=r"x.zarr: .*row.* 0 "):
        rows[:10]


def test_a_chunk_that_is_truncated_or_damaged_is_an_error_with_its_rows(tmp_path):
    """Compressed or not."""
    for compressors in ("auto", None):
        path = tmp_path / f"{compressors}.zarr"
        write_zarr(path, X, chunks=(100, 6), compressors=compressors)
        rows = rows_of(path)
        chunk = path / "c" / "2" / "0"
        chunk.write_bytes(chunk.read_bytes()[:-500])
        with pytest.raises(DataError, match=r"rows 0 to 499 \(counted from 0\) cannot be read; the file is damaged"):
            rows[:]


def test_other_axes_and_columns_are_read_without_loading_all(tmp_path, monkeypatch):
    """Samples as columns, as Matlab stores them; a choice of columns."""
    write_zarr(tmp_path / "x.zarr", X.T, chunks=(4, 60))
    write_hdf5(tmp_path / "x.h5", X.T, chunks=(4, 60), compression="gzip")
    write_hdf5(tmp_path / "plain.h5", X.T)
    write_hdf5(tmp_path / "x.mat", X.T, matlab=True)
    np.save(tmp_path / "x.npy", X.T)
    write_safetensors(tmp_path / "x.safetensors", X.T)
    small_memory(monkeypatch)
    for name in ("x.zarr", "x.h5", "plain.h5", "x.mat", "x.npy", "x.safetensors"):
        rows = load(tmp_path / name, transpose=True).X
        assert isinstance(rows, RowFile)
        np.testing.assert_array_equal(rows[:], X)
        np.testing.assert_array_equal(rows[100:130], X[100:130])
        chosen = load(tmp_path / name, transpose=True, columns="4,11-400").X
        np.testing.assert_array_equal(chosen[:], X[[3, *range(10, 400)]])


def test_data_sets_of_hdf5_are_picked_by_name_and_read_block_by_block(tmp_path, monkeypatch):
    """The error lists what there is; text, compound types and half precision."""
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file["a/one"], file["two"], file["half"] = X, 2 * X, X.astype(np.float16)
        file["text"] = ["a", "b"]
        file["pairs"] = np.zeros(3, [("a", "f4"), ("b", "i4")])
    with pytest.raises(
        DataError, match=r"3 matrices; name one as .*It has a/one \(500x6 float32\), half \(500x6 float16"
    ):
        load(path)
    with pytest.raises(DataError, match=r"text \(2 object\) is not an array of real numbers"):
        load(f"{path}::text")
    np.testing.assert_array_equal(load(f"{path}::a/one").X, X)
    small_memory(monkeypatch, 5000)
    rows = load(f"{path}::half").X
    assert (type(rows).__name__, rows.dtype) == ("BinaryFile", np.float16)
    np.testing.assert_array_equal(rows[3:9], X[3:9].astype(np.float16))


def test_numbers_in_other_files_are_refused(tmp_path, monkeypatch):
    """External storage can be any file; a virtual data set shows fill values where a file is missing."""
    np.save(tmp_path / "secret.npy", X)
    write_hdf5(tmp_path / "part.h5", X)
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("raw", X.shape, "f4", external=[(str(tmp_path / "secret.npy"), 0, 12_000)])
        layout = h5py.VirtualLayout(X.shape, "f4")
        layout[:] = h5py.VirtualSource(tmp_path / "part.h5", "group/X", X.shape)
        file.create_virtual_dataset("virtual", layout)
    for name, words in (("raw", "other files"), ("virtual", "missing one reads as fill values")):
        for _ in range(2):
            with pytest.raises((DataError, FileFormatError), match=words):
                load(f"{path}::{name}")
            small_memory(monkeypatch)
        monkeypatch.undo()


def test_a_truncated_hdf5_file_is_an_error_with_its_rows(tmp_path):
    """In one piece and in chunks."""
    for name, options in (("plain.h5", {}), ("chunked.h5", {"chunks": (50, 6)})):
        write_hdf5(tmp_path / name, X, **options)
        rows = rows_of(tmp_path / name)
        np.testing.assert_array_equal(rows[:], X)
        with (tmp_path / name).open("r+b") as file:
            file.truncate((tmp_path / name).stat().st_size // 2)
        with pytest.raises(DataError, match=rf"{name}:group/X.*row"):
            rows[:]


def test_large_chunks_are_refused_with_their_size(tmp_path, monkeypatch):
    """They have to be decoded whole."""
    write_zarr(tmp_path / "x.zarr", X, chunks=(500, 6))
    small_memory(monkeypatch)
    with pytest.raises(FileFormatError, match=r"x.zarr has chunks of 500 rows, which need 12 kB .* at most 3 kB"):
        load(tmp_path / "x.zarr")


def test_bfloat16_is_widened_and_said(tmp_path, monkeypatch):
    """To float32, in memory and block by block; float16 stays what it is."""
    values = (X.view(np.uint32) & 0xFFFF0000).view(np.float32)
    write_bfloat16(tmp_path / "x.safetensors", values)
    data = load(tmp_path / "x.safetensors")
    np.testing.assert_array_equal(data.X, values)
    assert data.notes[0].endswith("x.safetensors is bfloat16; it is read as float32.")
    small_memory(monkeypatch, 3000)
    rows = load(tmp_path / "x.safetensors", columns="2-3").X
    assert (rows.dtype, rows.stored_as) == (np.float32, "bfloat16")
    np.testing.assert_array_equal(rows[100:], values[100:, 1:3])


def test_tensors_that_are_no_matrix_are_read_whole(tmp_path):
    """Three axes are images; a vector and a single number are refused by their shape."""
    images = np.random.default_rng(0).random((5, 8, 8)).astype(np.float32)
    save_file({"images": images}, tmp_path / "x.safetensors")
    np.save(tmp_path / "x.npy", images)
    cut = [load(f"patches:{tmp_path}/x.{suffix}", n_patches=20, patch_size=4).X for suffix in ("safetensors", "npy")]
    np.testing.assert_array_equal(*cut)
    for values, shape in ((images[0, 0], r"\(8,\)"), (images[0, 0, 0], r"\(\)")):
        save_file({"v": np.asarray(values)}, tmp_path / "x.safetensors")
        with pytest.raises(
            DataError, match=rf"holds an array of shape {shape}; a matrix \(n_samples, n_visible\) is n"
        ):
            load(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (b"{}", "has no matrix of numbers; name one"),
        (b"not json", "is damaged or not a .safetensors file"),
        (
            {"X": {"dtype": "F32", "shape": [500, 7], "data_offsets": [0, 12_000]}},
            "X of shape .500, 7. and F32 has 12,000",
        ),
        (
            {"X": {"dtype": "F32", "shape": [500, 6], "data_offsets": [0, 99_999]}},
            "truncated: tensor X ends at byte 100,",
        ),
        ({"X": {"dtype": "F32", "shape": [-1, 6], "data_offsets": [0, 0]}}, "is damaged: tensor X has the shape"),
        ({"X": {"dtype": "F8_E4M3", "shape": [2, 6], "data_offsets": [0, 12]}}, r"X \(2x6 F8_E4M3\)"),
        ({"X": {"dtype": "F32"}}, "is damaged or not a .safetensors file"),
    ],
)
def test_damaged_headers_of_safetensors_are_refused(tmp_path, header, message):
    """Before anything is allocated."""
    content = header if isinstance(header, bytes) else json.dumps(header).encode()
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", len(content)) + content + X.tobytes())
    with pytest.raises((FileFormatError, DataError), match=message):
        load(tmp_path / "x.safetensors")


def test_without_the_libraries_files_say_what_to_install(tmp_path, monkeypatch):
    """Zarr and h5py; safetensors needs none."""
    write_zarr(tmp_path / "x.zarr", X)
    write_hdf5(tmp_path / "x.h5", X)
    write_safetensors(tmp_path / "x.safetensors", X)
    for module in ("zarr", "h5py", "safetensors"):
        monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"x.zarr is a Zarr store, which needs zarr; .*\[files\]'"):
        load(tmp_path / "x.zarr")
    with pytest.raises(MissingExtraError, match=r"x.h5 is an HDF5 file, which needs h5py; .*\[files\]'"):
        load(tmp_path / "x.h5")
    assert load(tmp_path / "x.safetensors").X.shape == X.shape


def test_wide_shapes_are_pointed_out(tmp_path):
    """Also where rows stay in the file."""
    write_zarr(tmp_path / "x.zarr", np.tile(X.T, 3))
    with pytest.warns(DataWarning, match=r"read as 6 samples of 1,500 inputs; .* use --transpose"):
        load(tmp_path / "x.zarr")


def test_a_name_on_a_file_that_has_none_is_an_error(tmp_path):
    """The file is there, the array is not."""
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(FileMissingError, match=r"There is no file .*x.npy:X; .*x.npy holds one array without a name"):
        load(f"{tmp_path}/x.npy:X")
