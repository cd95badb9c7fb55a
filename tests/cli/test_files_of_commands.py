"""The files that commands read and write: what is refused before any work, and what is never replaced."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.support.command import Ended

Run = Callable[..., Ended]


@pytest.mark.parametrize("name", ["x.npy", "./x.npy", "link.npy", "hard.npy"])
@pytest.mark.parametrize("option", ["--out", "--log", "--checkpoint", "-o"])
def test_outputs_of_a_fit_are_not_its_data(run: Run, folder: Path, name: str, option: str) -> None:
    """By its name, another spelling, a link, a hard link; with --force too; before training; the data stays."""
    (folder / "link.npy").symlink_to("x.npy")
    os.link("x.npy", "hard.npy")
    before = (folder / "x.npy").read_bytes()
    code, out, err = run("train", "x.npy", option, name, "--force", "--max-iter", 2)
    assert (code, out) == (2, "")
    assert "DATA (x.npy) are the same file; name different files." in err
    assert (folder / "x.npy").read_bytes() == before
    assert (folder / "link.npy").is_symlink()


@pytest.mark.parametrize(
    "words",
    [
        "train x.npy -o a --log a",
        "train x.npy -o a --checkpoint a",
        "train x.npy --log a --checkpoint a",
        "train x.npy --log a.previous --checkpoint a",
        "train x.npy -o a.npz --log a-features.png --plot-every 2",
        "train x.npy --initial m.npz --log m.npz",
        "encode m.npz x.npy -o x.npy --force",
        "encode m.npz x.npy -o m.npz --force",
        "reconstruct m.npz x.npy -o x.npy --force",
        "bench --json a --html a",
        "bench --json a --plot a",
        "bench --json a --baseline x.npy --plot x.npy --force",
        "bench show x.npy --html x.npy --force",
    ],
)
def test_no_two_files_of_a_command_are_the_same(run: Run, model: str, folder: Path, words: str) -> None:
    """One line, exit code 2, nothing new."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    code, out, err = run(*words.split())
    assert (code, out) == (2, ""), err
    assert "are the same file" in err
    assert err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_model_may_replace_the_one_that_it_starts_from(run: Run, model: str) -> None:
    """With --force: it was read before."""
    code, _, err = run("train", "x.npy", "--initial", "m.npz", "-o", "m.npz", "--force", "--hidden", 3, "--max-iter", 2)
    assert code == 0, err


def test_a_picture_of_the_training_folder_is_not_replaced(run: Run, folder: Path) -> None:
    """A folder of pictures stands for each of them."""
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.npz").write_bytes(b"picture")
    code, _, err = run("train", "patches:pictures", "-o", "pictures/a.npz", "--force")
    assert (code, "are the same file" in err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        "info pipe",
        "encode pipe x.npy -o a.npy",
        "reconstruct pipe x.npy -o a.npy",
        "plot pipe -o a.png",
        "train x.npy --initial pipe",
        "train x.npy -o pipe --force",
        "train x.npy --log pipe",
        "train x.npy --checkpoint pipe",
        "train x.npy --checkpoint pipe --resume",
        "encode m.npz x.npy -o pipe.npy --force",
        "plot m.npz -o pipe.png --force",
        "check numpy --json pipe --force",
        "bench --json pipe --force",
        "bench --html pipe --force",
        "bench --question --json pipe --force",
    ],
)
def test_named_pipes_are_refused_and_nobody_waits(run: Run, model: str, folder: Path, words: str) -> None:
    """To read and to write; the pipe is still one."""
    for name in ("pipe", "pipe.npy", "pipe.png"):
        os.mkfifo(folder / name)
    code, out, err = run(*words.split())
    assert (code, out) == (2, ""), err
    assert "is a named pipe" in err
    assert err.count("\n") == 1
    assert all((folder / name).is_fifo() for name in ("pipe", "pipe.npy", "pipe.png"))


def test_output_follows_a_link(run: Run, folder: Path) -> None:
    """The model is where the link leads."""
    (folder / "far").mkdir()
    (folder / "m.npz").symlink_to("far/target.npz")
    assert run("train", "x.npy", "-o", "m.npz", "--max-iter", 2, "--quiet").code == 0
    assert (folder / "m.npz").is_symlink()
    assert (folder / "far" / "target.npz").is_file()


@pytest.mark.parametrize("ending", ["npy", "npz", "csv", "tsv"])
def test_the_name_says_the_format(run: Run, model: str, folder: Path, ending: str) -> None:
    """All four hold the same numbers, to the last bit."""
    assert run("encode", "m.npz", "x.npy", "-o", "a.npy").code == 0
    assert run("encode", "m.npz", "x.npy", "-o", f"f.{ending}").code == 0
    expected, path = np.load("a.npy"), folder / f"f.{ending}"
    if ending == "npy":
        found = np.load(path)
    elif ending == "npz":
        found = np.load(path)["hidden"]
    else:
        delimiter = "," if ending == "csv" else "\t"
        assert path.read_text(encoding="utf-8").startswith(delimiter.join(["hidden0", "hidden1", "hidden2"]) + "\n")
        found = np.loadtxt(path, delimiter=delimiter, skiprows=1)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["f.xlsx", "f", "f.feather", "npy"])
def test_another_format_is_refused_before_any_work(run: Run, folder: Path, name: str) -> None:
    """Before the model is even looked for."""
    code, _, err = run("encode", "none.npz", "x.npy", "-o", name)
    assert code == 2
    assert f"Error: {name} must end in one of .npy, .npz, .csv, .tsv, .parquet" in err


def test_what_is_no_model_is_named(run: Run, model: str) -> None:
    """An array is the most likely mistake: its shape is said."""
    for words in (("info", "x.npy"), ("encode", "x.npy", "x.npy", "-o", "a.npy"), ("plot", "x.npy")):
        code, _, err = run(*words)
        assert (code, err) == (2, "Error: x.npy is not a model file; it is an array of shape (60, 6).\n")


def test_a_model_of_six_inputs_is_drawn_as_bars(run: Run, model: str, folder: Path) -> None:
    """And an image shape that does not fit is a sentence."""
    assert run("plot", "m.npz").code == 0
    assert (folder / "m-features.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = run("plot", "m.npz", "--image-shape", "4x2", "--force")
    assert code == 2
    assert err.startswith("Error: Samples of 6 inputs are not 4x2 images; give --image-shape")
