"""Races of other hidden units than sigmoid: what is raced, checked, recorded and compared."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from tests.support import simulated
from tests.support.kernels import WholeKernel

from sparsae import Backend
from sparsae.bench import inputs
from sparsae.bench.compare import compare_sessions
from sparsae.bench.inputs import decided_rows, make_backprop_inputs, make_data, raced_options
from sparsae.bench.plan import RacePlan
from sparsae.bench.race import run
from sparsae.bench.record import RaceRecorder, RaceSession, check_baseline
from sparsae.bench.report.page import describe_conditions, make_page
from sparsae.bench.report.text import remarks, row_cells, row_class, summary
from sparsae.bench.scaling import scaling_series, sweep
from sparsae.bench.schema import check_events
from sparsae.bench.tasks import ObjectiveTask, TrainTask, backprop_task
from sparsae.bench.workload import RaceWorkload
from sparsae.cli import cli
from sparsae.errors import DataError, FileFormatError, ParameterError

TIMES = {"numpy": 1.5e-6, "dot": 0.8e-6}
UNITS = [("relu", None), ("topk", 3), ("jumprelu", None)]
JUMPRELU = raced_options("jumprelu")
SIZE = (4000, 16, 400)  # a few rows in a thousand are undecided in float32
TOPK_OPTIONS = ["--size", "small", "--activation", "topk", "--k", "2"]


def plan(**choices):
    return RacePlan.checked(backends=list(TIMES), threads=[1], **{"sizes": ["1000x64x25"], "launches": 2} | choices)


def made(**choices):
    return RaceSession(tuple(simulated.session(TIMES, plan=plan(rounds=6, **choices))))


@pytest.fixture(scope="module")
def jumprelu_race():
    """One launch of a backend that has jumprelu units and one that has not."""
    recorder = RaceRecorder()
    asked = plan(
        sizes=["60x8x5"], dtypes=["f4"], cases=["objective", "backprop"], activation="jumprelu", rounds=1, launches=1
    )
    run(replace(asked, batch=0.002), recorder)
    return recorder.sessions()[0]


@pytest.mark.parametrize(("activation", "k"), UNITS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("task", [ObjectiveTask, TrainTask])
def test_a_right_backend_is_within_rounding_in_every_unit(task, dtype, activation, k):
    """Cost and gradient agree with the reference, and training takes twenty mini-batches."""
    workload = RaceWorkload("objective", (200, 12, 20), dtype, activation, k)
    made = task(workload, seed=1, backend="numpy", threads=1)
    assert 0 < made.error() <= 1
    if task is TrainTask:
        assert 20 <= made.facts()["evaluations"] <= 21  # the first mini-batch gives the cost at the start too


@pytest.mark.parametrize(("activation", "k"), UNITS)
def test_sums_from_given_activations_are_checked_in_every_unit(activation, k):
    """The case backprop: right sums are within rounding, and one changed sum is not."""
    inputs = make_backprop_inputs((60, 12, 20), dtype="float32", activation=activation, k=k)
    sums = backprop_task(inputs, "fused", 1).run()
    assert 0 < inputs.error(sums) <= 1
    wrong = sums.W2.copy()
    wrong[0, 0] += 1e-2
    assert inputs.error(sums._replace(W2=wrong)) > 10


def test_a_backend_that_keeps_one_activation_too_few_is_wrong():
    """The check of the race tells k from k - 1."""

    class Fewer(WholeKernel):
        def __init__(self, problem):
            super().__init__(replace(problem, k=problem.k - 1))

    fewer = Backend("fewer", Fewer, activations=("topk",), outputs=("linear",))
    task = ObjectiveTask(RaceWorkload("objective", (50, 12, 20), "float64", "topk", 3), backend=fewer, threads=1)
    assert task.error() > 1e3


def test_no_row_of_the_data_is_left_to_rounding():
    """Rows that rounding leaves undecided are drawn again, from the seed: the data is the same in every process."""
    first = np.random.default_rng(0).uniform(inputs.LOW, inputs.HIGH, SIZE[:2]).astype("float32")
    X, parameters = make_data(SIZE, "float32", 0, JUMPRELU)
    drawn_again = (first != X).any(axis=1)
    assert 0 < drawn_again.sum() < 400
    assert (~decided_rows(parameters, first, JUMPRELU) == drawn_again).all()
    assert decided_rows(parameters, X, JUMPRELU).all()
    assert (make_data(SIZE, "float32", 0, JUMPRELU)[0] == X).all()


def test_data_that_cannot_be_decided_is_refused(monkeypatch):
    """Where rounding decides in nearly every row there is nothing to race, and the message says what to change."""
    monkeypatch.setattr(inputs, "MOST_DRAWS", 1)
    with pytest.raises(DataError, match=r"Rounding in float32 decides in nearly every row which of 400 jumprelu units"):
        make_data(SIZE, "float32", 0, JUMPRELU)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"activation": "tanh"}, "activation must be one of sigmoid, relu, topk, batchtopk, jumprelu; given 'tanh'"),
        ({"activation": "batchtopk", "k": 3}, "batchtopk reaches backends as jumprelu with one threshold"),
        ({"activation": "topk"}, "activation='topk' needs k"),
        ({"activation": "topk", "k": 0}, "k must be an integer of at least 1, not 0"),
        ({"activation": "topk", "k": 26}, "k=26 exceeds n_hidden=25"),
        ({"activation": "relu", "k": 3}, "k does not belong to activation='relu'"),
        ({"k": 3}, "k does not belong to activation='sigmoid'"),
    ],
)
def test_units_that_cannot_be_raced_are_refused(choices, message):
    """Before anything starts, with what is possible."""
    with pytest.raises(ParameterError, match=message):
        plan(**choices)


def test_useful_work_counts_what_is_active():
    """10mnp flop, of top-k units 2mnp + 8mnk; a training passes over the rows once instead of twenty times."""
    size = (10, 3, 4)
    assert RaceWorkload("objective", size, "float64", "jumprelu").flop == 10 * 10 * 3 * 4
    assert RaceWorkload("objective", size, "float64", "topk", 2).flop == 2 * 10 * 3 * 4 + 8 * 10 * 3 * 2
    assert RaceWorkload("backprop", size, "float64", "topk", 2).flop == 6 * 10 * 3 * 2
    assert RaceWorkload("train", size, "float64", "topk", 4).flop == 10 * 10 * 3 * 4
    assert RaceWorkload("train", size, "float64").flop == 20 * 10 * 10 * 3 * 4


def test_a_backend_that_declines_is_neither_wrong_nor_failed(jumprelu_race):
    """It has a state of its own with the reason, no time, no tier, and the others are ranked without it."""
    for table in jumprelu_race.standings():
        row = {row.label: row for row in table.rows}["dot"]
        assert (row.state, row.tier, row.verdict, row.seconds) == ("declined", None, "", None)
        assert row.why.startswith("Backend 'dot' declines this problem: activation is 'jumprelu'")
        assert "declined" in row_cells(row)
        assert row_class(row) == "other"
        assert any(line.startswith("dot: declined (this is not what it computes)") for line in remarks(table))
        state = {row.label: row.state for row in table.rows}["numpy"]
        assert state not in ("declined", "wrong", "failed")  # on a busy machine it may be seen to sleep
    assert "class='other'><td class='word'>-</td>" not in make_page([jumprelu_race])
    failures = [event for event in jumprelu_race.events if event["kind"] == "failure"]
    assert {event["state"] for event in failures} == {"declined"}


def test_the_unit_is_said_in_tables_page_and_record():
    """Standings, the page's conditions and the plan in the record name the unit with its k."""
    session = made(activation="topk", k=7)
    (table,) = session.standings()
    assert summary(table).startswith("objective 1000x64x25 float64 topk k=7, 1 thread")
    assert "hidden unit: topk k=7" in describe_conditions(session)["Conditions"]
    assert "hidden unit: sigmoid" in describe_conditions(made())["Conditions"]
    assert (session.header["plan"]["activation"], session.header["plan"]["k"]) == ("topk", 7)
    assert RacePlan.from_dict(json.loads(json.dumps(session.header["plan"]))) == session.plan


def test_scaling_keeps_the_unit():
    """The title of each line of a scaling race says the unit."""
    asked = plan(sizes=sweep((800, 8, 20)), activation="topk", k=5, rounds=5)
    series = scaling_series(RaceSession(tuple(simulated.session(TIMES, plan=asked))).standings())
    assert [one.title.partition(":")[0] for one in series] == ["objective float64 topk k=5"] * 3


@pytest.mark.parametrize("other", [{}, {"activation": "relu"}, {"activation": "topk", "k": 8}])
def test_races_of_other_units_are_not_compared(other):
    """Neither sessions nor a baseline before the race."""
    topk = made(activation="topk", k=7)
    with pytest.raises(ParameterError, match="hidden unit is 'topk k=7' in one and"):
        compare_sessions(topk, made(**other))
    with pytest.raises(ParameterError, match="hidden unit is 'topk k=7' in one and"):
        check_baseline(topk, plan(**other))
    assert len(compare_sessions(topk, made(activation="topk", k=7))) == len(TIMES)


def test_a_record_of_version_2_is_one_of_sigmoid_units():
    """Records that were written before the race knew units are read, and compared with those of sigmoid units."""
    events = simulated.session(TIMES, plan=plan(rounds=6))
    old = json.loads(json.dumps(events))
    old[0]["version"] = 2
    del old[0]["plan"]["activation"], old[0]["plan"]["k"]
    check_events("old", old)
    session = RaceSession(tuple(old))
    assert session.plan.unit == "sigmoid"
    assert len(compare_sessions(session, RaceSession(tuple(events)))) == len(TIMES)


@pytest.mark.parametrize(
    "change",
    [{"activation": "topk"}, {"activation": "relu", "k": 3}, {"activation": "tanh"}, {"k": 0, "activation": "topk"}],
)
def test_a_damaged_unit_is_found(change):
    """A record whose unit cannot be is refused with the line and the field."""
    events = json.loads(json.dumps(simulated.session(TIMES, plan=plan(rounds=6))))
    check_events("x", events)
    events[0]["plan"] |= change
    with pytest.raises(FileFormatError, match=r"line 1: header\.plan"):
        check_events("x", events)


def test_the_command_takes_the_unit():
    """`--list` names the workload; what cannot be raced ends with code 2 and one line."""
    told = CliRunner().invoke(cli, ["bench", "--list", "--backends", "dot", "--threads", "1", *TOPK_OPTIONS])
    assert told.output.splitlines()[0] == "objective 100x8x3 float64 topk k=2: dot x1"
    told = CliRunner().invoke(cli, ["bench", "--question", "--k", "3"])
    assert (told.exit_code, told.stderr.startswith("Error: The question is about sigmoid units")) == (2, True)
