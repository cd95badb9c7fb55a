"""Records of races: written, read back, damaged, compared."""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tests.support import simulated

from sparsae.bench import record as record_module
from sparsae.bench.compare import compare_sessions, same_tiers
from sparsae.bench.plan import RacePlan
from sparsae.bench.record import RaceRecorder, RaceSession, check_baseline, conditions, read_record
from sparsae.bench.report.text import HEADINGS, remarks
from sparsae.bench.standings import MEANING, compute_standings
from sparsae.cli import cli, main
from sparsae.errors import (
    FileAccessError,
    FileFormatError,
    FileMissingError,
    OutputExistsError,
    ParameterError,
)
from sparsae.machine.facts import cpu_name

TIMES = {"numpy": 1.5e-6, "einsum": 1.5e-6, "dot": 0.8e-6}


def made(times=TIMES, **kinds):
    return RaceSession(tuple(simulated.session(times, **kinds)))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "race.jsonl"
    with RaceRecorder(path) as recorder:
        for event in simulated.session(TIMES):
            recorder(event)
    return path


def command(*args):
    """Run `sparsae bench` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main(["bench", *map(str, args)])
    return subprocess.CompletedProcess(args, int(ended.value.code or 0), out.getvalue(), err.getvalue())


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


def test_cells_that_an_interrupted_race_did_not_reach_are_called_interrupted():
    """Neither dead nor hanging: the state, the remark and the verdict say that the race ended early."""
    events = simulated.session(TIMES)
    first = next(i for i, event in enumerate(events) if event.get("cell") == "dot x1")
    stopped = [*events[:first], {"kind": "end", "finished": "interrupted", "ended": "now"}]
    (table,) = RaceSession(tuple(stopped)).standings()
    rows = {row.label: row for row in table.rows}
    assert (rows["dot"].state, rows["dot"].why) == ("interrupted", "it had not started")
    assert (rows["numpy"].state, rows["einsum"].verdict) == ("ok", "unknown")
    lines = " ".join(remarks(table))
    assert "dot: interrupted (the race ended before it was measured)" in lines
    assert "unknown: einsum; the race ended early" in lines
    assert "died" not in lines
    (whole,) = RaceSession((*stopped[:-1], {"kind": "end", "finished": "complete", "ended": "now"})).standings()
    assert {row.label: row.state for row in whole.rows}["dot"] == "failed"


def test_a_ratio_that_seems_to_contradict_the_times_is_explained():
    """The machine is twice as slow in half of the rounds, and one backend is undisturbed in those alone."""
    events = simulated.session(TIMES)
    for event in events:
        if event["kind"] == "sample" and event["round"] < 6:
            event["wall"], event["cpu"] = 2 * event["wall"], 2 * event["cpu"]
        elif event["kind"] == "sample" and event["cell"] == "einsum x1":
            event["undisturbed"] = False
    (table,) = RaceSession(tuple(events)).standings()
    einsum = next(row for row in table.rows if row.label == "einsum")
    numpy = next(row for row in table.rows if row.label == "numpy")
    assert einsum.effect.ratio == pytest.approx(1, rel=0.02)
    assert einsum.seconds / numpy.seconds > 1.2
    (line,) = remarks(table)
    assert line.startswith("einsum: 2.98 ms / 2.22 ms")
    assert f"= {einsum.seconds / numpy.seconds:.3f}, and the ratio within rounds is {einsum.effect.ratio:.3f}" in line
    assert re.search(r"percentile: einsum 2\.\d+ to 3\.\d+ ms, numpy 1\.\d+ to 3\.\d+ ms", line)
    assert "24 rounds count for the ratio" in line
    assert remarks(RaceSession(tuple(simulated.session(TIMES))).standings()[0]) == ()


def test_the_table_says_what_a_ratio_is(file):
    """Below the tables, on the terminal and on the page, stands how the ratio and the times differ."""
    told = command("show", file)
    assert "time of the reference in the same round" in " ".join(told.stdout.split())


def test_a_page_is_written_whole_or_not_at_all(file, tmp_path):
    """When the disk is full the old page stays what it was."""
    resource = pytest.importorskip("resource")
    page = tmp_path / "race.html"
    page.write_text("the old page")
    limit = (4096, 4096)
    told = subprocess.run(
        [sys.executable, "-m", "sparsae", "bench", "show", file, "--html", page, "--force"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit),
        capture_output=True,
        text=True,
    )
    assert told.returncode != 0
    assert "Traceback" not in told.stderr
    assert page.read_text() == "the old page"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["race.html", "race.jsonl"]


@pytest.mark.parametrize("option", ["--html", "--plot"])
def test_pictures_need_an_extra_and_say_so_before_the_race(file, tmp_path, monkeypatch, option):
    """Without matplotlib one line names the extra, and nothing is raced first."""
    monkeypatch.setitem(sys.modules, "sparsae.bench.report.figures", None)
    for arguments in (["show", str(file)], ["--backends", "dot"]):
        with pytest.raises(click.ClickException, match=rf"{option} needs matplotlib .*; pip install .*\[plot\]'"):
            cli.main(["bench", *arguments, option, str(tmp_path / "x.svg")], standalone_mode=False)


def test_a_picture_of_an_unknown_format_is_refused_before_the_race(file, tmp_path):
    """An hour of measuring is not lost to the name of a file."""
    for arguments in (["show", file], ["--backends", "dot"]):
        told = command(*arguments, "--plot", tmp_path / "race.xyz")
        assert told.returncode == 2
        assert "matplotlib cannot write .xyz files; choose from" in told.stderr


def test_the_standings_for_programs(file):
    """`bench show --json` prints tiers, effects and states as JSON."""
    (report,) = json.loads(command("show", file, "--json").stdout)
    rows = {row["label"]: row for row in report["standings"][0]["rows"]}
    assert rows["dot"]["tier"] == 1
    assert rows["dot"]["effect"]["launches"] == 4


def test_a_baseline_from_another_cpu_is_refused_before_the_race(file):
    """What could not be compared afterwards is refused at once."""
    told = command("--backends", "dot", "--threads", "1", "--baseline", file)
    assert told.returncode == 2
    assert "CPU is 'Imaginary 9000 <script>' in one and" in told.stderr
    with pytest.raises(ParameterError, match="dtype is 'float64' in one and 'float32' in the other"):
        check_baseline(made(cpu=cpu_name()), RacePlan.checked(backends=["dot"], threads=[1], dtypes=["f4"]))
    check_baseline(made(cpu=cpu_name()), RacePlan.checked(backends=["dot"], threads=[1]))


def test_a_full_disk_is_one_line(tmp_path):
    """A record that cannot be written ends the race with the reason, and what was written before stays."""
    resource = pytest.importorskip("resource")
    path = tmp_path / "race.jsonl"
    recorder = RaceRecorder(path)
    recorder({"kind": "header"})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, hard))
    try:
        with pytest.raises(FileAccessError, match=r"Cannot write .*race\.jsonl: "):
            recorder({"kind": "end", "finished": "x" * 100})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_text().startswith('{"kind": "header"}\n')
    with pytest.raises(FileAccessError, match="Cannot write"):
        RaceRecorder(tmp_path / "none" / "race.jsonl")


def test_an_old_record_stays_until_something_was_measured(file):
    """With --force the new record takes the old one's place with the first sample, and grows from there."""
    old, events = file.read_text(), simulated.session(TIMES, seed=1)
    first = next(i for i, event in enumerate(events) if event["kind"] == "sample")
    file.chmod(0o640)
    with RaceRecorder(file, force=True) as recorder:
        for event in events[:first]:
            recorder(event)
            assert file.read_text() == old
        for number, event in enumerate(events[first : first + 3], start=first + 1):
            recorder(event)
            assert len(file.read_text().splitlines()) == number
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(read_record(file)[0].events) == json.loads(json.dumps(events[: first + 3]))
    assert [path.name for path in file.parent.iterdir()] == [file.name]


@pytest.mark.parametrize("unnamed", [True, False])
def test_a_race_without_a_sample_leaves_the_old_record(file, monkeypatch, unnamed):
    """When nothing was measured the old record is what it was, and nothing is left beside it."""
    if not unnamed:
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)
    old = file.read_text()
    with RaceRecorder(file, force=True) as recorder:
        recorder(simulated.session(TIMES)[0])
    assert file.read_text() == old
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    with RaceRecorder(file, force=True) as recorder:
        for event in simulated.session(TIMES):
            recorder(event)
    assert read_record(file)[0].complete
    assert [path.name for path in file.parent.iterdir()] == [file.name]


def test_a_record_through_a_link_is_written_where_the_link_leads(file, tmp_path):
    """A symbolic link stays a link."""
    link = tmp_path / "link.jsonl"
    link.symlink_to(file)
    with RaceRecorder(link, force=True) as recorder:
        for event in simulated.session(TIMES, seed=5):
            recorder(event)
    assert link.is_symlink()
    assert list(read_record(file)[0].events) == json.loads(json.dumps(simulated.session(TIMES, seed=5)))


@pytest.mark.parametrize("arguments", [["show"], ["show", "--json"], ["compare"]])
def test_special_files_are_refused_at_once(file, tmp_path, arguments):
    """A named pipe without a writer, a device without an end and a folder are one line, not a wait."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    given = [pipe, tmp_path]
    with contextlib.suppress(PermissionError):  # only the administrator may make a device
        os.mknod(tmp_path / "zero", 0o600 | stat.S_IFCHR, os.makedev(1, 5))
        given.append(tmp_path / "zero")
    for path in given:
        told = command(*arguments, path, *([file] if arguments == ["compare"] else []))
        assert told.returncode == 2
        assert "Traceback" not in told.stderr
        assert len(told.stderr.splitlines()) <= 1


def test_a_record_without_an_end_is_not_read_for_ever(file, monkeypatch):
    """The size of a record is limited, and the limit is said."""
    monkeypatch.setattr(record_module, "LARGEST", 1 << 20)
    with file.open("ab") as out:
        out.truncate(1 << 21)
    with pytest.raises(FileFormatError, match="larger than 1 MB"):
        read_record(file)


def test_files_that_are_the_same_are_refused(file):
    """A page over the record, or two outputs of one name, are refused before anything is written."""
    before = file.read_text()
    told = command("show", file, "--html", file, "--force")
    assert (told.returncode, "are the same file" in told.stderr) == (2, True)
    assert file.read_text() == before


def test_two_sessions_for_publication(tmp_path):
    """`--publish` runs two sessions into one record and says whether they agree; code 1 where they do not.

    Which it is depends on how quiet the machine is; word and code must fit together.  No tiers at all is no agreement.
    """
    file = tmp_path / "two.jsonl"
    arguments = ["--publish", "--backends", "dot", "--threads", "1", "--size", "small", "--json", file]
    told = command(*arguments, "--launches", "1", "--rounds", "2")
    assert len(read_record(file)) == 2
    agree = "Both sessions give the same tiers." in told.stdout
    assert agree != ("Not for publication: the two sessions disagree." in told.stdout)
    assert told.returncode == (0 if agree else 1)
    assert not same_tiers(())


def test_the_page_on_the_race_names_every_state_column_and_option():
    """What the table can show and the command can take stands in the documentation."""
    text = (Path(__file__).parents[2] / "docs" / "race.md").read_text()
    for state in MEANING:
        assert state == "ok" or f"| `{state}` |" in text
    for heading in HEADINGS:
        assert heading == "backend" or heading in text
    known = command("--help").stdout
    for option in re.findall(r"sparsae bench (?:[^#\n]*?)(--[a-z]+)", text):
        assert option in known


@pytest.mark.parametrize(
    ("wall", "cpu", "state"),
    [(0.0125, 0.0125 + 0.0035, "ok"), (0.0125, 0.0125 + 0.012, "ok"), (0.04, 0.08, "breach"), (0.02, 0.036, "breach")],
)
def test_cpu_time_of_a_batch_is_a_breach_beyond_what_a_clock_tick_explains(wall, cpu, state):
    """The count of a thread that runs on another CPU lags by up to a tick, which is much of a short batch."""
    events = simulated.session(TIMES)
    for event in events:
        if event["kind"] == "sample" and event["cell"].startswith("dot"):
            event.update(wall=wall, cpu=cpu)
    rows = {row.label: row for group in compute_standings(events) for row in group.rows}
    assert rows["dot"].state == state
