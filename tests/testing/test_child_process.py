"""What a kernel does to its process is a verdict: it never ends the kit, and it never passes."""

from __future__ import annotations

import gc
import itertools
import multiprocessing
import os
import platform
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from tests.support import disturbers, mutants, rare_mutants
from tests.support.kernels import WholeKernel

import sparsae
from sparsae.engine.npy_file import open_npy
from sparsae.testing import process
from sparsae.testing.checks import CHECKS
from sparsae.testing.runner import CheckSession, check


def words_of(value):
    """The words of a case name it."""
    return value if isinstance(value, str) else ""


def one(backend, name="one_block", **options):
    """The verdict of one check in float64."""
    with CheckSession(backend, quick=True, **options) as session:
        return session.run(name, "float64")


@pytest.mark.parametrize(("words", "action"), disturbers.ENDS, ids=words_of)
def test_a_kernel_that_ends_crashes_or_prints_fails_the_check_at_hand(words, action):
    """The verdict names what happened; the next check runs in another child."""
    with CheckSession(disturbers.make(action), quick=True) as session:
        verdict = session.run("one_block", "float64")
        assert verdict.outcome == "fail"
        assert words in verdict.message, verdict.message
        assert "\x1b" not in verdict.message
        assert session.run("registration", "float64").outcome in ("pass", "fail")


@pytest.mark.parametrize(("words", "action"), disturbers.HANGS)
def test_a_kernel_that_hangs_is_ended_at_the_time_limit(words, action):
    """The message names the limit and, where Python knows it, the author's line."""
    verdict = one(disturbers.make(action), time_limit=3)
    assert verdict.outcome == "fail"
    assert "it exceeded the time limit of 3 s" in verdict.message
    assert words in verdict.message
    assert "disturbers.py, line" in verdict.message


def test_after_three_checks_that_hang_the_rest_is_not_run():
    """The report ends, and says so."""
    slow = disturbers.make(disturbers._forever)
    names = list(CHECKS)[3:9]
    report = check(slow, time_limit=0.4, dtypes=["float64"], activations=["sigmoid"], only=names)
    assert [verdict.outcome for verdict in report.verdicts] == ["fail"] * 3 + ["unverified"] * 3
    assert "not run: 3 checks before it exceeded the time limit" in report.verdicts[-1].message
    assert not report.passed


def test_a_fork_inside_a_kernel_answers_nothing_twice():
    """The child of the kernel does not go on with the checks."""
    with CheckSession(disturbers.make(disturbers._fork), quick=True) as session:
        verdicts = [session.run(name, "float64") for name in ("one_block", "closed_forms", "one_block")]
    assert [verdict.check for verdict in verdicts] == ["one_block", "closed_forms", "one_block"]


@pytest.mark.parametrize(("words", "action"), disturbers.STATE, ids=words_of)
def test_each_kind_of_global_state_is_compared(words, action):
    """Changed in a method: FAIL with the kind of state, the method, and no value of an environment variable."""
    if "CPU affinity" in words and len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one CPU cannot be made fewer")
    verdict = one(disturbers.make(action, threading="workers"), "global_state")
    assert verdict.outcome == "fail", verdict
    assert words in verdict.message, verdict.message
    assert "(after accumulate" in verdict.message, verdict.message
    assert "hunter2" not in verdict.message
    assert "PATH" not in verdict.message


@pytest.mark.parametrize("when", ["__init__", "finish"])
def test_the_message_names_the_method_that_changed_the_state(when):
    """Not only `accumulate`: what __init__ does counts too."""
    for words, action in disturbers.STATE[:3]:
        verdict = one(disturbers.make(action, when=when), "global_state")
        assert verdict.outcome == "fail"
        assert words in verdict.message
        assert f"(after {when})" in verdict.message


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the constant of the rounding mode is x86's")
def test_the_rounding_mode_is_compared():
    """Fesetround changes the last bits of everybody's sums."""
    import ctypes

    verdict = one(disturbers.make(lambda: ctypes.CDLL(None).fesetround(0x800)), "global_state")
    assert "floating-point modes: rounds to nearest" in verdict.message


def test_the_undisturbed_twin_passes():
    """The disturbers are right but for what they disturb."""
    for threading in ("none", "workers", "own"):
        for name in ("global_state", "one_block"):
            verdict = one(disturbers.make(lambda: None, threading=threading), name)
            assert verdict.outcome == "pass", verdict


def test_garbage_of_the_parent_is_not_the_kernels(tmp_path):
    """An open file that the parent has dropped and not collected is not closed in the child amid a check."""
    np.save(tmp_path / "x.npy", np.ones((3, 2)))
    held = [open_npy(tmp_path / "x.npy")]
    held.append(held)
    gc.collect()  # old garbage is collected late
    del held
    verdict = one(disturbers.make(lambda: gc.collect()), "global_state")
    assert verdict.outcome == "pass", verdict


def test_state_changed_outside_of_the_check_for_it_is_found_too():
    """A change that only one check provokes fails that check."""
    verdict = one(disturbers.make(lambda: os.chdir("/")), "one_block")
    assert verdict.outcome == "fail"
    assert "the working directory changed" in verdict.message
    assert "(after this check)" in verdict.message


def test_an_own_pool_may_start_once_and_not_grow():
    """threading="own" may keep threads from the first call on; a thread for every call fails."""
    started = []

    def once():
        if not started:
            started.append(disturbers.threading.Thread(target=time.sleep, args=(60,), daemon=True))
            started[0].start()

    def each_time():
        disturbers.threading.Thread(target=time.sleep, args=(60,), daemon=True).start()

    assert one(disturbers.make(once, threading="own"), "global_state").outcome == "pass"
    assert one(disturbers.make(once, threading="workers"), "global_state").outcome == "fail"
    verdict = one(disturbers.make(each_time, threading="own"), "global_state")
    assert verdict.outcome == "fail"
    assert "threads more after 6 evaluations" in verdict.message


def test_one_instance_for_every_worker_is_refused():
    """`kernel(problem)` that returns the same object twice."""
    kept = {}

    def same(problem):
        return kept.setdefault("kernel", mutants.Twin(problem))

    verdict = one(sparsae.Backend("same", same), "registration")
    assert verdict.outcome == "fail"
    assert "the same instance twice" in verdict.message


def test_an_interrupt_of_the_user_ends_the_child(monkeypatch):
    """Ctrl-C while a check runs: KeyboardInterrupt in the caller, and no process stays behind."""
    session = CheckSession(disturbers.make(lambda: time.sleep(60)), quick=True)
    pids = []
    wait = process.ChildProcess._wait

    def interrupted(child, limit):
        pids.append(child._process.pid)
        if len(pids) > 1:
            raise KeyboardInterrupt
        return wait(child, limit)

    monkeypatch.setattr(process.ChildProcess, "_wait", interrupted)
    with pytest.raises(KeyboardInterrupt), session:
        session.run("one_block", "float64")
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)


def test_without_fork_objects_are_checked_in_this_process_and_it_is_said(monkeypatch):
    """A stated limitation: a warning, and verdicts as otherwise."""
    monkeypatch.setattr("sparsae.testing.runner.can_fork", lambda: False)
    with pytest.warns(sparsae.errors.SparsaeWarning, match="cannot fork: its checks run in this process"):
        report = check(mutants.make(mutants.Twin), quick=True, only=["reference", "one_block"])
    assert report.passed
    with pytest.warns(sparsae.errors.SparsaeWarning):
        assert not check(mutants.make(mutants.SignFlipped), only=["reference"]).passed


def check_in_a_worker(queue):
    """Check an object where no process may be started; also what is said of it."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        report = check(mutants.make(mutants.Twin), quick=True, only=["one_block"])
    queue.put((report.passed, [str(warning.message) for warning in caught]))


def test_an_object_is_checked_in_a_worker_of_a_pool():
    """A daemonic process may not fork: the checks run in it, and it is said."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    worker = context.Process(target=check_in_a_worker, args=(queue,), daemon=True)
    worker.start()
    worker.join(60)
    assert worker.exitcode == 0
    passed, messages = queue.get()
    assert passed
    assert [message for message in messages if "this process cannot fork" in message]


def test_a_time_limit_is_positive():
    """A ParameterError that says what was given."""
    for limit in (0, -1, float("nan")):
        with pytest.raises(sparsae.ParameterError, match="time_limit must be a positive number of seconds; given"):
            check("numpy", time_limit=limit)
    with pytest.raises(sparsae.ParameterError, match=r"name of a backend or a sparsae\.Backend; given 3"):
        check(3)


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
