"""The conformance kit finds faults: every mutant is rejected by the check meant for it, and its correct twin passes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import mutants, rare_mutants, strict_kernels

import sparsae
from sparsae.testing import BackendConformance, check
from sparsae.testing.checks import CHECKS, DTYPES
from sparsae.testing.runner import CheckSession

ROOT = Path(__file__).parents[2]


def run_one(backend, name, dtype="float64", **options):
    """The verdict of one check."""
    with CheckSession(backend, **{"quick": True, **options}) as session:
        return session.run(name, dtype)


def failures(report):
    """The checks that failed, with their messages."""
    return {
        (verdict.check, verdict.activation, verdict.dtype): verdict.message
        for verdict in report.verdicts
        if verdict.outcome == "fail"
    }


EVERY = ("sigmoid", "relu", "topk", "batchtopk", "jumprelu")
DECLARED = dict.fromkeys(("loop", "numpy", "einsum", "fused", "numba"), EVERY) | dict.fromkeys(
    ("dot", "torch", "jax"), EVERY[:3]
)
# A part for each run of the tests, where all takes long to compile; `make prove` does all:
PART = {"numba": EVERY[0:3:2], "jax": EVERY[:1]}
PART_DTYPES = {"jax": ("float32",), "loop": ("float32",), "einsum": ("float64",)}
NOT_OFFERED = ("promised for threading", "its kernel has no direct_sums", "its kernel defines no backprop")


def test_the_kit_proves_each_unit_of_every_bundled_backend(backend):
    """Nothing is unverified, and what the kernels do not offer says so.

    JAX compiles anew for every shape, which takes 50 s of CPU time in each dtype and unit; the others of `PART` have
    code that looks at no dtype, or take long to compile.
    """
    asked = PART.get(backend, EVERY)
    report = check(backend, quick=True, dtypes=PART_DTYPES.get(backend, DTYPES), activations=asked)
    assert not failures(report)
    assert report.passed
    assert {unit.outcome for unit in report.units if unit.activation in DECLARED[backend]} == {"proved"}
    assert {unit.activation for unit in report.units if unit.outcome == "declined"} == set(asked) - {*DECLARED[backend]}
    for verdict in report.verdicts:
        if verdict.activation in ("", *DECLARED[backend]):
            assert verdict.outcome == "pass" or verdict.message.startswith(NOT_OFFERED), verdict


@pytest.mark.prove
def test_the_full_kit_proves_each_unit_of_every_bundled_backend(backend):
    """More shapes and more repetitions; how long each takes is printed."""
    report = check(backend)
    assert report.passed, failures(report)
    assert {unit.activation for unit in report.units if unit.outcome == "proved"} == {*DECLARED[backend]}
    print(backend, f"{sum(verdict.seconds for verdict in report.verdicts):.1f} s")


@pytest.mark.parametrize("threading", ["workers", "blas", "none"])
def test_the_correct_twin_passes(threading):
    """What the mutants were made from passes every check."""
    assert not failures(check(mutants.make(mutants.Twin, threading=threading), quick=True))


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.__name__)
def test_every_mutant_is_rejected_by_the_check_meant_for_it(mutant):
    """The verdict names what failed, on which input, and how to do it again."""
    name = mutants.MUTANTS[mutant]
    verdict = run_one(mutants.make(mutant, threading="workers"), name)
    assert verdict.outcome == "fail", verdict
    assert "Input: " in verdict.message
    assert name in verdict.reproduce


def test_a_limit_that_leaks_after_an_exception_is_rejected():
    """limit_threads without `finally`; its correct twin passes."""
    right, wrong = (
        run_one(mutants.make(mutants.Twin, threading="own", limit_threads=limit), "global_state")
        for limit in (rare_mutants.lending_limit, rare_mutants.leaking_limit)
    )
    assert right.outcome == "pass", right
    assert wrong.outcome == "fail"
    assert "thread limits: " in wrong.message
    assert "(after limit_threads(1) around an exception)" in wrong.message


def test_a_verdict_says_by_how_much_where_and_how_to_reproduce():
    """Quantity, component, error, bound, input, and a command."""
    verdict = run_one(mutants.make(mutants.BetaTwice), "closed_forms", "float64")
    assert "gradient of b1 is" in verdict.message
    assert "off by" in verdict.message
    assert "rounding explains" in verdict.message
    assert "all parameters zero, m=50 n=6 p=4" in verdict.message
    assert verdict.kernel_calls > 0


def test_a_dtype_that_is_not_supported_is_said_to_be_declined():
    """Neither failed nor passed."""
    verdict = run_one(mutants.make(mutants.Float32Inside, dtypes=("float32",)), "reference", "float64")
    assert (verdict.outcome, verdict.message) == ("declined", "it supports float32")


def test_a_check_that_never_calls_the_kernel_fails(monkeypatch):
    """The kit cannot pass without calling the kernel."""
    monkeypatch.setitem(CHECKS, "invariants", lambda kit: None)
    verdict = run_one(mutants.make(mutants.Twin), "invariants", "float64")
    assert verdict.outcome == "fail"
    assert "the check never called the kernel" in verdict.message


def test_where_threads_cannot_be_measured_it_is_said(monkeypatch, tmp_path):
    """Without schedstat CPU time counts; on one CPU even that tells nothing, and the verdict is no pass."""
    from sparsae.testing import thread_limits

    monkeypatch.setattr(thread_limits, "TASKS", tmp_path / "none")
    assert run_one(mutants.make(mutants.Twin), "thread_limit", "float64", quick=True).outcome in ("pass", "unverified")
    monkeypatch.setattr(thread_limits, "affinity_cpus", lambda: 1)
    verdict = run_one(mutants.make(mutants.Twin), "thread_limit", "float64", quick=True)
    assert verdict.outcome == "unverified"
    assert "a second thread would not show in CPU time" in verdict.message


def test_what_raises_is_a_verdict_with_the_place():
    """The root cause, its file and line."""
    verdict = run_one(mutants.make(mutants.Misspelt), "reference", "float64")
    assert verdict.outcome == "fail"
    assert "AttributeError: module 'numpy' has no attribute 'sumn'" in verdict.message
    assert "mutants.py, line" in verdict.message


def test_unknown_checks_and_dtypes_are_named():
    """With what there is."""
    with pytest.raises(sparsae.ParameterError, match="No check named 'speed'; there are: global_state, registration, "):
        check("numpy", only=["speed"])
    with pytest.raises(sparsae.ParameterError, match="No dtype named 'int8'; there are: float64, float32"):
        check("numpy", dtypes=["int8"])


def test_optimised_python_changes_no_verdict():
    """`python -O` removes assert statements; the kit has none that count.  Without -O the tests above say the same."""
    code = """
import json
from tests.support import mutants, rare_mutants, strict_kernels
from sparsae.testing.runner import CheckSession
cases = [(mutants.Twin, name) for name in ("reference", "gradient", "saturated", "same_bits", "inputs_untouched")]
cases += [(m, n) for m, n in mutants.MUTANTS.items() if n not in ("thread_limit", "two_threads", "global_state")]
outcomes = []
for mutant, name in cases:
    with CheckSession(mutants.make(mutant), quick=True) as session:
        outcomes.append(session.run(name, "float64").outcome)
print(json.dumps(outcomes))
"""
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    outcomes = json.loads(done.stdout)
    assert outcomes[:5] == ["pass"] * 5
    assert set(outcomes[5:]) == {"fail"}


class TestLoopback(BackendConformance):
    """A backend that has `backprop` alone: the core does the rest."""

    backend = mutants.make(mutants.Single, threading="workers")
    quick = True


class TestStrict(BackendConformance):
    """A backend that refuses anything that the contract does not promise it."""

    backend = mutants.make(strict_kernels.Strict, threading="workers")
    quick = True


class TestReadOnly(BackendConformance):
    """A backend that is given only read-only arrays, and returns only read-only arrays."""

    backend = mutants.make(strict_kernels.ReadOnly, threading="workers")
    quick = True


def test_the_class_runs_every_check_in_both_dtypes_for_each_unit():
    """One subclass with one attribute is one test for each check, dtype and hidden unit."""

    class TestNamed(BackendConformance):
        backend = "numpy"

    class TestPart(BackendConformance):
        backend = "numpy"
        activations = ("topk",)

    for cls, units in ((TestNamed, EVERY), (TestPart, ("topk",)), (TestStrict, ("sigmoid",))):
        cases = list(cls.cases())
        assert list(dict.fromkeys(name for name, _, _ in cases)) == list(CHECKS)
        assert list(dict.fromkeys(unit for name, unit, _ in cases if name == "reference")) == list(units)
        assert [unit for name, unit, _ in cases if name == "registration"] == ["", ""]
        assert {dtype for _, _, dtype in cases} == {"float64", "float32"}
