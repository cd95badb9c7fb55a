"""bzip2 and xz: whole, in several parts, cut, too large, too hungry."""

import bz2
import gzip
import lzma

import numpy as np
import pytest
from tests.support.sound_files import csv_bytes, idx_bytes, npy_bytes

from sparsae.data import load
from sparsae.data.readers import compression, limits
from sparsae.errors import FileFormatError

PACKERS = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACKERS)
def test_text_arrays_and_mnist_are_read_from_compressed_files(tmp_path, suffix):
    """The content says how it is compressed; parts may follow each other."""
    pack = PACKERS[suffix]
    for name, content in (("x.csv", csv_bytes()), ("x.npy", npy_bytes()), ("x-idx3-ubyte", idx_bytes())):
        (tmp_path / name).write_bytes(content)
        expected = load(tmp_path / name).X
        half = len(content) // 2
        for packed in (pack(content), pack(content[:half]) + pack(content[half:])):
            (tmp_path / f"{name}.{suffix}").write_bytes(packed)
            np.testing.assert_array_equal(load(tmp_path / f"{name}.{suffix}").X, expected)


def test_padding_between_the_streams_of_an_xz_file_is_skipped(tmp_path):
    """As the format allows it."""
    content = csv_bytes()
    (tmp_path / "x.csv.xz").write_bytes(lzma.compress(content[:50]) + bytes(8) + lzma.compress(content[50:]) + bytes(4))
    (tmp_path / "x.csv").write_bytes(content)
    np.testing.assert_array_equal(load(tmp_path / "x.csv.xz").X, load(tmp_path / "x.csv").X)


@pytest.mark.parametrize("suffix", PACKERS)
def test_cut_and_expanding_files_are_refused(tmp_path, suffix, monkeypatch):
    """Whatever the compression, in one line that names the file."""
    path = tmp_path / f"x.csv.{suffix}"
    content = b"0.5,0.25\n" * 200_000
    packed = PACKERS[suffix](content)
    for broken in (packed[:-20], packed[: len(packed) // 2], packed[:12]):
        path.write_bytes(broken)
        with pytest.raises(FileFormatError, match=rf"x.csv.{suffix} is damaged or not a"):
            load(path)
    monkeypatch.setattr(limits, "EXPANSION_FLOOR", 1000)
    monkeypatch.setattr(limits, "EXPANSION_RATIO", 2)
    path.write_bytes(packed)
    with pytest.raises(FileFormatError, match=rf"x.csv.{suffix} has .* that expand to more than .*, the limit"):
        load(path)


def test_the_dictionary_of_an_xz_file_is_limited(tmp_path, monkeypatch):
    """It may ask for gigabytes before it gives a byte."""
    (tmp_path / "x.csv.xz").write_bytes(lzma.compress(csv_bytes(), preset=9))
    assert load(tmp_path / "x.csv.xz").X.shape == (6, 4)
    monkeypatch.setattr(compression, "XZ_MEMORY", 1 << 20)
    with pytest.raises(FileFormatError, match=r"x.csv.xz is damaged or not a xz file: .*[Mm]emory"):
        load(tmp_path / "x.csv.xz")
