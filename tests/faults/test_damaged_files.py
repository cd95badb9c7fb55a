"""Damaged and hostile files end in one error line, whatever reads them."""

from __future__ import annotations

import gzip
import io
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io

import sparsae
from sparsae.data import load

X = np.random.default_rng(0).uniform(0.1, 0.9, (40, 9))


def mutations(content: bytes, count: int) -> list[bytes]:
    """Seeded byte flips, truncations, repeated and overwritten stretches, with half of them in the header."""
    rng = np.random.default_rng(len(content))
    found = []
    for index in range(count):
        damaged = bytearray(content)
        limit = min(len(damaged), 300) if index % 2 else len(damaged)
        at = int(rng.integers(limit))
        kind = index % 5
        if kind == 0:
            damaged[at] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del damaged[at:]
        elif kind == 2:
            damaged[at : at + 4] = rng.bytes(4)
        elif kind == 3:
            damaged[at:at] = damaged[: int(rng.integers(1, 50))]
        else:
            damaged[at : at + 2] = b"99"
        found.append(bytes(damaged))
    return found


def contents(tmp_path: Path) -> dict[str, bytes]:
    """One whole file of each format that holds data."""
    npy, npz, mat = io.BytesIO(), io.BytesIO(), io.BytesIO()
    np.save(npy, X)
    np.savez_compressed(npz, X=X)
    scipy.io.savemat(mat, {"X": X})
    text = "a,b,c\n" + "\n".join("0.1,0.25,1e-3" for _ in range(40)) + "\n"
    return {
        "x.npy": npy.getvalue(),
        "x.npz": npz.getvalue(),
        "x.csv": text.encode(),
        "x.csv.gz": gzip.compress(text.encode()),
        "x.mat": mat.getvalue(),
    }


@pytest.mark.parametrize("name", ["x.npy", "x.npz", "x.csv", "x.csv.gz"])
def test_mutated_data_files(name: str, tmp_path: Path) -> None:
    """Each of a hundred mutations is read, or is a SparsaeError in one line."""
    path = tmp_path / name
    for content in mutations(contents(tmp_path)[name], 100):
        path.write_bytes(content)
        try:
            load(str(path))
        except sparsae.SparsaeError as error:
            assert str(error).strip()
            assert "\n" not in str(error)


def test_mutated_matlab_files(tmp_path: Path) -> None:
    """A crash of the library that reads them costs that read alone."""
    path = tmp_path / "x.mat"
    for content in mutations(contents(tmp_path)["x.mat"], 5):
        path.write_bytes(content)
        try:
            load(str(path))
        except sparsae.SparsaeError as error:
            assert "\n" not in str(error)


def test_mutated_model_files(model: Path) -> None:
    """`load` reads it whole, or raises a SparsaeError."""
    for content in mutations(model.read_bytes(), 150):
        model.write_bytes(content)
        try:
            result = sparsae.load(model)
        except sparsae.SparsaeError:
            continue
        assert result.parameters.W1.shape[0] == result.parameters.b1.shape[0]


@pytest.mark.parametrize("name", ["bomb.npz", "bomb.csv.gz"])
def test_compression_bombs(run, name: str, tmp_path: Path) -> None:
    """A small file that expands without end is refused before the memory is gone."""
    path = tmp_path / name
    if name.endswith(".npz"):
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 28, 1 << 6)}
        )
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("X.npy", "w") as member:
            member.write(header.getvalue())
            for _ in range(64):
                member.write(bytes(1 << 20))
    else:
        with gzip.open(path, "wb", compresslevel=9) as file:
            for _ in range(300):
                file.write(b"0," * (1 << 19))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = run("train", path)
    assert (said.code, said.is_one_error_line) == (2, True), said
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500_000  # kB
