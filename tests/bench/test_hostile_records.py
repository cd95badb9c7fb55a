"""Records that were damaged, or written by somebody who means harm: one line, never a traceback, nothing obeyed."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.support import damaged_json, simulated

from sparsae.bench.compare import compare_sessions
from sparsae.bench.plan import RacePlan
from sparsae.bench.record import RaceSession, read_record
from sparsae.bench.report import page
from sparsae.bench.report.figures import draw
from sparsae.bench.report.page import make_page
from sparsae.cli.race_table import print_changes, print_session
from sparsae.errors import DataError, FileFormatError, SparsaeError

TIMES = {"numpy": 1.5e-6, "dot": 0.8e-6}
PLAN = RacePlan.checked(backends=list(TIMES), threads=[1], sizes=["10x4x2", "20x4x2"], launches=2, rounds=5)
HEADER = simulated.session(TIMES, plan=PLAN)[0]
EVIL = "\x1b]0;title\x07\x1b[2J[/x] [bold]<script>$\\frac$\n\x9b31m\u202e"


@pytest.mark.parametrize("count", [150, pytest.param(5000, marks=pytest.mark.prove)])
def test_mutated_records_are_read_or_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], count: int
) -> None:
    """Records with a value, a key or bytes changed: `show`, `--json`, `compare` work or raise a `SparsaeError`."""
    events = simulated.session(TIMES, plan=PLAN)
    original = RaceSession(tuple(copy.deepcopy(events)))
    rng = random.Random(17)
    file = tmp_path / "race.jsonl"
    refused = longest = 0
    for number in range(count):
        file.write_bytes(MUTATIONS[number % len(MUTATIONS)](copy.deepcopy(events), rng))
        try:
            sessions = read_record(file)
            for session in sessions:
                print_session(session)
                page._definitions(page.describe_conditions(session))
                page._samples(session)
                json.dumps([table.to_dict() for table in session.standings()])
            print_changes(compare_sessions(original, sessions[-1]))
        except SparsaeError as error:
            refused += isinstance(error, FileFormatError)
            longest = max(longest, len(str(error)))
    assert longest < 1000
    assert count / 4 < refused < count
    assert all(character.isprintable() or character == "\n" for character in capsys.readouterr().out)


@pytest.mark.parametrize("count", [4, pytest.param(100, marks=pytest.mark.prove)])
def test_mutated_records_have_a_page_and_a_picture_or_none(tmp_path: Path, count: int) -> None:
    """Those that can be read have a page, and a picture or a `SparsaeError`."""
    events = simulated.session(TIMES, plan=PLAN)
    rng = random.Random(3)
    file = tmp_path / "race.jsonl"
    drawn = 0
    while drawn < count:
        file.write_bytes(change_a_value(copy.deepcopy(events), rng))
        try:
            sessions = read_record(file)
        except FileFormatError:
            continue
        drawn += 1
        assert "<script" not in make_page(sessions)
        try:
            draw(sessions, tmp_path / "race.png")
        except DataError:
            continue


def test_nothing_in_a_record_is_obeyed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Names, reasons and facts with markup, escape sequences, formulas and tags are shown as text."""
    events = simulated.session(TIMES, plan=PLAN, cpu=EVIL)
    for event in events:
        if event["kind"] == "header":
            event["plan"]["backends"] = [EVIL, "dot"]
            event["plan"]["reference"] = EVIL
            event["machine"] = event["machine"] | {"system": EVIL, "variables": {EVIL: EVIL}, "caches": {EVIL: EVIL}}
        if "cell" in event:
            event["cell"] = event["cell"].replace("numpy", EVIL)
        if event["kind"] == "worker":
            event["versions"], event["variables"] = {EVIL: EVIL}, {EVIL: EVIL}
    failure = {"kind": "failure", "launch": 0, "workload": events[1]["workload"], "cell": "dot x1"}
    events.append({**failure, "state": "failed", "why": f"it said {EVIL}"})
    file = tmp_path / "race.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    sessions = read_record(file)
    print_session(sessions[0])
    print_changes(compare_sessions(sessions[0], sessions[0]))
    shown = capsys.readouterr().out
    assert "it said [/x] [bold]<script>" in shown
    assert "[/x] [bold]<script>$\\frac$ x1" in shown or "[/x] [bold]<script>$\\frac$" in shown
    html = make_page(sessions)
    draw(sessions, tmp_path / "race.png")
    assert "<script" not in html
    for text in (shown, html):
        assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("header", "plan", {}),
        ("header", "machine", {"cpu": "x"}),
        ("header", "machine", simulated.MACHINE | {"caches": [1]}),
        ("header", "machine", simulated.MACHINE | {"variables": {"OMP_NUM_THREADS": 1}}),
        ("header", "plan", HEADER["plan"] | {"colour": 1}),
        ("header", "plan", HEADER["plan"] | {"k": 3}),
        ("header", "plan", HEADER["plan"] | {"reference": "nobody"}),
        ("header", "plan", HEADER["plan"] | {"backends": ["numpy", "x" * 1000]}),
        ("worker", "pools_after_call", [{"user_api": "blas"}]),
        ("sample", "wall", 0.0),
        ("sample", "cpu", "much"),
        ("sample", "undisturbed", 1),
        ("sample", "cell", "nobody x1"),
        ("sample", "workload", "objective 1x1x1 float64"),
        ("failure", "state", "curious"),
        ("demand", "verdict", "unheard of"),
        ("end", "finished", None),
    ],
)
def test_the_line_and_the_field_are_named(tmp_path: Path, kind: str, field: str, value: Any) -> None:
    """Every field that is read is checked, and the message says which line cannot be used and why."""
    events = simulated.session(TIMES, plan=PLAN)
    place = {"launch": 0, "workload": events[1]["workload"], "cell": "dot x1"}
    events.insert(5, {"kind": "failure", **place, "state": "failed", "why": "x"})
    line = next(i for i, event in enumerate(events, start=1) if event["kind"] == kind)
    events[line - 1] = events[line - 1] | {field: value}
    file = tmp_path / "race.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    with pytest.raises(FileFormatError, match=rf"damaged: line {line}: {kind}.*{field}"):
        read_record(file)


def test_the_second_session_is_checked_too(tmp_path: Path) -> None:
    """A file holds several sessions; the header of each is looked at."""
    events = simulated.session(TIMES, plan=PLAN) + simulated.session(TIMES, plan=PLAN)
    second = [event for event in events if event["kind"] == "header"][1]
    second["version"] = 99
    file = tmp_path / "race.jsonl"
    file.write_text("".join(json.dumps(event) + "\n" for event in events))
    with pytest.raises(FileFormatError, match="version 99"):
        read_record(file)


def change_a_value(events: list[dict[str, Any]], rng: random.Random) -> bytes:
    """Put something strange in the place of a value, at any depth."""
    damaged_json.change_a_value(rng.choice([events[0], rng.choice(events)]), rng)
    return encode(events)


def remove_a_key(events: list[dict[str, Any]], rng: random.Random) -> bytes:
    """Remove a field of an event, or of its facts."""
    event = rng.choice([events[0], rng.choice(events)])
    inner = [value for value in event.values() if isinstance(value, dict) and value]
    node = rng.choice([event, *inner])
    del node[rng.choice(list(node))]
    return encode(events)


def move_events(events: list[dict[str, Any]], rng: random.Random) -> bytes:
    """Repeat, drop or exchange events."""
    a, b = rng.randrange(len(events)), rng.randrange(len(events))
    how = rng.randrange(3)
    if how == 0:
        events.insert(a, events[b])
    elif how == 1:
        del events[a]
    else:
        events[a], events[b] = events[b], events[a]
    return encode(events)


def flip_bytes(events: list[dict[str, Any]], rng: random.Random) -> bytes:
    """Change some bytes."""
    data = bytearray(encode(events))
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    return bytes(data)


def cut(events: list[dict[str, Any]], rng: random.Random) -> bytes:
    """End anywhere, or begin anywhere."""
    data = encode(events)
    place = rng.randrange(len(data))
    return data[:place] if rng.random() < 0.7 else data[place:]


def nest(events: list[dict[str, Any]], rng: random.Random) -> bytes:
    """Put a line in that is nested deeply, very long, or holds a number of many digits."""
    lines = encode(events).split(b"\n")
    line = rng.choice([b"[" * 100_000, b'{"kind":' * 50_000, b'{"kind": "x", "y": ' + b"9" * 5000 + b"}", b"{}" * 1000])
    lines.insert(rng.randrange(len(lines)), line)
    return b"\n".join(lines)


def encode(events: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(event).encode() + b"\n" for event in events)


MUTATIONS: tuple[Callable[[list[dict[str, Any]], random.Random], bytes], ...] = (
    *(change_a_value, change_a_value, change_a_value, remove_a_key, remove_a_key, move_events, flip_bytes, cut, nest),
)
