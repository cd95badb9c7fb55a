"""The command around a long fit: checkpoints, signals, logs, live pictures, and where it stands."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from sparsae import load
from sparsae.cli import main
from sparsae.errors import FileAccessError
from sparsae.training.checkpoint import load as load_checkpoint
from sparsae.training.json_log import JsonLog

COMMAND = [sys.executable, "-c", "from sparsae.cli import main; main()"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.random.default_rng(0).uniform(0.1, 0.9, (200, 16)))
    return "x.npy"


def run(*words: object) -> int:
    """Run the command in this process; its exit code."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--whiten", "zca"), "--whiten zca is for image patches (patches, photos, patches:PATH) and has no effect on"),
        (("--patches", 50), "--patches 50 is for image patches"),
        (("--method", "adam", "--gradient-tolerance", 0.1), "--gradient-tolerance has no effect on adam"),
    ],
)
def test_an_option_without_effect_is_refused(
    data: str, options: tuple[object, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line in the command's words, and no model."""
    assert run("train", data, *options, "-o", "m.npz") == 2
    assert message in capsys.readouterr().err
    assert not Path("m.npz").exists()


def test_a_fit_goes_on_from_its_checkpoint(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    """10 iterations, then --resume to 20: the model has the bits of 20 at once, and replaces the first part's."""
    common = ("train", data, "--hidden", 4, "--quiet")
    assert run(*common, "-o", "a.npz", "--max-iter", 20) == 0
    assert run(*common, "-o", "b.npz", "--max-iter", 10, "--checkpoint", "c", "--checkpoint-every", 3) == 0
    assert load_checkpoint(Path("c.previous")).header["iteration"] == 9
    assert run(*common, "-o", "b.npz", "--max-iter", 20, "--checkpoint", "c", "--resume") == 0
    assert load("a.npz").parameters.flatten().tobytes() == load("b.npz").parameters.flatten().tobytes()
    assert run(*common, "-o", "d.npz", "--checkpoint", "c") == 2
    assert "Error: c exists; --resume goes on from it." in capsys.readouterr().err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_write_a_checkpoint_and_a_model(data: str, number: signal.Signals, code: int) -> None:
    """Ctrl-C exits with 130 and SIGTERM with 143; both files are whole, agree, and can be gone on from."""
    words = [
        "train",
        data,
        "--hidden",
        "4",
        "-o",
        "m.npz",
        "--checkpoint",
        "c",
        "--log",
        "log",
        "--max-iter",
        "10000000",
    ]
    words += ["--gradient-tolerance", "0", "--method", "sgd", "--learning-rate", "1e-6"]
    process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    log = Path("log")
    while process.poll() is None and (not log.exists() or log.read_text().count("\n") < 5):
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    assert f"by {number.name}. The model so far is kept." in err
    assert "The same command with --resume goes on from c." in err
    assert "Traceback" not in err
    assert "Model written to m.npz" in out
    result, saved = load("m.npz"), load_checkpoint(Path("c"))
    assert result.status.reason == "interrupted"
    assert saved.header["iteration"] == result.history.iteration[-1] >= 4
    assert saved.arrays["theta"].tobytes() == result.parameters.flatten().tobytes()


def test_the_log_has_one_line_for_each_iteration(data: str) -> None:
    """JSON, with the names of the history; a resumed fit appends."""
    common = ("train", data, "--hidden", 4, "--quiet", "-o", "m.npz", "--log", "log", "--checkpoint", "c")
    run(*common, "--max-iter", 5)
    run(*common, "--max-iter", 8, "--resume")
    lines = [json.loads(line) for line in Path("log").read_text().splitlines()]
    assert [line["iteration"] for line in lines] == list(range(9))
    assert [line["cost"] for line in lines] == load("m.npz").history.cost.tolist()


def test_a_log_that_cannot_be_written_is_said_before_training() -> None:
    """With the reason of the system."""
    with pytest.raises(FileAccessError, match=r"The log /proc/fit\.jsonl cannot be written to: "):
        JsonLog("/proc/fit.jsonl")


def test_info_on_a_checkpoint_says_where_the_fit_stands(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    """For a person and for a program."""
    run("train", data, "--hidden", 4, "--quiet", "-o", "m.npz", "--checkpoint", "c", "--max-iter", 7, "--memory", 9)
    assert run("info", "c") == 0
    out = capsys.readouterr().out
    assert "7 of 7" in out
    assert "memory" in out
    assert run("info", "c", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["iteration"], report["settings"]["memory"], report["identity"]["n_hidden"]) == (7, 9, 4)
    assert report["cost"] == load("m.npz").cost


def test_the_picture_is_drawn_while_the_fit_runs(data: str) -> None:
    """--plot-every refreshes the picture beside the model; the last one shows the last multiple."""
    pytest.importorskip("matplotlib")
    run("train", data, "--hidden", 4, "--quiet", "-o", "m.npz", "--plot-every", 2, "--max-iter", 3)
    assert Path("m-features.png").read_bytes().startswith(b"\x89PNG")


def test_a_warm_start_from_a_model_file(data: str) -> None:
    """--initial begins at the model's parameters."""
    run("train", data, "--hidden", 4, "--quiet", "-o", "a.npz", "--max-iter", 5)
    run("train", data, "--hidden", 4, "--quiet", "-o", "b.npz", "--max-iter", 5, "--initial", "a.npz")
    assert load("b.npz").history.cost[0] == load("a.npz").cost


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--resume"], "--resume and --checkpoint-every need --checkpoint FILE."),
        (["--checkpoint-every", "5"], "--resume and --checkpoint-every need --checkpoint FILE."),
        (["--method", "adma"], "No method named 'adma'; did you mean 'adam'?"),
        (["--method", "adam", "--memory", "20"], "Method 'adam' has no setting memory; it has --batch-rows"),
        (["--memory", "3"], "memory must lie from 5 to 100; given 3."),
        (["--max-seconds", "0"], "seconds must be positive; given 0.0."),
        (["--plot-every", "0"], "--plot-every must be an integer of at least 1, not 0."),
        (["--checkpoint", "/proc/c"], "No checkpoint can be written to /proc"),
        (["--log", "/proc/l"], "Cannot write /proc/l: No such file"),
        (["--initial", "none.npz"], "There is no model file none.npz."),
    ],
)
def test_options_that_cannot_be_used(
    data: str, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    """One line on standard error, exit code 2, and no model file."""
    assert run("train", data, "-o", "m.npz", *words) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith("Error: ")
    assert err.count("\n") == 1
    assert not Path("m.npz").exists()


def test_every_keyword_of_the_model_is_an_option(data: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of the activation reach the fit, the model knows them, and one of another activation is refused."""
    from sparsae import ModelOptions, encode
    from sparsae.cli.model_options import ACTIVATIONS, MODEL_OPTIONS
    from sparsae.model.settings import DEFAULTS

    assert {*MODEL_OPTIONS} == {*ModelOptions.__annotations__}
    assert {*ACTIVATIONS} == {*DEFAULTS}
    words = ("--activation", "relu", "--l1", 0.01, "--no-l1-weighted", "--no-pre-bias", "--init", "uniform")
    assert run("train", data, "--hidden", 4, "--method", "lbfgs", "--max-iter", 2, "--quiet", *words) == 0
    model = load("model.npz")
    expected = {"activation": "relu", "l1": 0.01, "l1_weighted": False, "pre_bias": False, "init": "uniform"}
    assert expected.items() <= model.settings.items()
    assert model.settings["output"] == "linear"
    X = np.load(data)
    activations = np.maximum(X @ model.parameters.W1.T + model.parameters.b1, 0)
    np.testing.assert_allclose(model.encode(X), activations, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(encode(model, X), model.encode(X))
    assert run("train", data, "--activation", "relu", "--k", 3, "--force") != 0
    assert "k does not belong to" in capsys.readouterr().err
