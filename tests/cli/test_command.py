"""The command as its users run it: real processes for what a process does, the parser in process for the rest."""

import json
import subprocess
import sys

import numpy as np
import pytest

from sparsae.cli import COMMANDS, cli, main


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run the command in an empty folder; returns exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*words):
        with pytest.raises(SystemExit) as done:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return done.value.code, out, err

    return call


def test_the_main_job(run, tmp_path):
    """Train, info, encode, reconstruct, plot: each does its part and reports it."""
    code, out, _ = run("train", "digits", "-o", "m.npz", "--max-iter", 8, "--hidden", 9, "--seed", 3)
    assert code == 0
    assert "Model written to m.npz." in out
    assert "fused" in out
    code, out, _ = run("info", "m.npz")
    assert code == 0
    assert "1797 samples" in out
    code, out, _ = run("encode", "m.npz", "digits", "-o", "a.npy", "--json")
    assert (code, json.loads(out)["shape"]) == (0, [1797, 9])
    code, out, _ = run("reconstruct", "m.npz", "digits", "-o", "r.npy")
    assert code == 0
    assert np.load(tmp_path / "r.npy").shape == (1797, 64)
    for what in ("features", "history"):
        code, out, _ = run("plot", "m.npz", "--what", what)
        assert (code, out) == (0, f"Drew {what} into m-{what}.png.\n")
        assert (tmp_path / f"m-{what}.png").read_bytes().startswith(b"\x89PNG")


def test_json_reports_are_json_alone(run):
    """Standard output parses; numbers are numbers."""
    code, out, _ = run("train", "digits", "--max-iter", 3, "--json", "--backend", "dot", "--dtype", "float32")
    report = json.loads(out)
    assert (code, report["model"], report["iterations"]) == (0, "model.npz", 3)
    assert report["receipt"]["backend"] == "dot"
    assert report["receipt"]["dtype"] == "float32"
    assert np.isclose(sum(report["terms"][k] for k in ("squared_error", "weight_decay", "sparsity")), report["cost"])
    code, out, _ = run("info", "model.npz", "--json")
    assert json.loads(out)["settings"]["rho"] == 0.01
    code, out, _ = run("backends", "--json")
    assert {"fused", "dot"} <= {record["name"] for record in json.loads(out)}


def test_quiet_is_silent(run):
    """Nothing on either stream, also no warning about the iteration limit."""
    assert run("train", "digits", "--max-iter", 2, "--quiet") == (0, "", "")


def test_the_same_treatment_for_new_data(run, tmp_path):
    """A model of scaled data scales new data with its own constants."""
    rng = np.random.default_rng(0)
    np.save(tmp_path / "a.npy", rng.normal(100, 20, (200, 5)))
    assert run("train", "a.npy", "--scale", "--hidden", 3, "--max-iter", 5)[0] == 0
    assert run("reconstruct", "model.npz", "a.npy", "-o", "r.npy")[0] == 0
    assert 50 < np.load(tmp_path / "r.npy").min() < np.load(tmp_path / "r.npy").max() < 150  # in the data's units
    assert run("train", "patches", "--patches", 50, "--max-iter", 2, "-o", "p.npz")[0] == 0
    code, _, err = run("encode", "p.npz", "a.npy", "-o", "e.npy")
    assert code == 2
    assert "trained on image patches" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("trane digits", "No command 'trane'; did you mean 'train'?"),
        ("train", "Missing argument 'DATA'"),
        ("train nothing.npy", "There is no file nothing.npy. Give a file, or one of: digits"),
        ("train digits --hidden 0", "--hidden must be an integer of at least 1, not 0"),
        ("train digits --hidden many", "'many' is not a valid integer"),
        ("train digits --rho 2", "rho must lie strictly between 0 and 1"),
        ("train digits --backend fussed", "No backend named 'fussed'; did you mean 'fused'?"),
        ("train digits -o none/m.npz", "Cannot write none/m.npz: No such file or directory"),
        ("train digits -o there.npz", "there.npz exists and would be overwritten; use another name, or --force"),
        ("train digits --output relu", "'relu' is not one of 'sigmoid', 'linear'"),
        ("train wide.csv", "values from 1.5 to 300.5; a sigmoid output"),
        ("train text.csv", "line 2, column 2 is 'x', which is not a number"),
        ("train nan.csv", "the cell in line 2, column 1 is 'nan', a missing value"),
        ("train digits --max-iter -3", "--max-iter must be"),
        ("train digits --threads 0", "threads must be an integer of at least 1, not 0"),
        ("train digits --block-rows 0", "--block-rows must be an integer of at least 1, not 0"),
        ("train patches --patch-size 600 --patches 10", "patches of 600x600 do not fit"),
        ("train digits --nonsense", "No such option '--nonsense'. (see sparsae train --help)"),
        ("train digits --epochs 3", "No such option '--epochs'; did you mean '--max-iter'?"),
        ("train digits --threds 3", "No such option '--threds'; did you mean '--threads'?"),
        ("train digits --lr=3", "No such option '--lr'; did you mean '--learning-rate'?"),
        ("info there.npz", "not a model file"),
        ("info none.npz", "There is no model file none.npz"),
        ("encode none.npz digits", "Missing option '-o'"),
        ("plot there.npz -o x.doc", "not a model file"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(run, tmp_path, words, message):
    """No traceback; what was given, what is possible; and no file is left behind."""
    (tmp_path / "there.npz").write_bytes(b"something")
    (tmp_path / "wide.csv").write_text("1.5,2.5\n300.5,4.5\n")
    (tmp_path / "text.csv").write_text("1.5,2.5\n3.5,x\n")
    (tmp_path / "nan.csv").write_text("0.1,0.2\nnan,0.4\n")
    before = sorted(tmp_path.iterdir())
    code, out, err = run(*words.split())
    assert code == 2
    assert out == ""
    assert message in err
    assert err.startswith("Error: ")
    assert err.count("\n") == 1, err
    assert sorted(tmp_path.iterdir()) == before


def test_warnings_use_the_words_of_the_command_line(run):
    """Options, not arguments; a fit whose cost rose does not call its model usable."""
    code, _, err = run("train", "digits", "--max-iter", 2)
    assert code == 0
    assert "a larger --max-iter, with --initial MODEL" in err
    assert "max_iter" not in err
    words = ("--method", "sgd", "--learning-rate", 30, "--rho", 0.3, "--output", "linear", "--max-iter", 2)
    code, _, err = run("train", "digits", *words, "--force")
    assert code == 0
    assert "can be used as it is" not in err
    assert "smaller learning rate" in err


def test_every_command_has_help(run):
    """--help of the group and of each command, exit code 0."""
    code, out, _ = run("--help")
    assert code == 0
    assert all(name in out for name in COMMANDS)
    for name in cli.list_commands(None):
        assert run(name, "--help")[0] == 0
    assert run("--version")[1].startswith("sparsae, version 0.")


def test_help_loads_nothing_heavy():
    """`sparsae --help` imports click, and neither NumPy-heavy libraries nor rich nor any backend."""
    code = (
        "import sys\nfrom sparsae.cli import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in ('scipy', 'rich', 'pluggy', 'threadpoolctl', 'sklearn', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
