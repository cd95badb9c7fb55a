"""Real races, small ones, with backends that misbehave."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from tests.support import strangers

from sparsae.bench.plan import PEAK, RacePlan
from sparsae.bench.process import choose_cpus
from sparsae.bench.race import run
from sparsae.bench.record import RaceRecorder, read_record
from sparsae.bench.standings import compute_standings
from sparsae.cli.race_table import print_session

RACE = """
import sys
from pathlib import Path
from sparsae.bench.race import run
from sparsae.bench.record import RaceRecorder
from sparsae.bench.plan import RacePlan
plan = RacePlan.checked(backends=sys.argv[2].split(","), threads=[1], sizes=["200x20x10"], cases=["backprop"],
    preset="quick", rounds=6, launches=1, timeout=4.0, batch=0.002)
with RaceRecorder(Path(sys.argv[1])) as recorder:
    run(plan, recorder)
"""


@pytest.fixture(scope="module")
def bad_race(tmp_path_factory):
    """One launch of a race in which most backends misbehave."""
    folder = tmp_path_factory.mktemp("strangers")
    strangers.install(folder)
    file = folder / "race.jsonl"
    command = [sys.executable, "-c", RACE, str(file), ",".join(["numpy", *strangers.NAMES])]
    subprocess.run(command, env=os.environ | {"PYTHONPATH": str(folder)}, check=True, timeout=300)
    return read_record(file)[0]


@pytest.fixture(scope="module")
def good_race():
    """Two launches of one backend and two cases at one thread."""
    plan = RacePlan.checked(
        backends=["dot"],
        threads=[1],
        sizes=["small"],
        cases=["objective", "train"],
        dtypes=["f4"],
        rounds=6,
        launches=2,
        batch=0.002,
    )
    recorder = RaceRecorder()
    shares = []
    run(plan, recorder, lambda what, share: shares.append(share))
    return recorder, shares


@pytest.mark.parametrize(
    ("name", "state", "why"),
    [
        ("numpy", "ok", ""),
        ("chatty", "ok", ""),
        ("greedy", "breach", "demand"),
        ("wrong", "wrong", "rounding explains"),
        ("later", "wrong", "what rounding explains"),
        ("sleepy", "sleeps", "demand 0."),
        ("mortal", "failed", "ended with code 9"),
        ("hanging", "failed", "no answer within 4 s"),
        ("liar", "failed", "its answer cannot be recorded: worker has no 'variables'"),
        ("marked", "failed", "no [/x]  luck"),
        ("garbage", "failed", "something else than an answer: '%%% garbage %%%'"),
    ],
)
def test_each_kind_of_misbehaviour_is_caught_and_named(bad_race, name, state, why):
    """A backend that ignores its limit, is wrong, sleeps, dies, hangs or writes garbage is shown as such.

    One that is wrong only after a while is caught by the check after timing;
    one that prints disturbs nobody; and none of them stops the others.
    """
    row = {row.label: row for row in bad_race.standings()[0].rows}[name]
    assert row.state == state, row.why
    assert why in row.why
    if state != "ok":
        assert row.tier is None
        assert row.verdict == ""


def test_a_backend_that_writes_to_the_pipe_leaves_a_record_that_can_be_read(bad_race):
    """An answer that is none is a failure of that cell; it becomes no event of the record."""
    kinds = [event["kind"] for event in bad_race.events if event.get("cell") == "liar x1"]
    assert kinds == ["failure"]
    assert [event["kind"] for event in bad_race.events].count("end") == 1


def test_wrong_results_are_not_timed(bad_race):
    """A backend that is wrong before timing has no sample at all."""
    assert not [event for event in bad_race.events if event["kind"] == "sample" and event["cell"] == "wrong x1"]
    assert [event for event in bad_race.events if event["kind"] == "sample" and event["cell"] == "chatty x1"]


def test_a_race_with_any_text_in_it_can_be_shown(bad_race, capsys):
    """The error of a backend is text: markup and escape sequences in it neither end the table nor reach a terminal."""
    print_session(bad_race)
    shown = capsys.readouterr().out
    assert "no [/x]  luck" in shown
    assert "\x1b[2J" not in shown


def test_plugins_that_nobody_named_are_not_loaded(tmp_path):
    """A plugin that hangs at import disturbs neither the plan of a race of others nor its processes."""
    mark = strangers.install_trap(tmp_path)
    command = [sys.executable, "-c", "from sparsae.cli import main; main()", "bench", "--backends", "dot"]
    command += ["--threads", "1", "--size", "small", "--rounds", "1", "--launches", "1"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    assert "dot" in told.stdout
    assert not mark.exists()


def test_the_benchmark_loads_where_a_system_lacks_what_linux_has(tmp_path):
    """Without the module `resource`, affinity and process groups everything loads, and a child process answers."""
    code = """
import os, pkgutil, sys
from importlib import import_module
sys.modules["resource"] = None
for name in ("sched_getaffinity", "sched_setaffinity", "killpg", "getloadavg"):
    delattr(os, name)
import sparsae.bench, sparsae.doctor
for package in (sparsae.bench, sparsae.doctor):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        import_module(module.name)
from sparsae.bench.process import LineProcess, choose_cpus
assert choose_cpus(2) == []
process = LineProcess([sys.executable, "-c", "print(input())"], environment={}, cpus=[0], name="x")
assert process.ask("hello") == "hello"
process.kill()
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_turns_are_complete_rounds_in_random_order(good_race):
    """Each round visits each cell once, and the order differs from round to round."""
    recorder, _ = good_race
    samples = [event for event in recorder.events if event["kind"] == "sample"]
    rounds = {}
    for sample in samples:
        rounds.setdefault((sample["workload"], sample["launch"], sample["round"]), []).append(sample)
    assert len(rounds) == 2 * 2 * 6
    cells = {"dot x1", "dot' x1", f"{PEAK} x1"}
    for visits in rounds.values():
        for cell in cells:  # a turn is repeated only where the worker had to wait for a CPU
            attempts = [v for v in visits if v["cell"] == cell]
            assert [v["attempt"] for v in attempts] == list(range(len(attempts)))
            assert not any(v["undisturbed"] for v in attempts[:-1])
        visits[:] = [v for v in visits if v["attempt"] == 0]
        assert {v["cell"] for v in visits} == cells
        assert sorted(v["position"] for v in visits) == [0, 1, 2]
    orders = {tuple(v["cell"] for v in sorted(visits, key=lambda v: v["position"])) for visits in rounds.values()}
    assert len(orders) > 3


def test_loops_are_frozen_before_the_first_round(good_race):
    """A cell makes the same number of calls in every batch of a launch."""
    recorder, _ = good_race
    loops = {}
    for event in recorder.events:
        if event["kind"] == "sample":
            loops.setdefault((event["workload"], event["launch"], event["cell"]), set()).add(event["loops"])
    assert all(len(counts) == 1 for counts in loops.values())


def test_the_record_holds_what_a_reader_needs(good_race):
    """Variables and affinity as the child saw them, pools before and after, data, error: all are there."""
    recorder, _ = good_race
    worker = next(event for event in recorder.events if event["kind"] == "worker" and event["cell"] == "dot x1")
    assert worker["affinity"] == choose_cpus(1)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
        assert worker["variables"][name] == "1"
    assert {"architecture", "version", "num_threads"} <= worker["pools_after_call"][0].keys()
    assert all(pool["num_threads"] == 1 for pool in worker["pools_after_call"])
    X = worker["arrays"]["X"]
    assert (X["shape"], X["dtype"], X["order"], X["alignment"]) == ([100, 8], "float32", "C", 64)
    assert len(X["digest"]) == 64
    assert 0 <= worker["error"] <= 1
    assert worker["distribution"] == "sparsae"
    header = recorder.events[0]
    assert {"cpu", "caches", "affinity", "cgroup_quota", "variables"} <= header["machine"].keys()
    busy = next(event for event in recorder.events if event["kind"] == "launch")["busy"]
    assert {"steal", "load"} <= busy.keys()
    sample = next(event for event in recorder.events if event["kind"] == "sample")
    assert {"wall", "cpu", "delay", "switches", "undisturbed", "round", "position", "loops"} <= sample.keys()
    assert {e["kind"] for e in recorder.events} >= {"header", "launch", "worker", "demand", "loops", "after", "end"}


def test_all_workers_have_the_same_data(good_race):
    """Every contestant of a heat works on the same numbers."""
    recorder, _ = good_race
    digests = {
        (event["workload"], event["arrays"]["X"]["digest"])
        for event in recorder.events
        if event["kind"] == "worker" and "arrays" in event
    }
    assert len(digests) == 2  # one for each heat


def test_the_training_case_takes_the_fixed_number_of_evaluations(good_race):
    """The case `train` ends by its number of evaluations, not by convergence."""
    recorder, _ = good_race
    for event in recorder.events:
        if event["kind"] == "worker" and event["workload"].startswith("train") and "evaluations" in event:
            assert 20 <= event["evaluations"] <= 22


def test_progress_goes_from_nothing_to_all(good_race):
    """The share of the whole never goes back and ends near one."""
    _, shares = good_race
    assert shares == sorted(shares)
    assert shares[0] == 0
    assert 0.9 < shares[-1] <= 1


def test_ctrl_c_keeps_what_was_measured(tmp_path):
    """Interrupted in the middle, the command prints the standings so far, and the record can be read; code 130."""
    file = tmp_path / "race.jsonl"
    command = [sys.executable, "-c", "from sparsae.cli import main; main()", "bench", "--backends", "dot"]
    command += ["--threads", "1", "--size", "small", "--rounds", "100000", "--launches", "1", "--json", str(file)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline and not (file.exists() and file.read_text().count('"sample"') > 30):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "dot" in out
    session = read_record(file)[0]
    assert not session.complete
    assert "interrupted" in session.notes[0]
    children = [event for event in session.events if event["kind"] == "worker"]
    assert children


def test_without_proc_nothing_is_verified_and_nobody_is_ranked(good_race):
    """Where the system does not tell waiting times, every cell is "unverified" and has no tier."""
    recorder, _ = good_race
    events = json.loads(json.dumps(recorder.events))
    for event in events:
        if event["kind"] == "demand":
            event |= {"cpus": None, "verdict": "unverified"}
        if event["kind"] == "sample":
            event |= {"delay": None, "undisturbed": True}
    for group in compute_standings(events):
        assert {row.state for row in group.rows} == {"unverified"}
        assert {row.tier for row in group.rows} == {None}


def test_more_than_the_peak_is_an_error_and_not_a_record(good_race):
    """A kernel that claims to be faster than the BLAS that it runs on is not ranked; one with a BLAS of its own is."""
    recorder, _ = good_race
    events = json.loads(json.dumps(recorder.events))
    for event in events:
        if event["kind"] == "sample":
            event |= {"undisturbed": True, "delay": 0.0}
            event["wall"] /= 1e5 if event["cell"] == "dot x1" else 1
            event["cpu"] = event["wall"]
    rows = {row.label: row for row in compute_standings(events)[0].rows}
    assert rows["dot"].state == "impossible"
    assert rows["dot"].tier is None
    assert "% of the peak" in rows["dot"].why
    for event in events:
        if event["kind"] == "worker" and event["cell"] == "dot x1":
            event["threading"] = "own"
    assert {row.label: row for row in compute_standings(events)[0].rows}["dot"].state == "ok"
