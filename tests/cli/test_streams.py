"""`-`: DATA from standard input in every format, one output to standard output; reports move to standard error."""

from __future__ import annotations

import gzip
import io
import json
import os
import pty
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.command import Ended

import sparsae
from sparsae.files import stream_number

Run = Callable[..., Ended]
Pipe = Callable[..., tuple[Ended, bytes]]
FIT = ("--hidden", 3, "--max-iter", 2)


@pytest.fixture
def pipe(folder: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> Pipe:
    """Run the command in this process with bytes on standard input; what went to descriptor 1 comes back too."""

    def call(given: bytes, *words: object) -> tuple[Ended, bytes]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        before = os.dup(1)
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 1)
            try:
                ended = run(*words)
            finally:
                os.dup2(before, 1)
                os.close(before)
            file.seek(0)
            return ended, file.read()

    return call


def as_bytes(write: Callable[[Any], object]) -> bytes:
    """What a function writes into a file."""
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def as_parquet(file: Any, rows: np.ndarray) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table({f"x{j}": rows[:, j] for j in range(rows.shape[1])}), file)


FORMATS: dict[str, Callable[[Any, np.ndarray], object]] = {
    "csv": lambda file, rows: np.savetxt(file, rows, fmt="%s", delimiter=","),
    "spaces": lambda file, rows: np.savetxt(file, rows, fmt="%s"),
    "csv.gz": lambda file, rows: file.write(gzip.compress(as_bytes(lambda f: FORMATS["csv"](f, rows)))),
    "npy": np.save,
    "npz": lambda file, rows: np.savez(file, rows),
    "parquet": as_parquet,  # which is read from its end
}


@pytest.mark.parametrize("name", FORMATS)
def test_data_of_each_format_comes_from_standard_input(pipe: Pipe, model: str, name: str) -> None:
    """The activations are those of the file, also where the format has to be sought in."""
    rows = np.load("x.npy")
    ended, out = pipe(as_bytes(lambda file: FORMATS[name](file, rows)), "encode", model, "-", "-o", "-")
    assert ended.code == 0, ended.err
    found = np.loadtxt(io.BytesIO(out), delimiter=",", skiprows=1)
    np.testing.assert_array_equal(found, sparsae.load(model).encode(rows))
    assert "mean" in ended.err  # the report


def test_an_array_of_several_and_pictures(pipe: Pipe, model: str) -> None:
    """-::NAME and patches:-, as a file would be named."""
    rows = np.load("x.npy")
    archive = as_bytes(lambda file: np.savez(file, a=rows, b=rows[:7]))
    ended, out = pipe(archive, "encode", model, "-::b", "-o", "-")
    assert (ended.code, out.count(b"\n")) == (0, 8), ended.err
    ended, _ = pipe(archive, "encode", model, "-", "-o", "-")
    assert (ended.code, "name one as -::NAME" in ended.err) == (2, True), ended.err
    images = as_bytes(lambda file: np.save(file, np.random.default_rng(0).uniform(size=(12, 12))))
    ended, _ = pipe(images, "train", "patches:-", "--patches", 50, "--patch-size", 4, *FIT, "--quiet", "-o", "p.npz")
    assert ended.code == 0, ended.err
    assert sparsae.load("p.npz").data["source"] == "standard input"


@pytest.mark.parametrize("name", ["npy", "npz", "csv", "tsv", "parquet"])
def test_a_matrix_goes_to_standard_output_in_any_format(pipe: Pipe, run: Run, model: str, name: str) -> None:
    """--format says which; the bytes are those of a file."""
    assert run("reconstruct", model, "x.npy", "-o", f"r.{name}").code == 0
    ended, out = pipe(b"", "reconstruct", model, "x.npy", "-o", "-", "--format", name, "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.err)["shape"] == [60, 6]
    written = Path(f"r.{name}").read_bytes()
    if name == "npz":  # whose members have a time
        np.testing.assert_array_equal(np.load(io.BytesIO(out))["output"], np.load("r.npz")["output"])
    else:
        assert out == written


def test_a_model_goes_through_pipes(pipe: Pipe, folder: Path) -> None:
    """By `train - -o -`: the model on standard output, the report for programs on standard error."""
    rows = np.load("x.npy")
    given = as_bytes(lambda file: np.save(file, rows))
    ended, out = pipe(given, "train", "-", *FIT, "-o", "-", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.err[ended.err.index("{") :])["iterations"] == 2  # after a warning: it has not converged
    (folder / "m.npz").write_bytes(out)
    model = sparsae.load("m.npz")
    with pytest.warns(sparsae.ConvergenceWarning):
        expected = sparsae.train(rows, 3, max_iter=2, seed=0)
    np.testing.assert_array_equal(model.parameters.W1, expected.parameters.W1)
    ended, _ = pipe(given, "train", "-", *FIT, "-o", "-")
    assert "Model written to standard output." in ended.err
    assert not (folder / "-").exists()


def test_evaluate_reads_standard_input(pipe: Pipe, run: Run, model: str) -> None:
    """The figures of the file; standard output has the JSON alone."""
    expected = json.loads(run("evaluate", model, "x.npy", "--json").out)
    ended, _ = pipe(as_bytes(lambda file: np.save(file, np.load("x.npy"))), "evaluate", model, "-", "--json")
    assert json.loads(ended.out) == expected | {"data": "standard input"}


WRONG = (
    (b"", ("encode", "m.npz", "-", "-o", "-"), "- is empty: it has no bytes."),
    (b"1,2,3\n4,5,6\n7,8\n", ("encode", "m.npz", "-", "-o", "-"), "-: line 3 has 2 columns where"),
    (b"\x89PNG\r\n\x1a\n" + bytes(64), ("encode", "m.npz", "-", "-o", "-"), "- is a picture: use patches:-, which"),
    (b"1,2,3\n4,5,6\n", ("encode", "m.npz", "-", "-o", "-"), "X has shape (2, 3); expected (n_samples, 6)"),
    (b"", ("encode", "-", "-", "-o", "-"), "'MODEL': only DATA can come from standard input (-); give a file."),
    (b"", ("info", "-"), "only DATA can come from standard input"),
    (b"", ("train", "x.npy", "--initial", "-"), "'--initial': only DATA can come from standard input"),
    (b"", ("train", "x.npy", "-o", "-", "--log", "-"), "--log (/dev/stdout) and --out (/dev/stdout) are the same file"),
    (b"", ("plot", "m.npz", "-o", "-"), ".png"),
    (b"", ("encode", "m.npz", "x.npy", "-o", "a.npy", "--format", "csv"), "a.npy would hold --format csv"),
)


@pytest.mark.parametrize(("given", "words", "said"), WRONG)
def test_wrong_uses_are_one_line(pipe: Pipe, model: str, given: bytes, words: tuple[str, ...], said: str) -> None:
    """Two inputs, two outputs, an empty input, what is damaged: exit code 2, and nothing on standard output."""
    ended, out = pipe(given, *words)
    assert (ended.code, ended.out, out) == (2, "", b""), ended.err
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert "/tmp" not in ended.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "x.npy", "-o", "-"), "A model is binary and standard output is a terminal; redirect it (> FILE)"),
        (("encode", "m.npz", "x.npy", "-o", "-", "--format", "npy"), "or name a file with -o or --format csv."),
        (("encode", "m.npz", "x.npy", "-o", "-"), ""),
    ],
)
def test_binary_is_not_written_to_a_terminal(
    run: Run, model: str, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    """Text is."""
    monkeypatch.setattr(os, "isatty", lambda number: number == 1)
    ended = run(*words)
    assert (ended.code, said in ended.err) == (2 if said else 0, True), ended.err


def test_a_terminal_is_read_with_a_word(start: Callable[..., Any], model: str) -> None:
    """What is typed counts, after a line that says what the command waits for."""
    ours, theirs = pty.openpty()
    process = start("encode", model, "-", "-o", "-", stdin=theirs)
    os.close(theirs)
    os.write(ours, b"0.1,0.2,0.3,0.4,0.5,0.6\n\x04")
    try:
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
        os.close(ours)
    assert process.returncode == 0, err
    assert out.startswith("hidden0,hidden1,hidden2\n")
    assert err.startswith("Reading standard input, to its end (Ctrl-D).\n")


@pytest.mark.parametrize("stream", [None, "folder"])
def test_standard_input_that_cannot_be_read(
    run: Run, model: str, folder: Path, monkeypatch: pytest.MonkeyPatch, stream: str | None
) -> None:
    """Closed, or an error of the system on the way."""

    class Broken(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            raise OSError(28, "No space left on device")

    broken = None if stream is None else io.TextIOWrapper(io.BufferedReader(Broken()))
    monkeypatch.setattr(sys, "stdin", broken)
    ended = run("encode", model, "-", "-o", "a.csv")
    if stream is None:
        assert (ended.code, ended.err) == (2, "Error: Standard input is closed; give DATA as a file.\n")
    else:
        assert ended.code == 1
        assert "Standard input cannot be copied into" in ended.err
        assert "No space left on device; TMPDIR names another folder." in ended.err


def test_the_copy_is_gone_afterwards(pipe: Pipe, model: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And messages call no path by its name any more."""
    from sparsae.data.readers import source_file

    (folder / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder / "tmp"))
    assert pipe(b"1,2\n", "encode", model, "-", "-o", "-")[0].code == 2
    assert list((folder / "tmp").iterdir()) == []
    assert source_file._names == {}


def test_standard_output_has_its_name_on_every_system() -> None:
    """Also where no such file is."""
    assert [stream_number(name) for name in ("/dev/stdout", Path("/dev/stdout"), "-", "x")] == [1, 1, None, None]


def test_what_is_wrong_comes_before_an_existing_model(run: Run, folder: Path) -> None:
    """The default name of an earlier run does not hide what is wrong with data and options."""
    assert run("train", "x.npy", *FIT, "--quiet").code == 0
    np.save("wide.npy", 300 * np.load("x.npy"))
    for words, message in (
        (["nothing.csv", *FIT], "There is no file nothing.csv."),
        (["wide.npy", *FIT], "a sigmoid output reproduces values in [0, 1]"),
        (["x.npy", *FIT, "--rho", 5], "--rho must lie strictly between 0 and 1"),
        (["x.npy", *FIT, "--k", 5], "--k does not belong to --activation 'sigmoid'"),
        (["x.npy", *FIT, "--backend", "fussed"], "No backend named 'fussed'"),
        (["x.npy", *FIT, "--method", "newton"], "newton"),
        (["x.npy", *FIT, "--max-iter", -1], "--max-iter must be"),
    ):
        ended = run("train", *words)
        assert (ended.code, message in ended.err, "exists" in ended.err) == (2, True, False), (words, ended.err)
    ended = run("train", "x.npy", *FIT)
    assert ended.code == 2
    assert "model.npz exists and would be overwritten" in ended.err
