"""Scaling: the sizes of the sweep, and the lines made of it."""

from __future__ import annotations

import pytest
from tests.support import simulated

from sparsae.bench.plan import RacePlan
from sparsae.bench.record import RaceSession
from sparsae.bench.report.figures import draw
from sparsae.bench.scaling import scaling_series, sweep

TIMES = {"numpy": 1.5e-6, "dot": 0.8e-6}


@pytest.fixture(scope="module")
def session():
    plan = RacePlan.checked(backends=list(TIMES), threads=[1], sizes=sweep((800, 8, 4)), launches=2, rounds=5)
    return RaceSession(tuple(simulated.session(TIMES, plan=plan)))


def test_the_sweep_changes_one_thing_at_a_time():
    """The size itself comes first; every other differs from it in one number."""
    sizes = sweep((800, 8, 4))
    assert sizes[0] == (800, 8, 4)
    assert len(set(sizes)) == len(sizes) == 7
    for size in sizes[1:]:
        assert sum(a != b for a, b in zip(size, sizes[0], strict=True)) == 1
    assert sweep((1, 1, 1))[0] == (1, 1, 1)
    assert min(min(size) for size in sweep((1, 1, 1))) == 1


def test_a_line_holds_all_else_fixed(session):
    """Along rows, inputs and hidden units each backend has three points with its time per row and share of peak."""
    lines = scaling_series(session.standings())
    assert [one.axis for one in lines] == ["rows", "inputs", "hidden units"]
    assert "8 inputs, 4 hidden units, 1 thread" in lines[0].title
    for one in lines:
        assert sorted(one.name(line) for line in one.lines) == sorted(TIMES)
        for line in one.lines:
            assert len(line.points) == 3
            assert [p.place for p in line.points] == one.places
            for point in line.points:
                assert point.seconds == pytest.approx(TIMES[line.backend], rel=0.05)
                assert point.share is not None


def test_one_size_has_no_lines_but_threads():
    """Where nothing varies there is nothing to draw a line through."""
    assert scaling_series(RaceSession(tuple(simulated.session(TIMES))).standings()) == ()


def test_what_is_not_sound_has_no_line():
    """A backend that breached its limit is in the table and not on a line."""
    plan = RacePlan.checked(backends=list(TIMES), threads=[1], sizes=["10x4x2", "20x4x2"], launches=2, rounds=5)
    events = simulated.session(TIMES, plan=plan, demand={"dot": 2.0})
    assert [line.backend for line in scaling_series(RaceSession(tuple(events)).standings())[0].lines] == ["numpy"]


def test_threads_are_lines_of_their_own_and_one_series():
    """With sizes and threads: each axis of size has a line for each backend and count; the first size has threads."""
    plan = RacePlan.checked(backends=list(TIMES), threads=[1, 2], sizes=sweep((800, 8, 4)), launches=2, rounds=5)
    rows, *_, threads = found = scaling_series(RaceSession(tuple(simulated.session(TIMES, plan=plan))).standings())
    assert [one.axis for one in found] == ["rows", "inputs", "hidden units", "threads"]
    assert rows.title.endswith("8 inputs, 4 hidden units")
    assert sorted(rows.name(line) for line in rows.lines) == ["dot x1", "dot x2", "numpy x1", "numpy x2"]
    assert threads.title.endswith("800 rows, 8 inputs, 4 hidden units")
    assert (threads.places, {threads.name(line) for line in threads.lines}) == ([1, 2], set(TIMES))


def test_the_picture_of_a_scaling_race(session, tmp_path):
    """Several sizes are drawn as time per row above share of peak."""
    draw([session], tmp_path / "scaling.png")
    assert (tmp_path / "scaling.png").read_bytes()[:4] == b"\x89PNG"
