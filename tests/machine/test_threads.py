"""Budgets and limits: what is granted, that it is in force, and that it is given back."""

import threading
import warnings

import numpy as np
import pytest
import threadpoolctl

import sparsae
from sparsae.errors import ThreadsWarning
from sparsae.machine import resources, threads
from sparsae.machine.limits import limit, pools
from sparsae.machine.threads import CpuBudget, cpu_budget, grant


def blas():
    """Thread counts of the BLAS pools."""
    return [pool["num_threads"] for pool in pools() if pool["user_api"] == "blas"]


def test_budget_is_the_least_of_what_limits_it():
    """Affinity, the quota rounded up, the limit in force on the pools; never below one."""
    assert CpuBudget(8, None, None).granted == 8
    assert CpuBudget(8, 2.5, None).granted == 3
    assert CpuBudget(8, 2.5, 1).granted == 1
    assert CpuBudget(8, 0.2, 4).granted == 1


def test_budget_sees_a_limit_in_force_but_not_our_own():
    """Inside somebody's limit of 1 (a joblib worker) the budget is 1; our own limit of 1 does not shrink it."""
    free = cpu_budget().granted
    with threadpoolctl.threadpool_limits(1, user_api="blas"):
        assert cpu_budget().granted == 1
    with limit(1):
        assert cpu_budget().granted == free


@pytest.mark.parametrize(
    ("threading", "requested", "granted", "workers", "pool"),
    [
        ("workers", 2, 2, 2, 1),
        ("blas", 2, 2, 1, 2),
        ("own", 2, 2, 1, 2),
        ("none", 2, 1, 1, 1),
        ("workers", None, 2, 2, 1),
        ("blas", None, 2, 1, 2),
    ],
)
def test_a_budget_is_spent_as_threading_says(monkeypatch, threading, requested, granted, workers, pool):
    """Row workers with BLAS at one, or everything to one pool."""
    monkeypatch.setattr(threads, "cpu_budget", lambda: CpuBudget(2, None, None))
    got = grant(requested, threading)
    assert (got.granted, got.workers, got.pool, got.notes) == (granted, workers, pool, ())


def test_more_than_the_budget_is_said_and_honoured_for_row_workers_alone(monkeypatch):
    """Both numbers stand in the warning; BLAS and own pools are clamped."""
    monkeypatch.setattr(threads, "cpu_budget", lambda: CpuBudget(2, None, None))
    said = r"7 threads were asked for and the CPU budget is 2 \(this process may run on 2 CPUs\); "
    with pytest.warns(ThreadsWarning, match=said + "honoured"):
        assert grant(7, "workers").workers == 7
    for kind in ("blas", "own"):
        with pytest.warns(ThreadsWarning, match=said + "clamped to 2"):
            assert grant(7, kind).pool == 2


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"OMP_NUM_THREADS": "1"}, "the environment variable OMP_NUM_THREADS=1 set it when the library was loaded"),
        ({"OPENBLAS_NUM_THREADS": "1"}, "the environment variable OPENBLAS_NUM_THREADS=1"),
        ({}, "the BLAS pools are limited to 1 thread by the caller"),
    ],
)
def test_a_budget_below_the_cpus_names_its_reason(monkeypatch, variables, reason):
    """The variable where one is set to that number, the caller's limit otherwise, the quota where that is the least."""
    for name in threads.THREAD_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert CpuBudget(2, None, 1).reason.startswith(reason)
    assert CpuBudget(8, 1.5, None).reason == "the control group's quota is 1.5 CPUs"


def fail(missed):
    """Look at what is in force, then raise."""
    assert missed == ()
    assert {pool["num_threads"] for pool in pools()} == {1}
    raise ZeroDivisionError


def test_limit_is_in_force_inside_and_gone_after_an_exception():
    """Every pool reads one inside; all are as before, also after an exception."""
    before = pools()
    with pytest.raises(ZeroDivisionError), limit(1) as missed:
        fail(missed)
    assert pools() == before


def test_limits_nest_and_overlap_between_threads():
    """A fit in another thread that begins inside ours and ends after it leaves the pools as they were at first."""
    before = blas()
    inside, leave = threading.Event(), threading.Event()

    def other():
        with limit(1):
            inside.set()
            leave.wait(300)

    thread = threading.Thread(target=other)
    with limit(1):
        with limit(1):
            assert set(blas()) == {1}
        assert set(blas()) == {1}
        thread.start()
        inside.wait(300)
    assert set(blas()) == {1}, "the other thread's limit is still in force"
    leave.set()
    thread.join()
    assert blas() == before


def test_a_limit_that_is_not_honoured_is_reported():
    """Threadpoolctl ignores a second thread's wish without a word; we say so."""
    if max(blas()) < 2:
        pytest.skip("one CPU: every pool has one thread already")
    held, leave = threading.Event(), threading.Event()

    def user():
        with threadpoolctl.threadpool_limits(2, user_api="blas"):
            held.set()
            leave.wait(300)

    thread = threading.Thread(target=user)
    thread.start()
    held.wait(300)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            with limit(1) as missed:
                honoured = set(blas()) == {1}
    finally:
        leave.set()
        thread.join()
    assert honoured != bool(missed)  # older releases of threadpoolctl do honour it
    assert bool(missed) == any(issubclass(w.category, ThreadsWarning) for w in caught)
    if missed:
        assert "where 1 were asked for: another thread of this process controls the pool" in missed[0]


def test_the_fit_holds_the_limit_around_the_loop(digits):
    """Inside the objective's block BLAS has what the backend's threading says, outside what it had."""
    before = blas()
    for backend, inside in (("dot", 1), ("loop", 1), ("numpy", min(2, cpu_budget().granted))):
        with sparsae.Objective(digits, 5, backend=backend, threads=min(2, cpu_budget().granted)) as objective:
            objective(np.zeros(objective.size))
            assert set(blas()) == {inside}
        assert blas() == before


def test_use_backend_and_environment_give_threads(monkeypatch, digits):
    """Argument > use_backend > SPARSAE_THREADS > budget."""
    monkeypatch.setattr(threads, "cpu_budget", lambda: CpuBudget(9, None, None))

    def granted(**options):
        return sparsae.Objective(digits, 5, backend="dot", **options).receipt.threads_granted

    assert granted() == 9
    monkeypatch.setenv("SPARSAE_THREADS", "4")
    assert granted() == 4
    with sparsae.use_backend(threads=3):
        assert granted() == 3
        assert granted(threads=2) == 2
    assert granted() == 4
    monkeypatch.setenv("SPARSAE_THREADS", "several")
    with pytest.raises(sparsae.ParameterError, match=r"SPARSAE_THREADS.*'several'"):
        granted()


def test_cgroup_limits_are_read(monkeypatch, tmp_path):
    """Both versions of control groups, the least along the path, and silence where there are none."""
    cpus = resources.cgroup_cpus.__wrapped__  # as read the first time
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    monkeypatch.setattr(resources, "PROC_CGROUP", tmp_path / "self")
    assert cpus() is None
    (tmp_path / "self").write_text("0::/a/b\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "cpu.max").write_text("max 100000\n")
    (tmp_path / "a" / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "a" / "memory.max").write_text("1048576\n")
    assert cpus() == 1.5
    assert resources.memory_limit.__wrapped__() == 1 << 20
    (tmp_path / "self").write_text("4:cpu,cpuacct:/x\n3:memory:/x\n")
    (tmp_path / "cpu,cpuacct" / "x").mkdir(parents=True)
    (tmp_path / "cpu,cpuacct" / "x" / "cpu.cfs_quota_us").write_text("50000\n")
    (tmp_path / "cpu,cpuacct" / "x" / "cpu.cfs_period_us").write_text("100000\n")
    assert cpus() == 0.5
    assert resources.whole_cpus(0.5) == 1
