"""The options of data at the command line: what a person types, and the one line that comes back."""

import os
import subprocess
import sys

import numpy as np
import pytest
import scipy.io

FAST = ("--hidden", "3", "--max-iter", "2", "--backend", "numpy", "--threads", "1")


def sparsae(folder, *arguments):
    """Run the command; returns exit code, output, error lines. A time limit stands for "it does not wait"."""
    done = subprocess.run(
        [sys.executable, "-m", "sparsae", *map(str, arguments)], cwd=folder, capture_output=True, text=True, timeout=240
    )
    return done.returncode, done.stdout, done.stderr.splitlines()


def test_files_are_read_as_told(tmp_path):
    """--columns, --delimiter, --no-header, --transpose, --scale reach the reader; warnings are one line each."""
    rows = "\n".join(f"{i}:{i % 7 / 10}:{i % 3 / 10}:x" for i in range(20))
    (tmp_path / "x.csv").write_text(f"id:a:b:label\n{rows}\n")
    options = ("--delimiter", ":", "--columns", "a,3", "--scale")
    code, _, errors = sparsae(tmp_path, "train", "x.csv", *options, *FAST, "-o", "m.npz", "--quiet")
    assert (code, errors) == (0, [])
    code, _, errors = sparsae(tmp_path, "encode", "m.npz", "x.csv", *options[:4], "-o", "codes.npy")
    assert code == 0
    assert errors == ["The model's transform was applied to x.csv: scale (0 to 0.6 becomes 0.1 to 0.9)."], errors
    assert np.load(tmp_path / "codes.npy").shape == (20, 3)
    scipy.io.savemat(tmp_path / "p.mat", {"patches": np.random.default_rng(0).random((4, 1200))})
    code, _, errors = sparsae(tmp_path, "train", "p.mat", "--transpose", *FAST, "-o", "t.npz", "--quiet")
    assert (code, errors) == (0, [])
    code, out, _ = sparsae(tmp_path, "info", "t.npz")
    assert code == 0
    assert "4" in out
    (tmp_path / "y.csv").write_text("0,1\n0.5,0.25\n0.5,0.75\n")
    code, _, errors = sparsae(tmp_path, "train", "y.csv", "--no-header", *FAST, "-o", "y.npz", "--quiet")
    assert (code, errors) == (0, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("fifo",), "fifo is a named pipe, not a regular file"),
        (("patches:fifo",), "fifo is a named pipe"),
        (("x" * 300,), "its name is too long"),
        (("structured.npy",), "structured array with the fields a, b"),
        (("empty.npy", "--scale"), "is empty: its shape is (0, 3)"),
        (("names.csv",), "the first line (0, 1) has column names or is a sample; say --header or --no-header"),
        (("renamed.npz", "--columns", "7"), "has columns 1 to 2; given 7"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, arguments, message):
    """Exit code 2 at once, no traceback, nothing written."""
    os.mkfifo(tmp_path / "fifo")
    np.save(tmp_path / "structured.npy", np.zeros(3, dtype=[("a", "f8"), ("b", "f8")]))
    np.save(tmp_path / "empty.npy", np.zeros((0, 3)))
    np.save(tmp_path / "renamed.npy", np.full((4, 2), 0.5))
    (tmp_path / "renamed.npy").rename(tmp_path / "renamed.npz")
    (tmp_path / "names.csv").write_text("0,1\n0.5,0.25\n")
    code, out, errors = sparsae(tmp_path, "train", *arguments, *FAST, "-o", "m.npz")
    assert (code, out) == (2, "")
    assert len(errors) == 1, errors
    assert message in errors[0]
    assert not (tmp_path / "m.npz").exists()
