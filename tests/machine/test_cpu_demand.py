"""Demand: how many CPUs a process wanted, whatever it was granted."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from sparsae.machine import cpu_demand as demand
from sparsae.machine.cpu_demand import Demand, Schedule, Watch, wait_until_quiet

BUSY = """
import os, sys, threading, time
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])
def burn(end):
    while time.perf_counter() < end:
        sum(range(1000))
print("ready", flush=True)
for line in sys.stdin:
    processes = int(line)
    end = time.perf_counter() + 0.4
    import hashlib
    block = b"x" * (1 << 22)
    def hashing():  # releases the interpreter lock: the threads really want a CPU each
        while time.perf_counter() < end:
            hashlib.sha256(block).digest()
    threads = [threading.Thread(target=hashing) for _ in range(processes)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
    print("done", flush=True)
"""


@pytest.fixture
def child():
    process = subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.stdin.close()
    process.wait(timeout=300)
    process.stdout.close()


def ask(process, threads):
    with Watch(process.pid) as watch:
        process.stdin.write(f"{threads}\n")
        process.stdin.flush()
        process.stdout.readline()
    return Demand.measured(watch.spent, 0.0, watch.wall)


def test_two_threads_on_one_cpu_demand_two(child):
    """A process that is pinned to one CPU and keeps two threads busy uses one CPU and is seen to want two."""
    one, two = ask(child, 1), ask(child, 2)
    assert one.verdict(1) == "honoured"
    assert two.verdict(1) == "breach"
    assert two.cpus > 1.5
    assert two.verdict(2) == "honoured"


def test_a_sleeper_is_told_from_a_worker(child):
    """A process that wants no CPU is called a sleeper."""
    with Watch(child.pid) as watch:
        time.sleep(0.1)
    assert Demand.measured(watch.spent, 0.0, watch.wall).verdict(1) == "sleeps"


def test_without_schedstat_only_a_breach_is_proven(monkeypatch, tmp_path, child):
    """Without waiting times nothing is honoured: unverified, or a breach where CPU time alone proves it."""
    monkeypatch.setattr(demand, "PROC", tmp_path)
    with Watch(child.pid) as watch:
        pass
    assert watch.spent is None
    assert Demand.measured(None, 1.0, 1.0).verdict(1) == "unverified"
    assert Demand.measured(None, 1.9, 1.0).verdict(1) == "breach"
    assert demand.read_process() == {}
    assert wait_until_quiet(child.pid, longest=0.01) is None


def test_threads_that_ended_count_by_the_process_time():
    """Where threads came and went unseen, the CPU time of the whole process stands in."""
    spent = Schedule(on_cpu=100_000_000, delay=50_000_000)
    assert Demand.measured(spent, 0.9, 1.0).cpus == pytest.approx(0.95)
    assert Demand.measured(spent, 0.0, 1.0).cpus == pytest.approx(0.15)


def test_waiting_ends_when_the_process_is_quiet(child):
    """An idle process is quiet at once; one that spins is waited for as long as allowed."""
    assert wait_until_quiet(child.pid, longest=5.0) < 1.0
    child.stdin.write("1\n")
    child.stdin.flush()
    deadline = time.monotonic() + 10
    while not demand.is_running(child.pid) and time.monotonic() < deadline:
        time.sleep(0.001)
    assert wait_until_quiet(child.pid, longest=10.0) < 9.0  # it works for 0.4 s
    assert child.stdout.readline() == "done\n"


def test_a_process_that_never_rests_is_waited_for_as_long_as_allowed(monkeypatch):
    """A worker whose threads spin for ever cannot stop the race."""
    monkeypatch.setattr(demand, "is_running", lambda pid: True)
    assert wait_until_quiet(os.getpid(), longest=0.02) == pytest.approx(0.02, abs=0.002)


def test_a_process_that_ended_is_quiet():
    """A worker that died is no reason to wait."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    assert demand.read_process(process.pid) == {}
    assert wait_until_quiet(process.pid) < 0.1


def test_own_threads_are_read():
    """The test itself has at least one thread, and it has used a CPU."""
    schedules = demand.read_process()
    assert str(os.getpid()) in schedules
    assert demand.total(schedules).on_cpu > 0


def test_a_thread_that_is_gone_has_no_schedule_and_none_add_up_to_none(tmp_path):
    """Its file is missing, empty, or holds something else."""
    assert demand.read_schedule(tmp_path) is None
    for text in ("", "1", "many few"):
        (tmp_path / "schedstat").write_text(text)
        assert demand.read_schedule(tmp_path) is None
    (tmp_path / "schedstat").write_text("12 3 4")
    assert demand.read_schedule(tmp_path) == Schedule(12, 3)
    assert demand.total({}) is None
