"""A timed batch: warmed up, the collector off, and what disturbed it."""

from __future__ import annotations

import gc
import time

import pytest

from sparsae.bench import batch
from sparsae.machine.cpu_demand import Schedule
from sparsae.machine.facts import affinity


def test_the_garbage_collector_is_off_and_given_back() -> None:
    """Also after an exception; what was off stays off."""
    seen: list[bool] = []
    batch.time_batch(lambda: seen.append(gc.isenabled()), 2)
    assert seen == [False, False]
    assert gc.isenabled()

    def fails() -> None:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        batch.time_batch(fails, 1)
    assert gc.isenabled()
    gc.disable()
    try:
        batch.time_batch(lambda: None, 1)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_wall_and_cpu_time_are_told_apart() -> None:
    """Sleeping takes wall time alone."""
    found = batch.time_batch(lambda: time.sleep(0.01), 3)
    assert found.wall >= 0.03
    assert found.cpu < found.wall / 2
    assert found.cpus == len(affinity())


def test_waiting_of_all_threads_counts_those_that_came_since_included(monkeypatch: pytest.MonkeyPatch) -> None:
    """7 - 5 of one thread and 3 of a new one; a thread that ended took its count with it."""
    states = iter(({"a": Schedule(9, 5), "b": Schedule(9, 100)}, {"a": Schedule(9, 7), "c": Schedule(9, 3)}))
    monkeypatch.setattr(batch, "read_process", lambda: next(states))
    assert batch.time_batch(lambda: None, 1).delay == pytest.approx(5e-9)


def test_where_the_system_tells_nothing_a_batch_is_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """No waiting time: not known to be disturbed."""
    monkeypatch.setattr(batch, "read_process", dict)
    found = batch.time_batch(lambda: None, 1)
    assert found.delay is None
    assert found.clean


@pytest.mark.parametrize(("delay", "clean"), [(0.0099, True), (0.0101, False), (None, True)])
def test_a_hundredth_of_the_time_is_the_limit(delay: float | None, clean: bool) -> None:
    """By cause: what it took plays no part."""
    assert batch.undisturbed(delay, 1.0) is clean


@pytest.mark.parametrize(
    ("cpus", "cpu", "clean"),
    [(1, 0.995, True), (1, 0.98, False), (2, 1.99, False), (0, 1.0, False)],
)
def test_threads_that_had_their_one_cpu_all_the_time_waited_for_each_other(cpus: int, cpu: float, clean: bool) -> None:
    """Waiting 30 % of the time disturbs, unless nobody else can have had the CPU; with two CPUs that cannot be told."""
    assert batch.Batch(wall=1.0, cpu=cpu, delay=0.3, cpus=cpus).clean is clean


def test_one_thread_is_called_once_and_more_for_a_while() -> None:
    """At least once, however slow; several threads until the time is over."""
    calls: list[float] = []
    batch.warm_up(lambda: calls.append(time.perf_counter()), 1)
    assert len(calls) == 1
    batch.warm_up(lambda: calls.append(time.perf_counter()), 2)
    assert len(calls) > 10
    assert calls[-1] - calls[1] >= batch.WARM / 2
    calls.clear()
    batch.warm_up(lambda: calls.append(time.sleep(2 * batch.WARM) or 0.0), 2)
    assert len(calls) == 1
