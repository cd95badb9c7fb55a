"""The question, replayed: right before fast, whole tables, and Octave where there is one."""

from __future__ import annotations

import json
import os
import stat
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae.bench.inputs import make_backprop_inputs
from sparsae.bench.question import octave as octave_module
from sparsae.bench.question import replay, run_question
from sparsae.bench.question.octave import OctaveProcess, find_octave
from sparsae.bench.question.tasks import product_task
from sparsae.bench.question.variants import VARIANTS, Variant
from sparsae.bench.timing import TimedBatch
from sparsae.bench.worker import Worker
from sparsae.errors import ProbeError
from sparsae.model import Parameters

SIZE = (60, 8, 3)


@pytest.fixture
def fake_octave(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An octave-cli on the PATH that computes in NumPy."""
    command = tmp_path / "octave-cli"
    script = Path(__file__).parents[1] / "support" / "fake_octave.py"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return str(command)


class TaskHere:
    """A task in this process, asked as a `TaskProcess` is; the others of these tests are real processes."""

    def __init__(self, factory: str, settings: dict[str, Any], *, threads: int, name: str, **_: object) -> None:
        self.name, self._worker = name, Worker(factory, settings, threads)

    def prepare(self) -> dict[str, Any]:
        return dict(json.loads(json.dumps(self._worker.do_prepare())))

    def shortest_call(self) -> float:
        return float(self._worker.do_work(0.001)["shortest"])

    def error(self) -> float:
        return float(self._worker.do_error()["error"])

    def time(self, loops: int) -> TimedBatch:
        return TimedBatch.from_dict(json.loads(json.dumps(self._worker.do_time(loops))))

    def kill(self, *, wait: bool = True) -> None:
        self.close()

    def close(self) -> None:
        del self._worker


@pytest.fixture
def few_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the loop as asked takes part, beside Octave: the tests of what goes wrong need no more."""
    everything = replay._ways
    monkeypatch.setattr(replay, "_ways", lambda *given: [*everything(*given)][:1])
    monkeypatch.setattr(replay, "_orders", lambda *given: [])


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("size", [SIZE, (1, 1, 1), (37, 5, 5)])
def test_every_way_gives_the_sums_of_the_reference(name: str, size: tuple[int, int, int]) -> None:
    """Each way of writing it is within what rounding explains, twice in a row (scratch keeps nothing)."""
    inputs = make_backprop_inputs(size)
    call = VARIANTS[name].make(inputs)
    assert inputs.error(call()) <= 1
    assert inputs.error(call()) <= 1


def test_a_wrong_way_is_seen() -> None:
    """A sign, a forgotten sparsity term, a missing sample and NaN are all far outside the bound."""
    inputs = make_backprop_inputs(SIZE)
    right = VARIANTS["vectorised"].make(inputs)()
    wrong = [
        right._replace(W1=-right.W1),
        right._replace(b2=right.b2 * (1 + 1e-9)),
        right._replace(W2=np.full_like(right.W2, np.nan)),
        VARIANTS["vectorised"].make(inputs._replace(beta=0.0))(),
        VARIANTS["vectorised"].make(inputs._replace(a1=inputs.a1[:-1], a2=inputs.a2[:-1], a3=inputs.a3[:-1]))(),
    ]
    for sums in wrong:
        assert not inputs.error(sums) <= 1


def test_sparsae_answers_the_question() -> None:
    """`sparsae.backprop` gives the same sums as the loop that was asked about."""
    inputs = make_backprop_inputs(SIZE)
    sums = sparsae.backprop(inputs.a1, inputs.a2, inputs.a3, inputs.W2, inputs.sparsity)
    assert inputs.error(sums) <= 1


def test_products_in_all_orders_are_right_and_ordered() -> None:
    """The operands really have the memory order that the table names."""
    for left in "CF":
        for right in "CF":
            product = product_task(size=SIZE, seed=0, left=left, right=right)
            ((first, second),) = product.pairs
            assert first.flags[f"{left}_CONTIGUOUS"]
            assert second.flags[f"{right}_CONTIGUOUS"]
            assert product.error() <= 1


def test_the_replay_fills_three_tables(fake_octave: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way, scratch and order has a row with a ratio and an error; the report survives JSON."""
    monkeypatch.setattr(replay, "TaskProcess", TaskHere)
    seen: list[float] = []
    report = run_question(size=SIZE, rounds=2, launches=1, progress=lambda what, share: seen.append(share))
    keys = [row.key for row in report.ways]
    assert keys[:6] == ["asked", "hoisted", "einsum", "einsum-optimized", "vectorised", "order"]
    assert {"dot-1", "octave-loop", "octave-vectorised"} <= set(keys)
    assert [row.key for row in report.scratch] == ["order", "empty", "zeros"]
    assert [row.key for row in report.orders] == ["CC", "CF", "FC", "FF"]
    assert all(row.ratio.rounds == 2 and max(row.error_before, row.error_after) <= 1 for row in report.ways)
    assert report.left_out == {}
    assert seen == sorted(seen)
    assert seen[-1] == 1
    values = json.loads(json.dumps(report.to_dict()))
    assert values["published"]["vectorised"] == [0.0726, 6.8]
    text = report.markdown()
    assert "6.8 (72.6 ms, the answerer's machine" in text
    assert "Octave: 0.0, BLAS none" in text
    assert "BLAS of NumPy: " in text


@pytest.mark.usefixtures("few_ways")
def test_without_octave_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """No Octave: the rest is replayed and the report names what is missing."""
    monkeypatch.setattr(replay, "find_octave", lambda: None)
    report = run_question(size=SIZE, rounds=1, launches=1)
    assert report.left_out == {"Octave": "octave-cli is not installed"}
    assert "Left out: Octave: octave-cli is not installed." in report.markdown()


@pytest.mark.usefixtures("few_ways")
@pytest.mark.parametrize(
    ("mode", "why"), [("wrong", "wrong result"), ("dies", "code 1"), ("babbles", "expected seconds")]
)
def test_an_octave_that_fails_is_left_out(
    fake_octave: str, monkeypatch: pytest.MonkeyPatch, mode: str, why: str
) -> None:
    """Wrong sums, a death or an answer that is no time: not in the table, and the reason stands below it."""
    monkeypatch.setenv("FAKE_OCTAVE", mode)
    report = run_question(size=SIZE, rounds=1, launches=1)
    assert "asked" in {row.key for row in report.ways}
    assert not any(row.key.startswith("octave") for row in report.ways)
    assert all(why in reason for what, reason in report.left_out.items() if what.startswith("Octave"))
    assert len(report.left_out) == 2


@pytest.mark.usefixtures("few_ways")
def test_ctrl_c_keeps_the_rounds_that_were_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured is reported, marked as interrupted."""

    def interrupt(what: str, share: float) -> None:
        if share >= 0.6:  # two of four rounds are done
            raise KeyboardInterrupt

    report = run_question(size=SIZE, rounds=4, launches=1, octave=False, progress=interrupt)
    assert report.interrupted
    assert {row.ratio.rounds for row in report.ways} == {2}
    assert "Interrupted" in report.markdown()


def test_sizes_are_checked() -> None:
    """A size that is no positive integer is refused before anything starts."""
    with pytest.raises(sparsae.ParameterError, match="n_hidden must be an integer of at least 1, not 0"):
        run_question(size=(10, 3, 0))


@pytest.mark.skipif(find_octave() is None, reason="Octave is not installed")
@pytest.mark.parametrize("way", octave_module.WAYS)
def test_octave_gives_the_same_numbers(way: str) -> None:
    """``question.m``, loop and vectorised, run by a real Octave on the same numbers equals the reference."""
    with closing(OctaveProcess(way, make_backprop_inputs(SIZE))) as probe:
        assert probe.prepare()["octave_version"]
        assert probe.error() <= 1
        assert probe.time(2).loops == 2


@pytest.mark.skipif(find_octave() is None, reason="Octave is not installed")
def test_an_error_in_octave_is_told() -> None:
    """A script that fails ends the process, and Octave's own words are in the message."""
    with (
        closing(OctaveProcess("sideways", make_backprop_inputs(SIZE))) as probe,
        pytest.raises(ProbeError, match="way must be loop or vectorised"),
    ):
        probe.prepare()


def test_a_way_that_becomes_wrong_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check after timing counts too: a result that was right before and wrong after is left out."""
    errors = iter([0.1, 7.0])
    monkeypatch.setattr(TaskHere, "error", lambda self: next(errors))
    monkeypatch.setattr(replay, "TaskProcess", TaskHere)
    monkeypatch.setattr(replay, "_orders", lambda *given: [])
    everything = replay._ways
    monkeypatch.setattr(replay, "_ways", lambda *given: [*everything(*given)][:1])
    report = run_question(size=SIZE, rounds=1, launches=2, octave=False)
    why = "wrong result: 7 times the error that rounding explains"
    assert report.left_out == {"Octave": "not asked for", VARIANTS["asked"].label: why}
    assert report.ways == ()


def test_variants_say_what_they_are() -> None:
    """Each way has a label of its own, for the table."""
    assert all(isinstance(way, Variant) for way in VARIANTS.values())
    assert len({way.label for way in VARIANTS.values()}) == len(VARIANTS)
    assert isinstance(VARIANTS["asked"].make(make_backprop_inputs(SIZE))(), Parameters)
