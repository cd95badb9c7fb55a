"""The kit proves each hidden unit: wrong kernels are rejected by the check meant for it, which names the mistake."""

from __future__ import annotations

import pytest
from tests.support import corner_mutants, unit_mutants

from sparsae.testing import check
from sparsae.testing.runner import CheckSession

CASES = [
    pytest.param(unit, mutant, *expected, id=f"{unit}-{mutant.__name__}")
    for listed in (unit_mutants.MUTANTS, corner_mutants.MUTANTS)
    for unit, mutants in listed.items()
    for mutant, expected in mutants.items()
]


def one(kernel, name, unit, dtype="float64"):
    """The verdict of one check."""
    with CheckSession(unit_mutants.make(kernel, threading="workers"), quick=True) as session:
        return session.run(name, dtype, unit)


def found(report):
    """What failed, with the messages."""
    return {
        (verdict.check, verdict.activation, verdict.dtype): verdict.message
        for verdict in report.verdicts
        if verdict.outcome == "fail"
    }


def test_each_unit_has_mutants_enough():
    """Eight at least."""
    assert {unit: len(mutants) >= 8 for unit, mutants in unit_mutants.MUTANTS.items()} == dict.fromkeys(
        ("relu", "topk", "jumprelu", "batchtopk"), True
    )


@pytest.mark.parametrize(("unit", "mutant", "name", "words"), CASES)
def test_every_mutant_is_rejected_and_the_mistake_is_named(unit, mutant, name, words):
    """By the check meant for it, in float64; the verdict says which input, and how to see it again."""
    verdict = one(mutant, name, unit)
    assert verdict.outcome == "fail", verdict
    assert words in verdict.message, verdict.message
    assert "Input: " in verdict.message
    assert f"activations=['{unit}']" in verdict.reproduce


def test_mistakes_are_recognised_in_float32_too():
    """The same words, from numbers that are less accurate."""
    for unit, mutant in (
        ("topk", unit_mutants.TiesByHigherIndex),
        ("jumprelu", unit_mutants.ThresholdSign),
        ("relu", unit_mutants.SparsityAfterTheSlope),
    ):
        name, words = unit_mutants.MUTANTS[unit][mutant]
        verdict = one(mutant, name, unit, "float32")
        assert verdict.outcome == "fail"
        assert words in verdict.message


def test_what_the_mutants_were_made_from_is_proved_for_every_unit():
    """So that each mutant fails by its own fault."""
    report = check(unit_mutants.make(unit_mutants.UnitTwin, threading="workers"), quick=True, dtypes=["float64"])
    assert not found(report)
    assert [unit.outcome for unit in report.units] == ["proved"] * 5


def test_a_simple_kernel_that_is_written_for_problem_slope_has_every_unit():
    """One method, no line about a unit: sigmoid, relu, topk, batchtopk, jumprelu, in both dtypes."""
    report = check(unit_mutants.make(unit_mutants.WrittenForTheContract, threading="workers"), quick=True)
    assert not found(report)
    assert {(unit.activation, unit.dtype, unit.outcome) for unit in report.units} == {
        (unit, dtype, "proved")
        for unit in ("sigmoid", "relu", "topk", "batchtopk", "jumprelu")
        for dtype in ("float64", "float32")
    }


def test_a_unit_that_is_not_declared_is_declined_and_not_counted_as_proved():
    """Declared: topk.  The others are declined; asked for one of those alone, nothing passes."""
    only_topk = unit_mutants.make(unit_mutants.UnitTwin, activations=("topk",))
    report = check(only_topk, quick=True, dtypes=["float64"], only=["reference", "registration"])
    assert report.passed
    assert {unit.activation: unit.outcome for unit in report.units} == {
        "sigmoid": "declined", "relu": "declined", "topk": "unverified", "batchtopk": "declined",
        "jumprelu": "declined",
    }  # fmt: skip
    report = check(only_topk, quick=True, dtypes=["float64"], activations=["relu"])
    assert {verdict.outcome for verdict in report.verdicts} == {"declined"}
    assert report.verdicts[-1].message == "it supports topk"
    assert not report.passed


@pytest.mark.parametrize(
    ("field", "given", "words"),
    [
        ("activations", ("relu", "top-k"), "activations has 'top-k'; what can be declared is sigmoid, relu, topk, jum"),
        ("activations", ("batchtopk",), "activations has 'batchtopk'"),
        ("activations", (), "it can do nothing: activations ()"),
        ("outputs", ("linear", "softmax"), "outputs has 'softmax'; what can be declared is sigmoid, linear"),
        ("dtypes", ("float64", "f4"), "dtypes has 'f4'; what can be declared is float32, float64"),
    ],
)
def test_a_word_that_means_nothing_is_no_declaration(field, given, words):
    """A misspelt unit would be declined for ever, without a word to its author."""
    with CheckSession(unit_mutants.make(unit_mutants.UnitTwin, **{field: given})) as session:
        verdict = session.run("registration", "float64")
    assert verdict.outcome == "fail"
    assert words in verdict.message


def test_units_are_named_when_there_is_no_such_one():
    """With what there is."""
    import sparsae

    with pytest.raises(sparsae.ParameterError, match="No hidden unit named 'gelu'; there are: sigmoid, relu, topk, "):
        check("numpy", activations=["gelu"])
