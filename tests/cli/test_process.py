"""Every way in which the command can end: an exit code, and at most one line on standard error."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import click
import pytest
from tests.support.command import Ended
from tests.support.terminal import read_all

from sparsae.cli import main, process

Run = Callable[..., Ended]
Start = Callable[..., "subprocess.Popen[str]"]
OUTPUTS = (
    ("--help",),
    ("info", "m.npz"),
    ("info", "m.npz", "--json"),
    ("backends",),
    ("bench", "--list"),
    ("completion", "bash"),
    ("encode", "m.npz", "x.npy", "-o", "codes.npy"),
)


@pytest.fixture
def full(folder: Path) -> Iterator[IO[Any]]:
    """A device of our own that is always full."""
    if os.geteuid() != 0:
        pytest.skip("only root makes device nodes")
    os.mknod(folder / "full", stat.S_IFCHR | 0o666, os.makedev(1, 7))
    with (folder / "full").open("wb", buffering=0) as stream:
        yield stream


@pytest.mark.parametrize("words", OUTPUTS, ids=" ".join)
def test_an_output_that_is_full_is_said_in_one_line(model: str, start: Start, full: IO[Any], words: Any) -> None:
    """Exit code 1, on every command, whatever prints: click, rich or json."""
    process = start(*words, stdout=full)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    assert err == "Error: The output cannot be written: No space left on device.\n"


@pytest.mark.parametrize("words", [*OUTPUTS[1:4], ("encode", "m.npz", "x.npy", "-o", "/dev/stdout")], ids=" ".join)
def test_a_reader_that_went_away_is_not_spoken_of(model: str, start: Start, words: Any) -> None:
    """Exit code 141, as of a program that SIGPIPE ends."""
    ours, theirs = os.pipe()
    os.close(ours)
    process = start(*words, stdout=theirs)
    os.close(theirs)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (141, "")


def test_a_fit_needs_no_standard_error(start: Start, full: IO[Any], folder: Path) -> None:
    """Full, closed, or without a reader: the model is written, and the exit code is 0."""
    ours, theirs = os.pipe()
    os.close(ours)
    for number, stream in enumerate((full, theirs, subprocess.DEVNULL)):
        options = {} if stream is not subprocess.DEVNULL else {"preexec_fn": lambda: os.close(2)}
        process = start("train", "x.npy", "-o", f"{number}.npz", "--max-iter", 3, stderr=stream, **options)
        out, _ = process.communicate(timeout=300)
        assert process.returncode == 0, out
        assert f"Model written to {number}.npz." in out
        assert (folder / f"{number}.npz").is_file()
    os.close(theirs)


def test_without_a_command_there_is_help(run: Run) -> None:
    """All of it, line by line, on standard error."""
    code, out, err = run()
    assert (code, out) == (2, "")
    assert err.startswith("Usage: sparsae ")
    assert err.count("\n") > 15


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        ("SystemExit(0)", "SystemExit"),
        ("KeyboardInterrupt", "KeyboardInterrupt"),
        ("GeneratorExit", "GeneratorExit"),
        ("EOFError('the end')", "EOFError: the end"),
    ],
)
def test_a_kernel_that_would_end_the_process(start: Start, folder: Path, raised: str, said: str) -> None:
    """Exit code 1 with one line; never 0 without a model."""
    program = (
        "from sparsae.plugins.selection import get_backend\n"
        "kernel = get_backend('numpy').kernel\n"
        f"def encode(*_, **__): raise {raised}\n"
        "kernel.encode = encode"
    )
    process = start("train", "x.npy", "--backend", "numpy", "-o", "m.npz", program=program)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, out) == (1, ""), err
    assert err.startswith("Error: ")
    assert said in err
    assert err.count("\n") == 1
    assert not (folder / "m.npz").exists()


def test_sigterm_while_data_loads_ends_the_process(start: Start, folder: Path) -> None:
    """At once, by the signal itself (143 in a shell), in the middle of a read that takes for ever."""
    program = (
        "import sparsae.data, pathlib, time\n"
        "def load(*_, **__):\n    pathlib.Path('loading').touch(); time.sleep(600)\n"
        "sparsae.data.load = load"
    )
    process = start("train", "x.npy", program=program)
    while not (folder / "loading").exists():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGTERM
    assert not (folder / "model.npz").exists()


def test_a_full_disk_is_a_failure_and_not_a_mistake(start: Start, folder: Path) -> None:
    """Exit code 1; the old model is whole."""
    (folder / "m.npz").write_bytes(b"old")
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))"
    words = ("train", "x.npy", "-o", "m.npz", "--force", "--max-iter", 2, "--quiet")
    process = start(*words, program=limit)
    _, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (1, "Error: Cannot write m.npz: File too large.\n")
    assert (folder / "m.npz").read_bytes() == b"old"


def test_a_shell_gets_completions(start: Start, run: Run) -> None:
    """The script, and what it asks for."""
    code, out, _ = run("completion", "zsh")
    assert (code, "_SPARSAE_COMPLETE=zsh_complete" in out) == (0, True)
    program = "import os; os.environ.update(_SPARSAE_COMPLETE='bash_complete', COMP_WORDS='sparsae tr', COMP_CWORD='1')"
    out, err = start(program=program).communicate(timeout=300)
    assert (out, err) == ("plain,train\n", "")


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("train --backend nu", ["plain,numba", "plain,numpy"]),
        ("backends fus", ["plain,fused"]),
        ("check fus", ["plain,fused"]),
        ("train dig", ["plain,digits", "plain,digits.csv"]),
        ("encode m.npz pho", ["plain,photos"]),
        ("train mea", ["file,mea"]),  # the shell lists them
        ("train --activation batch", ["plain,batchtopk"]),
        ("bench sh", ["plain,show"]),
        ("info m", ["file,m"]),
    ],
)
def test_a_shell_is_offered_backends_data_and_files(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], typed: str, offered: list[str]
) -> None:
    """Beside commands, options and choices."""
    (folder / "digits.csv").touch()
    monkeypatch.setenv("_SPARSAE_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", f"sparsae {typed}")
    monkeypatch.setenv("COMP_CWORD", str(len(typed.split())))
    with pytest.raises(SystemExit) as ended:
        main([])
    assert (ended.value.code, capsys.readouterr().out.split("\n")[:-1]) == (0, offered)


def test_no_color_is_respected(start: Start, model: str) -> None:
    """On a terminal, NO_COLOR and TERM=dumb turn colours off."""
    import pty

    words = ("check", "numpy", "--quick", "--only", "closed_forms", "--dtype", "float64")
    for variable, coloured in (("NO_COLOR=1", False), ("TERM=dumb", False), ("TERM=xterm", True)):
        name, _, value = variable.partition("=")
        ours, theirs = pty.openpty()
        process = start(*words, program=f"import os; os.environ[{name!r}] = {value!r}", stdout=theirs)
        os.close(theirs)
        drawn = read_all(ours)
        process.communicate(timeout=300)
        assert b"PASS" in drawn
        assert (b"\x1b[" in drawn) == coloured, (variable, drawn)


class Silent(KeyboardInterrupt):
    """An interruption of a fit in preparation, which knows its signal."""

    signal = 15


def caused(error: BaseException, cause: BaseException) -> BaseException:
    """The error with its cause, as `raise ... from` leaves it."""
    error.__cause__ = cause
    return error


ENDS: dict[str, tuple[BaseException, int, str]] = {
    "Ctrl-C": (click.exceptions.Abort(), 130, "Interrupted.\n"),
    "SIGTERM": (caused(click.exceptions.Abort(), Silent()), 143, "Interrupted.\n"),
    "a mistake": (click.UsageError("What?"), 2, "Error: What? (see sparsae --help)\n"),
    "a file": (
        FileNotFoundError(2, "No such file or directory", "x.npy"),
        1,
        "Error: x.npy: No such file or directory.\n",
    ),
    "no file": (OSError(28, "No space left on device"), 1, "Error: No space left on device.\n"),
    "memory": (MemoryError(), 1, "Error: There is not enough memory.\n"),
    "how much memory": (MemoryError("8 GB"), 1, "Error: There is not enough memory: 8 GB.\n"),
    "exit": (SystemExit(7), 1, "Error: The command was ended by sys.exit(7) in a backend or another library.\n"),
    "a generator": (
        GeneratorExit(),
        1,
        "Error: The command was ended by GeneratorExit in a backend or another library.\n",
    ),
}


@pytest.mark.parametrize("end", ENDS)
def test_each_end_is_an_exit_code_and_one_line(end: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a command raises for which its user, the system or another library is the reason."""
    error, code, said = ENDS[end]
    assert process.run(raising(error), []) == code
    assert capsys.readouterr() == ("", said)


@pytest.mark.parametrize("error", [OSError("a stream that cannot seek"), ValueError("?"), EOFError("?")], ids=repr)
def test_a_mistake_in_sparsae_keeps_its_traceback(error: BaseException) -> None:
    """An error of the system has a number; click takes the end of a file for the end of an answer that was typed."""
    with pytest.raises(type(error)) as seen:
        process.run(raising(error), [])
    assert seen.value is error


def raising(error: BaseException) -> click.Command:
    """A command that fails so."""

    @click.command
    def command() -> None:
        raise error

    return command
