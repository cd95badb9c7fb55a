"""A timed batch, how many calls it has, and what counts as undisturbed."""

from __future__ import annotations

import gc
import json
import sys
import time

import pytest

from sparsae.bench import timing
from sparsae.bench.timing import TimedBatch
from sparsae.machine.cpu_demand import Schedule
from sparsae.machine.facts import affinity


def test_the_garbage_collector_is_off_and_given_back() -> None:
    """Also after an exception; what was off stays off."""
    seen: list[bool] = []
    timing.time_batch(lambda: seen.append(gc.isenabled()), 2)
    assert seen == [False, False]
    assert gc.isenabled()

    def fails() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        timing.time_batch(fails, 1)
    assert gc.isenabled()
    gc.disable()
    try:
        timing.time_batch(lambda: None, 1)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_wall_and_cpu_time_are_told_apart() -> None:
    """Sleeping takes wall time alone."""
    found = timing.time_batch(lambda: time.sleep(0.01), 3)
    assert found.wall >= 0.03
    assert found.cpu < found.wall / 2
    assert found.cpus == len(affinity())


def test_waiting_of_all_threads_counts_those_that_came_since_included(monkeypatch: pytest.MonkeyPatch) -> None:
    """7 - 5 of one thread and 3 of a new one; a thread that ended took its count with it."""
    states = iter(({"a": Schedule(9, 5), "b": Schedule(9, 100)}, {"a": Schedule(9, 7), "c": Schedule(9, 3)}))
    monkeypatch.setattr(timing, "read_process", lambda: next(states))
    assert timing.time_batch(lambda: None, 1).delay == pytest.approx(5e-9)


def test_where_the_system_tells_nothing_a_batch_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting time: not known to be disturbed."""
    monkeypatch.setattr(timing, "read_process", dict)
    found = timing.time_batch(lambda: None, 1)
    assert found.delay is None
    assert found.undisturbed


@pytest.mark.parametrize(("delay", "clean"), [(0.0099, True), (0.0101, False), (None, True)])
def test_a_hundredth_of_the_time_is_the_limit(delay: float | None, clean: bool) -> None:
    """By cause: what it took plays no part."""
    assert TimedBatch(1, 1.0, delay=delay).undisturbed is clean


@pytest.mark.parametrize(
    ("cpus", "cpu", "clean"),
    [(1, 0.995, True), (1, 0.98, False), (2, 1.99, False), (0, 1.0, False)],
)
def test_threads_that_had_their_one_cpu_all_the_time_waited_for_each_other(cpus: int, cpu: float, clean: bool) -> None:
    """Waiting 30 % of the time disturbs, unless nobody else can have had the CPU; with two CPUs that cannot be told."""
    assert TimedBatch(1, wall=1.0, cpu=cpu, delay=0.3, cpus=cpus).undisturbed is clean


def test_one_thread_is_called_once_and_more_for_a_while() -> None:
    """At least once, however slow; several threads until the time is over."""
    calls: list[float] = []
    timing.warm_up(lambda: calls.append(time.perf_counter()), 1)
    assert len(calls) == 1
    timing.warm_up(lambda: calls.append(time.perf_counter()), 2)
    assert len(calls) > 10
    assert calls[-1] - calls[1] >= timing.WARM_UP / 2
    calls.clear()
    timing.warm_up(lambda: calls.append(time.sleep(2 * timing.WARM_UP) or 0.0), 2)
    assert len(calls) == 1


@pytest.mark.parametrize(("seconds", "loops"), [(1.0, 1), (0.02, 1), (0.004, 5), (1e-4, 200), (3e-7, 66_667)])
def test_the_number_of_calls_fills_the_batch(seconds: float, loops: int) -> None:
    """A batch takes about 20 ms, and at least one call, from a second down to a microsecond a call."""
    assert timing.choose_loops(seconds, 0.02) == loops


def test_a_call_that_takes_no_measurable_time_is_made_a_bounded_number_of_times() -> None:
    """Where the clock stands still, too."""
    assert timing.choose_loops(0.0, 0.02) == timing.MOST_LOOPS


def test_a_batch_survives_json() -> None:
    """What a child sends is what the parent reads; the reason why it does not count goes along."""
    batch = TimedBatch(3, 1.5, 1.0, 0.5, 2, (3, 4), None, {"rate": 1e9})
    values = json.loads(json.dumps(batch.to_dict()))
    assert TimedBatch.from_dict(values) == TimedBatch.from_dict(batch.to_dict()) == batch
    assert (values["undisturbed"], values["reason"]) == (False, "waited 33.3% of the time for a CPU")
    assert TimedBatch(3, 1.5).reason == "waiting time is unknown here"
    assert TimedBatch(3, 1.5, 1.0, 0.0, 2).reason == ""


def test_context_switches_are_unknown_where_nobody_counts_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system without the module `resource` loads and times all the same."""
    monkeypatch.setitem(sys.modules, "resource", None)
    assert timing.time_batch(lambda: None, 1).switches is None
