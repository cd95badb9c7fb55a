"""Records of races: shown, drawn, compared, and written where disks are full or files are old, linked or special."""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
from tests.support import simulated
from tests.support.race_records import command, made
from tests.support.simulated import TIMES

from sparsae.bench import record as record_module
from sparsae.bench.compare import same_tiers
from sparsae.bench.plan import RacePlan
from sparsae.bench.record import RaceRecorder, RaceSession, check_baseline, read_record
from sparsae.bench.report.text import HEADINGS, remarks
from sparsae.bench.standings import MEANING, compute_standings
from sparsae.cli import cli
from sparsae.errors import (
    FileAccessError,
    FileFormatError,
    ParameterError,
)
from sparsae.machine.facts import cpu_name


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
