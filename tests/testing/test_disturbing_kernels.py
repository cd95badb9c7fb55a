"""Plugins that disturb their process or hide what they do: the command fails them, alone, and names known mistakes."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import numpy as np
import pytest
from tests.support import mutants, rare_mutants
from tests.support.kernels import WholeKernel

import sparsae
from sparsae.testing import process
from sparsae.testing.runner import CheckSession, check


def one(backend, name="one_block", **options):
    """The verdict of one check in float64."""
    with CheckSession(backend, quick=True, **options) as session:
        return session.run(name, "float64")


HEADER = "import os, sys, time, atexit\nimport numpy as np, sparsae\n"
PLUGIN = """
from tests.support.kernels import WholeKernel

class Mine(WholeKernel):
    def accumulate(self, *arguments):
        super().accumulate(*arguments)
        BODY

@sparsae.hookimpl
def sparsae_backend():
    return sparsae.Backend("mine", Mine, threading="none")
"""


@pytest.fixture
def command(tmp_path):
    """A function that runs `sparsae check mine` on a plugin with this source at import and in `accumulate`."""
    info = tmp_path / "dist_mine-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dist_mine\nVersion: 1.2\x1b[2J\n")
    (info / "entry_points.txt").write_text("[sparsae.backends]\nmine = plugin_mine\n")
    root = os.fspath(process.Path(__file__).parents[2])

    def run(*words, at_import="", body="pass"):
        (tmp_path / "plugin_mine.py").write_text(HEADER + at_import + PLUGIN.replace("BODY", body))
        return subprocess.run(
            [sys.executable, "-c", "import sparsae.cli; sparsae.cli.main()", "check", "mine", "--quick", *words],
            env=os.environ | {"PYTHONPATH": f"{tmp_path}:{root}"},
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )

    return run


def test_the_command_passes_the_plugin_that_disturbs_nothing(command, monkeypatch):
    """Exit code 0, with a budget of one CPU too; the same plugin is changed by the tests below."""
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")  # two workers are asked for all the same, and warned of
    done = command("--dtype", "float64")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "It conforms." in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("os._exit(0)", "it ended its process with exit code 0 during the check one_block"),
        ("sys.exit(0)", "SystemExit: 0 ("),
        ("os.kill(os.getpid(), 11)", "it was ended by SIGSEGV (in accumulate, "),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("print('\\x1b[2J\\x1b]0;owned\\x07[/x] hello')", "it printed: [/x] hello"),
    ],
)
def test_the_command_exits_with_1_whatever_the_kernel_does(command, body, words):
    """FAIL with the name of the check, and nothing of the kernel's reaches the terminal as it is."""
    done = command("--only", "one_block", "--only", "registration", body=body)
    assert done.returncode == 1, done.stdout + done.stderr
    assert words in done.stdout
    assert "It does not conform." in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("at_import", "check_name", "words"),
    [
        (
            "os.environ['A_B'] = 'hunter2'",
            "global_state",
            "environment variables: A_B added (after its module was imported)",
        ),
        ("np.seterr(all='ignore')", "global_state", "(after its module was imported)"),
        ("print('hello')", "global_state", "it printed: hello"),
        ("import numexpr", "light_discovery", "its module imports numexpr; import that in the kernel's __init__"),
        ("atexit.register(print, 'bye')", "clean_exit", "it printed: bye"),
        ("atexit.register(os._exit, 5)", "clean_exit", "it ended its process with exit code 5"),
        ("atexit.register(time.sleep, 60)", "clean_exit", "its process had not ended 3 s after the last check"),
    ],
)
def test_what_the_module_does_is_checked(command, at_import, check_name, words):
    """From before it is loaded until the interpreter ends."""
    done = command("--only", check_name, "--dtype", "float64", "--time-limit", "3", at_import=at_import)
    assert done.returncode == 1, done.stdout + done.stderr
    assert words in done.stdout
    assert "hunter2" not in done.stdout


@pytest.mark.parametrize(
    "at_import", ["os._exit(0)", "os.kill(os.getpid(), 9)", "raise KeyboardInterrupt", "sys.exit(0)"]
)
def test_a_module_that_cannot_be_loaded_never_passes(command, at_import):
    """One line, exit code 2."""
    done = command(at_import=at_import)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("Error: Backend 'mine' ")
    assert len(done.stderr.splitlines()) == 1


def backend_of(kernel):
    """A backend of that kernel."""
    return sparsae.Backend("rare", kernel, threading="workers")


@pytest.mark.parametrize(
    ("kernel", "name"),
    [(rare_mutants.RightForFortyCalls, "two_threads"), (rare_mutants.RightForSmallBlocks, "reference")],
)
def test_what_is_right_at_first_or_on_little_data_fails(kernel, name):
    """Many calls of one instance, and blocks of thousands of rows, are among the checks."""
    verdict = one(backend_of(kernel), name)
    assert verdict.outcome == "fail", verdict


def test_a_kernel_that_sleeps_when_it_is_deleted_exceeds_the_time_limit():
    """The message names the line of __del__."""
    verdict = one(backend_of(rare_mutants.SleepsWhenDeleted), time_limit=4)
    assert verdict.outcome == "fail"
    assert "it exceeded the time limit of 4 s (in __del__, " in verdict.message


def test_a_kernel_that_takes_all_memory_fails_alone(monkeypatch):
    """The child has a memory limit: MemoryError is the verdict, and the machine goes on."""
    monkeypatch.setattr("sparsae.testing.child.memory_limit", lambda: 1 << 30)
    verdict = one(backend_of(rare_mutants.TakesAllMemory), "reference")
    assert verdict.outcome == "fail"
    assert "MemoryError" in verdict.message


def test_what_the_parent_holds_is_not_taken_from_the_child(monkeypatch):
    """A notebook of two gibibytes forks a child that may take one: a right kernel passes, a greedy one fails."""
    held = np.empty(1 << 28)  # not touched: the system counts it all the same
    monkeypatch.setattr("sparsae.testing.child.memory_limit", lambda: 1 << 30)
    assert one(backend_of(WholeKernel), "reference").outcome == "pass"
    assert "MemoryError" in one(backend_of(rare_mutants.TakesAllMemory), "reference").message
    assert held.size == 1 << 28


def test_a_kernel_that_cannot_be_compared_or_shown_disturbs_no_check():
    """Nothing calls == , repr or bool on what belongs to the author."""
    for name in ("registration", "global_state", "two_threads", "workers"):
        assert one(backend_of(rare_mutants.CannotBeCompared), name).outcome == "pass"


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (mutants.MeansInsteadOfSums, "the sums are m times too small: the kernel returns means"),
        (mutants.SparsityIgnored, "the sparsity vector is missing from delta2"),
        (mutants.SparsitySignFlipped, "the sparsity vector is subtracted"),
        (mutants.BetaTwice, "the sparsity vector is added twice"),
        (mutants.SignFlipped, "delta3 has the wrong sign"),
        (mutants.TargetIgnored, "the target is ignored"),
    ],
)
def test_a_known_mistake_is_named(mutant, words):
    """Beside the numbers, in words; in the checks of the whole gradient and in those of one call."""
    with CheckSession(mutants.make(mutant), quick=True) as session:
        for name, dtype in itertools.product(("reference", "backprop", "one_block"), ("float64", "float32")):
            verdict = session.run(name, dtype)
            if verdict.outcome == "fail":
                assert f"It looks as if {words}" in verdict.message, verdict
    assert mutant is mutants.TargetIgnored or verdict.outcome == "fail"


def test_an_unknown_mistake_is_not_named_as_a_known_one():
    """No hint where none of the known mistakes gives these numbers."""
    for mutant in (mutants.DecoderBiasWithoutSlope, mutants.StaleScratch, mutants.LastRowDropped):
        verdict = one(mutants.make(mutant), "invariants")
        assert verdict.outcome == "fail"
        assert "It looks as if" not in verdict.message


def test_a_backend_without_a_usable_dtype_fails():
    """Not every check declined and none failed."""
    for dtypes, words in (
        ((), "it can do nothing: dtypes ()"),
        (("float16",), "dtypes has 'float16'; what can be declared is float32, float64"),
    ):
        backend = mutants.make(mutants.Twin, dtypes=dtypes)
        report = check(backend, only=["registration", "reference"], activations=["sigmoid"])
        assert [verdict.outcome for verdict in report.verdicts] == ["fail", "fail", "declined", "declined"]
        assert words in report.verdicts[0].message


def test_a_session_leaves_no_file_behind(tmp_path, monkeypatch):
    """Also one that is never closed."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    session = CheckSession(mutants.make(mutants.Twin), quick=True)
    assert session.run("one_block", "float64").outcome == "pass"
    assert not list(tmp_path.iterdir())
    session.close()
    assert not list(tmp_path.iterdir())
