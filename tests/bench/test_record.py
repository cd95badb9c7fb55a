"""Records of races: written, read back, damaged, compared."""

from __future__ import annotations

import json
import math

import pytest
from tests.support import simulated
from tests.support.race_records import command, made
from tests.support.simulated import TIMES

from sparsae.bench.compare import compare_sessions, same_tiers
from sparsae.bench.plan import RacePlan
from sparsae.bench.record import RaceRecorder, RaceSession, conditions, read_record
from sparsae.bench.report.text import remarks
from sparsae.errors import (
    FileFormatError,
    FileMissingError,
    OutputExistsError,
    ParameterError,
)


def test_a_record_read_back_gives_the_same_standings(file):
    """The file alone, without the race, gives tiers, ratios and verdicts."""
    (session,) = read_record(file)
    assert session.complete
    assert session.notes == ()
    assert session.standings() == made().standings()
    (group,) = session.standings()
    assert group.tiers() == {"dot": 1, "numpy": 2, "einsum": 2}
    rows = {row.label: row for row in group.rows}
    assert rows["dot"].verdict == "faster"
    assert rows["einsum"].verdict == "tie"
    assert rows["numpy"].verdict == "reference"
    assert rows["dot"].effect.ratio == pytest.approx(8 / 15, rel=0.02)
    assert rows["dot"].gflops == pytest.approx(10 * 64 * 25 / 0.8e-6 / 1e9, rel=0.05)
    assert rows["dot"].share == pytest.approx(rows["dot"].gflops / 50, rel=0.05)


def test_a_file_that_exists_is_not_replaced(file):
    """An older record is kept unless its replacement was asked for."""
    before = file.read_text()
    with pytest.raises(OutputExistsError, match="exists and would be overwritten; use another name, or --force"):
        RaceRecorder(file)
    assert file.read_text() == before


def test_a_truncated_file_is_shown_as_far_as_it_goes(file):
    """A record that ends in the middle of a line is read up to there, and says so."""
    text = file.read_text()
    lines = text.splitlines(keepends=True)
    cut = len("".join(lines[:120])) + 20
    file.write_text(text[:cut])
    (session,) = read_record(file)
    assert len(session.events) == 120
    assert "ends in the middle of line 121" in session.notes[0]
    assert "no end" in session.notes[1]
    shown = command("show", file)
    assert shown.returncode == 0
    assert "ends in the middle of line 121" in shown.stdout


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: [lines[0].replace('"version": 3', '"version": 1', 1), *lines[1:]], "version 1 of the format"),
        (lambda lines: lines[1:], "does not begin with the header"),
        (lambda lines: ["hello", *lines], "line 1 is not an event"),
        (lambda lines: [*lines[:5], "%%%", *lines[5:]], "line 6 is not an event"),
        (lambda lines: [], "it is empty"),
        (lambda lines: ["[1, 2]"], "line 1 is not an event"),
    ],
    ids=["version", "header", "foreign", "damaged", "empty", "list"],
)
def test_what_is_no_record_of_this_version_is_refused(file, change, message):
    """Files of another version, foreign and damaged files are refused with one line and code 2."""
    file.write_text("".join(line + "\n" for line in change(file.read_text().splitlines())))
    with pytest.raises(FileFormatError, match=message):
        read_record(file)
    shown = command("show", file)
    assert shown.returncode == 2
    assert shown.stderr.startswith("Error: ")
    assert "Traceback" not in shown.stderr


def test_a_missing_or_binary_file_is_refused(tmp_path):
    """No file, and a file that is not text, are named."""
    with pytest.raises(FileMissingError, match="There is no record of a race"):
        read_record(tmp_path / "none.jsonl")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(FileFormatError, match="it is not text"):
        read_record(tmp_path / "binary")


@pytest.mark.parametrize(
    ("other", "fact"),
    [
        ({"cpu": "Imaginary 9001"}, "CPU is 'Imaginary 9000 <script>' in one and 'Imaginary 9001' in the other"),
        ({"kernels": "SkylakeX"}, "BLAS architecture is 'openblas Haswell' in one and 'openblas SkylakeX'"),
        ({"policy": "active"}, "wait policy is 'default' in one and 'OMP_WAIT_POLICY=active'"),
        (
            {"plan": RacePlan.checked(backends=list(TIMES), threads=[1], sizes=["1000x64x25"], dtypes=["f4"])},
            "dtype is 'float64' in one and 'float32'",
        ),
    ],
    ids=["cpu", "kernels", "policy", "dtype"],
)
def test_sessions_under_different_conditions_are_refused(other, fact):
    """CPU, BLAS architecture, dtype and wait policy have to be the same, and the one that differs is named."""
    with pytest.raises(ParameterError) as caught:
        compare_sessions(made(), made(**other))
    assert fact in str(caught.value)


def test_nothing_in_common_is_refused():
    """Two races without a case, size and number of threads in common cannot be compared."""
    plan = RacePlan.checked(backends=list(TIMES), threads=[1], sizes=["500x64x25"], launches=2, rounds=6)
    with pytest.raises(ParameterError, match="no case, size, dtype and number of threads was raced in both"):
        compare_sessions(made(), made(plan=plan))


def test_two_sessions_of_the_same_backends_agree():
    """Without a change every cell is a tie with itself and the tiers are the same."""
    changes = compare_sessions(made(seed=1), made(seed=2))
    assert {change.after.label: change.verdict for change in changes} == dict.fromkeys(TIMES, "tie")
    assert same_tiers(changes)


def test_a_change_against_the_baseline_is_found():
    """A backend that became 20 % faster is called faster, the others ties, and the tiers tell."""
    changes = compare_sessions(made(seed=1), made(TIMES | {"einsum": 1.2e-6}, seed=2))
    assert {change.after.label: change.verdict for change in changes} == {
        "numpy": "tie",
        "dot": "tie",
        "einsum": "faster",
    }
    assert not same_tiers(changes)
    einsum = next(change for change in changes if change.after.label == "einsum")
    low, high = einsum.change.interval
    assert low < 0.8 < high


def test_a_cell_that_is_not_sound_is_not_compared():
    """Where a backend breached its limit in one session its change is unknown."""
    changes = compare_sessions(made(seed=1), made(seed=2, demand={"dot": 1.9}))
    dot = next(change for change in changes if change.after.label == "dot")
    assert dot.verdict == "unknown"
    assert (dot.before.state, dot.after.state) == ("ok", "breach")
    assert not same_tiers(changes)


def test_backends_that_agree_with_themselves_are_told_apart_though_the_reference_does_not():
    """A reference whose launches differ widely judges itself and its rivals; two others are judged by their own."""
    times = TIMES | {"dot": 0.5e-6, "einsum": 0.6e-6}
    events = simulated.session(times, seed=3)
    for event in events:
        if event["kind"] == "sample" and event["cell"] == "numpy' x1":
            event["wall"] *= 1 + 0.2 * event["launch"]
    (group,) = RaceSession(tuple(events)).standings()
    assert group.floor == pytest.approx(math.log(1.6), rel=0.05)
    assert group.tiers() == {"dot": 1, "einsum": 2, "numpy": 3}


def test_a_breach_whose_threads_were_always_in_each_others_way_is_shown_with_its_time():
    """Never undisturbed, so without a ratio and a tier; what its calls took is shown."""
    events = simulated.session(TIMES, demand={"dot": 1.9})
    for event in events:
        if event["kind"] == "sample" and event["cell"] == "dot x1":
            event["undisturbed"] = False
    row = next(row for row in RaceSession(tuple(events)).standings()[0].rows if row.label == "dot")
    assert (row.state, row.effect, row.tier) == ("breach", None, None)
    assert row.seconds == pytest.approx(1000 * TIMES["dot"], rel=0.05)


def test_two_sessions_in_one_file(tmp_path):
    """A file for publication holds two sessions, and both are read."""
    path = tmp_path / "two.jsonl"
    path.write_text("".join(json.dumps(e) + "\n" for seed in (1, 2) for e in simulated.session(TIMES, seed=seed)))
    assert len(read_record(path)) == 2


def test_compare_on_the_command_line(file, tmp_path):
    """`bench compare` prints ratios before and after, and refuses with the fact that differs and code 2."""
    told = command("compare", file, file)
    assert told.returncode == 0
    assert "1 -> 1" in told.stdout
    other = tmp_path / "other.jsonl"
    other.write_text("".join(json.dumps(e) + "\n" for e in simulated.session(TIMES, cpu="Imaginary 9001")))
    told = command("compare", file, other)
    assert told.returncode == 2
    assert "CPU is" in told.stderr


def test_conditions_are_those_of_the_children():
    """Conditions come from what the workers saw, not from what the coordinator did."""
    assert conditions(made(policy="passive"))["wait policy"] == "OMP_WAIT_POLICY=passive"


def test_the_list_of_cells_needs_no_race():
    """`bench --list` says what would be raced and starts nothing."""
    told = command("--list", "--backends", "dot,dot", "--threads", "1", "--size", "mnist", "--case", "train")
    assert told.stdout.splitlines() == [
        f"train 10000x784x196 float64: {label} x1" for label in ("dot", "dot#2", "dot'", "peak GEMM")
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backends", "nmpy"], "did you mean 'numpy'"),
        (["--case", "forward"], "No case 'forward'"),
        (["--threads", "two"], "'two' is no list of thread counts such as 1,2"),
        (["--html", "/nowhere/at/all.html"], "Cannot write /nowhere/at/all.html"),
        (["--baseline", "nothing.jsonl"], "There is no record of a race nothing.jsonl"),
    ],
)
def test_mistakes_are_one_line_before_anything_starts(arguments, message):
    """A user's mistake is one line on standard error and code 2."""
    told = command(*arguments)
    assert told.returncode == 2
    assert told.stderr.startswith("Error: ")
    assert message in told.stderr
    assert told.stderr.count("\n") == 1


def test_pictures_of_a_record(file, tmp_path):
    """`bench show --plot` draws a PNG; a record without one comparison is refused with the reason."""
    told = command("show", file, "--plot", tmp_path / "race.png")
    assert told.returncode == 0, told.stderr
    assert (tmp_path / "race.png").read_bytes()[:4] == b"\x89PNG"
    told = command("show", file, "--plot", tmp_path / "race.png")
    assert told.returncode == 2
    assert "exists" in told.stderr
    lines = file.read_text().splitlines()
    file.write_text("".join(line + "\n" for line in lines if '"sample"' not in line))
    told = command("show", file, "--plot", tmp_path / "other.png")
    assert told.returncode == 2
    assert "nothing to draw" in told.stderr


def test_unknown_is_explained(file):
    """Where samples were disturbed the table says so and what to do; with one launch it asks for more."""
    events = [json.loads(line) for line in file.read_text().splitlines()]
    for event in events:
        if event["kind"] == "sample" and event["round"] > 1:
            event |= {"undisturbed": False, "delay": 0.01, "reason": "waited"}
    said = " ".join(remarks(RaceSession(tuple(events)).standings()[0]))
    assert "as few as 17% of a cell's samples were kept" in said
    assert "stop other programs" in said
    plan = RacePlan.checked(backends=list(TIMES), threads=[1], sizes=["1000x64x25"], launches=1, rounds=6)
    said = " ".join(remarks(made(plan=plan).standings()[0]))
    assert "fewer than two launches with 5 undisturbed rounds" in said
