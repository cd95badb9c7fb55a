"""Messages say what was given, what is possible, what to do; nothing escapes as a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse

import sparsae
from sparsae import ParameterError


@pytest.mark.parametrize("hidden", [10**9, 10**12])
def test_more_hidden_units_than_memory(run, rows: Path, hidden: int) -> None:
    """One line with what is needed and what there is, before anything is allocated."""
    said = run("train", rows, "--hidden", hidden)
    assert (said.code, said.is_one_error_line) == (2, True), said
    assert "GiB" in said.err or "GB" in said.err
    with pytest.raises(sparsae.SparsaeError):
        sparsae.train(np.load(rows), hidden)


@pytest.mark.parametrize("words", [("info", "m.npz"), ("backends",), ("info", "m.npz", "--json"), ("--help",)])
@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs a full device to read from")
def test_a_full_disk_under_standard_output(start, model: Path, words: tuple[str, ...]) -> None:
    """One line on standard error, exit code 1."""
    with Path("/dev/full").open("w") as full:  # written to as any file: nothing of the node changes
        process = start(*words, stdout=full)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_the_bare_command_shows_its_help(run) -> None:
    """Help, not the whole help squeezed into an error."""
    said = run()
    assert said.code in (0, 2)
    assert "Usage:" in said.out + said.err
    assert (said.out + said.err).count("\n") > 10


CSV = {
    "quoted numbers": ('"0.1","0.2"\n"0.3","0.4"\n', (2, 2)),
    "trailing delimiter": ("0.1,0.2,\n0.3,0.4,\n", (2, 2)),
    "bar": ("a|b\n0.1|0.2\n0.3|0.4\n", (2, 2)),
    "lone CR": ("0.1,0.2\r0.3,0.4\r", (2, 2)),
}


@pytest.mark.parametrize("name", CSV)
def test_csv_as_programs_write_it(name: str, tmp_path: Path) -> None:
    """It is read."""
    from sparsae.data import load

    text, shape = CSV[name]
    path = tmp_path / "x.csv"
    path.write_bytes(text.encode())
    assert load(str(path)).X.shape == shape


def test_csv_in_utf_16(tmp_path: Path) -> None:
    """It is read."""
    from sparsae.data import load

    (tmp_path / "x.csv").write_text("a,b\n0.1,0.2\n", encoding="utf-16")
    assert load(str(tmp_path / "x.csv")).X.tolist() == [[0.1, 0.2]]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("header.csv", b"a,b,c\n", ["no rows", "header"]),
        ("latin.csv", "größe,b\n0.1,x\n".encode("latin-1"), ["utf-8", "größe", "line 2"]),
    ],
)
def test_csv_that_cannot_be_used(run, tmp_path: Path, name: str, content: bytes, words: list[str]) -> None:
    """One line that names the trouble."""
    (tmp_path / name).write_bytes(content)
    said = run("train", name)
    assert (said.code, said.err.splitlines()[-1][:7]) == (2, "Error: "), said
    assert all(word in said.err.lower() for word in words), said.err


def test_an_index_column_is_named_and_columns_choose(run, tmp_path: Path) -> None:
    """An unnamed first column is refused or left out by name; ``--columns`` chooses."""
    lines = [",a,b", *(f"{i},0.{i % 9 + 1},0.5" for i in range(30))]
    (tmp_path / "x.csv").write_text("\n".join(lines) + "\n")
    said = run("train", "x.csv", "--hidden", 2, "--max-iter", 1)
    assert said.code == 0 or "--columns" in said.err
    assert run("train", "x.csv", "--columns", "a,b", "--hidden", 2, "--max-iter", 1, "--force").code == 0


def test_matlab_files(run, tmp_path: Path) -> None:
    """A sparse matrix is read or explained, a 3-D array is explained."""
    scipy.io.savemat(tmp_path / "s.mat", {"X": scipy.sparse.csc_matrix(np.eye(5) * 0.5)})
    said = run("train", "s.mat", "--hidden", 2, "--max-iter", 1)
    assert said.code == 0 or "sparse" in said.err
    scipy.io.savemat(tmp_path / "d.mat", {"IMAGES": np.random.default_rng(0).normal(size=(20, 20, 3))})
    said = run("train", "d.mat", "-o", "d.npz", "--hidden", 2, "--max-iter", 1)
    assert said.is_one_error_line
    assert "patches:" in said.err
    assert "20x20x3" in said.err


def test_a_data_file_where_a_model_is_expected(run, rows: Path) -> None:
    """It says what the file is."""
    for words in (("info", rows), ("encode", rows, rows, "-o", "f.npy"), ("plot", rows)):
        said = run(*words)
        assert (said.code, said.is_one_error_line) == (2, True), said
        assert "not a model" in said.err
        assert "(60, 6)" in said.err


def test_a_model_without_an_image_has_a_picture(run, model: Path) -> None:
    """Six inputs are no square: the picture shows the rows of W1 in another way."""
    assert run("plot", model).code == 0
    assert model.with_name("m-features.png").read_bytes().startswith(b"\x89PNG")


def test_encode_writes_the_format_of_the_name(run, model: Path, rows: Path) -> None:
    """Csv is text, npy is npy, anything else is refused."""
    assert run("encode", model, rows, "-o", "f.csv").code == 0
    assert np.loadtxt(rows.with_name("f.csv"), delimiter=",", skiprows=1).shape == (60, 3)
    said = run("encode", model, rows, "-o", "f.docx")
    assert (said.code, said.is_one_error_line) == (2, True), said


def test_swapped_arguments_of_save(tmp_path: Path, digits: np.ndarray) -> None:
    """The order is named."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sparsae.ConvergenceWarning)
        result = sparsae.train(digits[:50], 2, max_iter=1)
    with pytest.raises(ParameterError, match=r"save\(.*path.*result"):
        sparsae.save(result, tmp_path / "m.npz")
    assert sparsae.encode(result, digits[:5]).tobytes() == result.encode(digits[:5]).tobytes()
    assert result.success is False
    assert result.n_iter == 1
    assert "iteration" in result.message
    assert (result == result) is True


def test_the_variable_that_limits_threads_is_named(start, rows: Path) -> None:
    """OMP_NUM_THREADS=1 is given as the reason for a budget of one."""
    words = ("train", rows, "--hidden", 2, "--max-iter", 1, "--threads", 2)
    variables = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    out, err = start(*words, env=variables).communicate(timeout=120)
    assert "NUM_THREADS" in out + err
    assert "1 threads" not in out + err
    assert "1 workers" not in out + err


def test_a_diverged_fit_is_not_called_usable(digits: np.ndarray) -> None:
    """It says that the cost rose, the learning rate and what to try."""
    from sparsae.optimize import SGD

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = sparsae.train(
            digits, 9, method=SGD(learning_rate=50.0, momentum=0.9), max_iter=2, output="linear", weight_decay=0.1
        )
    assert "can be used as it is" not in result.status.message
    assert "learning rate" in result.status.message


def test_warnings_of_the_command_use_its_options(run, rows: Path) -> None:
    """No Python keyword in what the command says about the iteration limit."""
    said = run("train", rows, "--hidden", 2, "--max-iter", 1)
    assert "initial=" not in said.out + said.err
    assert "max_iter" not in said.out + said.err
    assert "--max-iter" in said.out + said.err


def test_arguments_of_a_neighbouring_kind(digits: np.ndarray) -> None:
    """A function as observers, a class as method, a path that leads nowhere as data."""
    from sparsae.optimize import Adam

    seen = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", sparsae.ConvergenceWarning)
        sparsae.train(digits[:50], 2, max_iter=1, observers=lambda progress: seen.append(progress.iteration))
    assert seen == [0, 1]
    with pytest.raises(ParameterError, match=r"Adam\(\)"):
        sparsae.train(digits, 2, method=Adam)
    with pytest.raises(sparsae.SparsaeError, match=r"There is no file no-such-file\.npy\. Give a file, or one of"):
        sparsae.train("no-such-file.npy", 25)
    with pytest.raises(TypeError, match="weight_decay"):
        sparsae.train(digits, 2, weight_decy=1e-3)


def test_numba_without_its_compiler(python) -> None:
    """NUMBA_DISABLE_JIT=1: the variable is named."""
    code = (
        "import sparsae, numpy as np\n"
        "try: sparsae.cost_and_gradient(sparsae.Parameters.random(4, 2), np.full((9, 4), 0.5), backend='numba')\n"
        "except sparsae.BackendError as error: print(error)\n"
    )
    said = python(code, NUMBA_DISABLE_JIT="1")
    assert "NUMBA_DISABLE_JIT" in said.out, said


BROKEN = """
import numpy as np, sparsae
class Kernel(sparsae.SimpleKernel):
    def backprop(self, a1, a2, a3, W2, sparsity, target):
        {body}
backend = sparsae.Backend("broken", Kernel)
try:
    sparsae.cost_and_gradient(sparsae.Parameters.random(4, 2), np.full((9, 4), 0.5), backend=backend)
except sparsae.BackendError as error:
    print(error)
"""


@pytest.mark.parametrize("body", ["return np.sumn(a1)", "return np.dot(a1, a2)", "return sparsae.Parameters(1)"])
def test_a_mistake_in_a_kernel_is_located_in_its_own_file(python, tmp_path: Path, body: str) -> None:
    """The message names the author's file and line, not NumPy's or ours."""
    path = tmp_path / "their_kernel.py"
    path.write_text(BROKEN.format(body=body))
    said = python(f"import runpy; runpy.run_path({str(path)!r})")
    assert "their_kernel.py" in said.out, said
    assert "line 5" in said.out, said.out


def test_an_interrupted_bench_says_so(start) -> None:
    """Interrupted, exit code 130, no talk of a process that died."""
    process = start("bench", "--quick", "--backends", "dot", "--threads", "1", start_new_session=True)
    time.sleep(3)
    os.killpg(process.pid, signal.SIGINT)
    try:
        out, err = process.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    assert process.returncode == 130, (out, err)
    assert "nterrupted" in out + err
    assert "could not be understood" not in out + err
    assert "Traceback" not in out + err
