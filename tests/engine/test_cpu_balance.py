"""Row workers that wait for each other's CPU are sent away, and nothing else changes."""

import os
import threading
from pathlib import Path

import numpy as np
import pytest

import sparsae
from sparsae.engine import cpu_balance
from sparsae.engine.cpu_balance import CpuBalancer

pytestmark = pytest.mark.skipif(
    cpu_balance._CURRENT_CPU is None, reason="no sched_getcpu or no affinity on this system"
)
ALLOWED = {0, 1, 2, 3}


@pytest.fixture
def system(monkeypatch):
    """A machine of four CPUs whose affinity calls are only written down; `system.cpu` is where everybody is."""

    class System:
        cpu = 0
        allowed = ALLOWED
        calls: list = []  # noqa: RUF012
        fails = False

    def change(thread, cpus):
        System.calls.append((thread, set(cpus)))
        if System.fails and set(cpus) != ALLOWED:
            raise OSError("not allowed")

    System.calls = []
    monkeypatch.setattr(cpu_balance, "_CURRENT_CPU", lambda: System.cpu)
    monkeypatch.setattr(os, "sched_getaffinity", lambda thread: set(System.allowed))
    monkeypatch.setattr(os, "sched_setaffinity", change)
    return System


def test_a_worker_last_seen_on_my_cpu_is_sent_to_a_free_one_and_given_its_affinity_back(system):
    """Both calls in this order, for that thread alone."""
    workers = CpuBalancer([10, 11, 12])
    system.cpu = 2
    workers.update(2)
    system.cpu = 0
    workers.update(0)
    assert system.calls == []
    workers.update(1)
    assert system.calls == [(10, {1, 3}), (10, ALLOWED)]


def test_workers_on_cpus_of_their_own_and_those_that_left_are_let_be(system):
    """While both go on, no call is made."""
    workers = CpuBalancer([10, 11])
    for _ in range(5):
        for worker in (0, 1):
            system.cpu = worker
            workers.update(worker)
    workers.finish(0)
    for _ in range(5):
        system.cpu = 0
        workers.update(1)
    assert system.calls == []


def test_a_worker_that_does_not_go_on_is_sent_away_every_second_time(system):
    """It may wait on another CPU than where it was last seen, or not have come yet."""
    workers = CpuBalancer([10, 11])
    workers.update(0)
    assert system.calls == []
    workers.update(0)
    assert system.calls == [(11, {1, 2, 3}), (11, ALLOWED)]
    workers.update(0)
    assert len(system.calls) == 2
    workers.update(0)
    assert len(system.calls) == 4


def test_affinity_is_given_back_when_narrowing_it_fails(system):
    """And the run goes on."""
    system.fails = True
    workers = CpuBalancer([10, 11])
    workers.update(0)
    workers.update(1)
    assert system.calls == [(10, {1, 2, 3}), (10, ALLOWED)]


def test_a_thread_is_never_moved_by_two_at_once(system, monkeypatch):
    """The second would take the narrowed affinity for the thread's own, and give that back."""
    workers = CpuBalancer([10, 11, 12])
    inner = os.sched_setaffinity

    def busy(thread, cpus):
        workers._move_away(0, 3)
        inner(thread, cpus)

    monkeypatch.setattr(os, "sched_setaffinity", busy)
    workers._move_away(0, 0)
    assert system.calls == [(10, {1, 2, 3}), (10, ALLOWED)]
    system.calls.clear()
    workers._move_away(0, 1)  # and the way is free again
    assert system.calls == [(10, {0, 2, 3}), (10, ALLOWED)]


@pytest.mark.parametrize("allowed", [{0}, {0, 1}])
def test_nobody_is_moved_where_there_are_fewer_cpus_than_workers(system, allowed):
    """They have to share."""
    system.allowed = allowed
    workers = CpuBalancer([10, 11, 12])
    for worker in range(3):
        workers.update(worker)
    assert system.calls == []


@pytest.mark.parametrize("error", [OSError, AttributeError])
def test_without_the_systems_function_nobody_is_moved(system, monkeypatch, error):
    """A C library without sched_getcpu, or none that can be opened."""

    def refuse(name):
        raise error

    monkeypatch.setattr(cpu_balance.ctypes, "PyDLL", refuse)
    monkeypatch.setattr(cpu_balance, "_CURRENT_CPU", cpu_balance._find_current_cpu())
    workers = CpuBalancer([10, 11])
    for worker in (0, 1, 0, 0, 0):
        workers.update(worker)
    assert (cpu_balance._CURRENT_CPU, system.calls) == (None, [])


def test_one_worker_asks_nothing(system, monkeypatch):
    """A run without row workers costs nothing."""
    monkeypatch.setattr(cpu_balance, "_CURRENT_CPU", lambda: pytest.fail("asked"))
    CpuBalancer([10]).update(0)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_a_thread_that_waits_for_this_cpu_runs_on_another_one(monkeypatch):
    """On the real system: a busy thread confined with us, then released, is elsewhere as soon as it is sent away."""
    mine, other = sorted(os.sched_getaffinity(0))[:2]
    before = os.sched_getaffinity(0)
    stop = threading.Event()
    a = np.random.default_rng(0).random((400, 400))

    def busy():
        while not stop.is_set():
            a @ a

    thread = threading.Thread(target=busy)
    try:
        thread.start()
        os.sched_setaffinity(0, {mine})
        for cpus in ({mine}, {mine, other}):
            os.sched_setaffinity(thread.native_id, cpus)
        CpuBalancer([threading.get_native_id(), thread.native_id])._move_away(1, mine)
        facts = Path(f"/proc/self/task/{thread.native_id}/stat").read_text(encoding="ascii")
        assert int(facts.rsplit(")", 1)[1].split()[36]) == other
        assert os.sched_getaffinity(thread.native_id) == {mine, other}
    finally:
        os.sched_setaffinity(0, before)
        stop.set()
        thread.join()


def test_a_fit_leaves_the_affinity_of_its_thread_as_it_was():
    """Whatever was moved in between."""
    before = os.sched_getaffinity(0)
    with sparsae.Objective(np.random.default_rng(0).random((5000, 16)), 4, threads=min(2, len(before))) as objective:
        for _ in range(50):
            objective(np.zeros(objective.size))
    assert os.sched_getaffinity(0) == before


def test_workers_are_woken_on_other_cpus_than_the_first_ones(system):
    """Their affinity leaves its CPU out while they are woken, and is given back, also where waking fails."""
    workers = CpuBalancer([10, 11, 12])
    system.cpu = 2
    workers.wake(lambda: system.calls.append("woken"))
    narrowed = [(11, {0, 1, 3}), (12, {0, 1, 3})]
    restored = [(11, ALLOWED), (12, ALLOWED)]
    assert system.calls == [*narrowed, "woken", *restored]
    system.calls.clear()
    with pytest.raises(ZeroDivisionError):
        workers.wake(lambda: 1 / 0)
    assert system.calls == [*narrowed, *restored]
    system.calls.clear()
    system.allowed = {2, 3}
    workers.wake(lambda: system.calls.append("woken"))
    assert system.calls == ["woken"]


def test_where_the_system_does_not_say_where_a_thread_is_workers_are_woken_as_they_are(system, monkeypatch):
    """And a pool of one worker looks nowhere."""
    monkeypatch.setattr(cpu_balance, "_CURRENT_CPU", None)
    CpuBalancer([10, 11]).wake(lambda: system.calls.append("woken"))
    monkeypatch.undo()
    CpuBalancer([10]).wake(lambda: system.calls.append("woken"))
    assert system.calls == ["woken", "woken"]
