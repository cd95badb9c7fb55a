"""What a newcomer does in the first five minutes works, or says what to do."""

from __future__ import annotations

import gzip
import json
import struct
from pathlib import Path

import numpy as np
import scipy.io

from sparsae.data import load


def test_new_backend_in_a_folder_that_is_not_empty(run, tmp_path: Path) -> None:
    """It makes a folder of its own and leaves the rest alone."""
    (tmp_path / "other.txt").write_text("mine")
    assert run("new-backend", "mine", "--dir", ".").code == 0
    assert (tmp_path / "other.txt").read_text() == "mine"
    said = run("check", "mine")
    assert said.code == 2
    assert "pip install" in said.err


def test_new_backend_refuses_names_that_are_taken(run) -> None:
    """A bundled name can never be chosen from another distribution."""
    for name in ("numpy", "fused", "auto"):
        said = run("new-backend", name)
        assert (said.code, said.is_one_error_line) == (2, True), said
        assert name in said.err


def test_the_images_of_the_exercise(tmp_path: Path) -> None:
    """``patches:IMAGES.mat``, 512 x 512 x 10, gives 8 x 8 patches."""
    scipy.io.savemat(tmp_path / "IMAGES.mat", {"IMAGES": np.random.default_rng(0).normal(size=(64, 64, 3))})
    X = load(f"patches:{tmp_path / 'IMAGES.mat'}").X
    assert X.shape[1] == 64
    assert 0 <= X.min() <= X.max() <= 1


def test_mnist_idx_files(tmp_path: Path) -> None:
    """Images in idx format, plain and compressed, are samples of rows x columns inputs."""
    images = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    content = struct.pack(">HBBIII", 0, 8, 3, 20, 28, 28) + images.tobytes()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    (tmp_path / "t-images-idx3-ubyte.gz").write_bytes(gzip.compress(content))
    for name in ("train-images-idx3-ubyte", "t-images-idx3-ubyte.gz"):
        X = load(str(tmp_path / name)).X
        assert X.shape == (20, 784)
        assert X[3].reshape(28, 28)[1, 2] in (images[3, 1, 2], images[3, 1, 2] / 255)


def test_samples_as_columns(run, tmp_path: Path) -> None:
    """64 x 10,000 gets a hint; ``--transpose`` turns it."""
    np.save(tmp_path / "x.npy", np.random.default_rng(0).uniform(0.1, 0.9, (16, 1000)))
    said = run("train", "x.npy", "--hidden", 2, "--max-iter", 1)
    assert "--transpose" in said.out + said.err
    said = run("train", "x.npy", "--hidden", 2, "--max-iter", 1, "--transpose", "--force", "--json")
    assert said.code == 0
    receipt = json.loads(said.out)["receipt"]
    assert (receipt["n_samples"], receipt["n_visible"]) == (1000, 16)
