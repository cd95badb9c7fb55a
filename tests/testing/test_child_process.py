"""What a kernel does to its process is a verdict: it never ends the kit, and it never passes."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from tests.support import disturbers, mutants

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


WITHOUT_FORK = """
import json
import warnings

from sparsae.testing import runner
from tests.support import mutants

runner.can_fork = lambda: False
with warnings.catch_warnings(record=True) as warned:
    warnings.simplefilter("always")
    right = runner.check(mutants.make(mutants.Twin), quick=True, only=["reference", "one_block"])
    wrong = runner.check(mutants.make(mutants.SignFlipped), quick=True, only=["reference"])
failed = [[f"{verdict.check}: {verdict.message}" for verdict in report.verdicts if verdict.outcome == "fail"]
          for report in (right, wrong)]
print(json.dumps([*failed, [str(warning.message) for warning in warned]]))
"""


def test_without_fork_objects_are_checked_in_this_process_and_it_is_said():
    """A stated limitation: a warning, and verdicts as otherwise; in an interpreter that runs nothing else meanwhile."""
    done = subprocess.run([sys.executable, "-c", WITHOUT_FORK], stdout=subprocess.PIPE, text=True, check=True)
    right, wrong, warned = json.loads(done.stdout)
    assert not right
    assert wrong
    assert len(warned) == 2
    assert all("cannot fork: its checks run in this process" in words for words in warned)


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
    worker.join(300)
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
