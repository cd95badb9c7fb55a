"""Each sentence of the kit that no other test provokes: a backend that deserves it hears it, and its twin does not."""

from __future__ import annotations

import os

import pytest
from tests.support import mutants, verdict_mutants

import sparsae
from sparsae.plugins import trial_import
from sparsae.plugins.loading import _is_installed
from sparsae.plugins.records import text_of
from sparsae.testing import BackendConformance, checks
from sparsae.testing.checks import is_author_file
from sparsae.testing.runner import CheckSession


def one(kernel, name, threading="workers", **options):
    """The verdict of one check in float64."""
    made = {key: options.pop(key) for key in ("limit_threads", "contract") if key in options}
    with CheckSession(mutants.make(kernel, threading=threading, **made), quick=True, **options) as session:
        return session.run(name, "float64")


TWIN = mutants.Twin
WRONG = {
    "another one after pickling": (verdict_mutants.MakesTwins(), "registration", {}),
    "backprop returned 5 arrays; expected Parameters": (verdict_mutants.FiveArrays, "backprop", {}),
    "as if each waited for the other": (verdict_mutants.WaitsForTheOther, "two_threads", {"time_limit": 3}),
    "(after 6 evaluations more)": (verdict_mutants.OpensFilesLate, "global_state", {}),
    "threads more after 6 evaluations": (verdict_mutants.StartsThreadsLate, "global_state", {}),
    "sys.path: their order changed": (verdict_mutants.TurnsTheSearchPath, "global_state", {}),
    "to 'a folder that does not exist'": (verdict_mutants.RemovesItsFolder, "global_state", {}),
    "it closed the files by which the kit speaks with its process (in accumulate, ": (
        verdict_mutants.ClosesEveryFile,
        "one_block",
        {},
    ),
}


@pytest.mark.parametrize("words", WRONG)
def test_a_backend_that_deserves_the_sentence_hears_it(words):
    """The check fails, and says why."""
    kernel, name, options = WRONG[words]
    verdict = one(kernel, name, **options)
    assert verdict.outcome == "fail"
    assert words in verdict.message


@pytest.mark.parametrize("name", sorted({name for _, name, _ in WRONG.values()}))
def test_the_twin_does_not(name):
    """The same checks of what the wrong ones were made from."""
    assert one(TWIN, name).outcome == "pass"


def test_a_limit_that_swallows_exceptions_is_rejected():
    """What happens within it is lost; that of the twin passes it on."""
    limits = verdict_mutants.swallowing_limit, verdict_mutants.passing_limit
    wrong, right = (one(TWIN, "global_state", "own", limit_threads=limit) for limit in limits)
    assert "limit_threads swallowed an exception" in wrong.message
    assert right.outcome == "pass"


def test_a_kernel_without_backprop_declines_it():
    """That is allowed; the other checks call what it defines."""
    verdict = one(verdict_mutants.NoBackprop, "backprop")
    assert (verdict.outcome, verdict.message.partition(";")[0]) == ("declined", "its kernel defines no backprop")


def test_a_contract_that_is_not_supported_is_rejected():
    """Of a backend that is given as an object, which nothing has looked at before."""
    assert "contract is 99; this sparsae supports" in one(TWIN, "registration", contract=99).message


def test_a_core_that_evaluates_once_is_found(monkeypatch):
    """The kit counts the calls of the kernel, and compares with the number of blocks."""
    evaluate, kept = sparsae.Objective.evaluate, []

    def evaluate_once(objective, theta):
        if not kept:
            kept.append(evaluate(objective, theta))
        return kept[0]

    monkeypatch.setattr(sparsae.Objective, "evaluate", evaluate_once)
    verdict = one(TWIN, "global_state")
    assert verdict.outcome == "fail"
    assert "the kernel was called for 0 of 1 blocks" in verdict.message


def test_a_failure_while_a_hint_is_looked_for_changes_no_verdict(monkeypatch):
    """What failed is said, without the hint."""
    with_hint = one(mutants.MeansInsteadOfSums, "reference").message

    def raise_error(kit):
        raise RuntimeError("no hint")

    monkeypatch.setattr(checks, "find_mistake", raise_error)
    without = one(mutants.MeansInsteadOfSums, "reference").message
    head, hint, rest = with_hint.partition(". It looks as if ")
    assert hint
    assert without == f"{head}. Input:{rest.partition('. Input:')[2]}"


def test_the_class_for_pytest_fails_with_the_verdict(monkeypatch):
    """Its words, and the command that reproduces it."""

    class Wrong(BackendConformance):
        backend = mutants.make(mutants.SignFlipped)
        quick = True

    try:
        with pytest.raises(pytest.fail.Exception, match=r"(?s)gradient of .*Reproduce: .*reference"):
            Wrong().test_backend("reference", "sigmoid", "float64")
    finally:
        Wrong.teardown_class()
    Wrong.teardown_class()  # nothing is left to end


def test_a_child_that_cannot_start_is_no_plugin(monkeypatch):
    """It answers within the limit or not at all."""
    monkeypatch.setattr(trial_import, "START_LIMIT", 0.0)
    with trial_import._Trial(["numpy"]) as trial:
        assert trial.outcome() == "the process that imports it could not start"


@pytest.mark.parametrize(
    ("filename", "expected"),
    [
        (f"{checks.OWN_FOLDER}/cost.py", False),
        ("<frozen importlib._bootstrap>", False),
        (os.__file__, False),
        ("/x/site-packages/numpy/linalg/_linalg.py", False),
        ("/x/site-packages/scipy/linalg/blas.py", False),
        ("/x/site-packages/plugin_mine/kernel.py", True),
        ("/home/me/kernel.py", True),
    ],
)
def test_the_author_s_code_is_told_from_that_of_libraries(filename, expected):
    """The line that a verdict names is one that the author can change."""
    assert is_author_file(filename) is expected


def test_a_name_within_a_package_that_is_missing_is_not_installed():
    """Looking for it raises; the answer is no."""
    assert not _is_installed("no_such_package.part")
    assert _is_installed("numpy.linalg")


def test_an_error_without_text_has_one():
    """Whatever its `__str__` raises."""

    class UnspeakableError(Exception):
        def __str__(self):
            raise RuntimeError

    assert text_of(UnspeakableError()) == "its text cannot be had"
