"""The pool of row workers: what a run leaves behind."""

import threading
import warnings
from queue import SimpleQueue
from types import SimpleNamespace

import numpy as np
import pytest

from sparsae.engine import workers
from sparsae.engine.workers import WorkerPool
from sparsae.errors import BackendError


def test_runs_leave_no_wake_ups(monkeypatch):
    """Where the calling thread is the last to finish, it reads no wake-up; they do not pile up in the pool."""
    monkeypatch.setattr("sparsae.engine.workers.SimpleQueue", KnownQueue)
    pool, caller = WorkerPool([object(), object()]), threading.current_thread()

    def task(kernel, segment, run):
        """In the calling thread: let the other worker leave the run first."""
        if threading.current_thread() is caller:
            for _ in range(10_000):
                if run.finished:
                    break
                threading.Event().wait(0.001)

    for _ in range(5):
        pool.run(task, 2, str)
    pool.close()
    held = [value for value in vars(pool).values() if isinstance(value, KnownQueue)]
    assert sum(queue.qsize() for queue in held) == 0


def in_both(pool, do):
    """Call ``do()`` in the pool's other thread, within a run of both."""
    caller, done = threading.current_thread(), threading.Event()

    def task(kernel, segment, run):
        if threading.current_thread() is caller:
            for _ in range(10_000):  # until the other worker has left, also where it failed
                if run.finished or done.wait(0.01):
                    break
        elif not done.is_set():
            do()
            done.set()

    pool.run(task, 2, str)
    return done.is_set()


def test_a_pool_can_be_closed_by_one_of_its_threads():
    """As when the last reference to an objective is dropped there: the thread does not wait for itself."""
    pool, threads = WorkerPool([object(), object()]), []
    assert in_both(pool, lambda: (threads.append(threading.current_thread()), pool.close()))
    threads[0].join(60)
    assert not threads[0].is_alive()
    assert in_both(pool, lambda: threads.append(threading.current_thread()))
    assert threads[0] is not threads[1]
    pool.close()


def test_what_goes_wrong_beside_the_task_in_a_worker_is_raised_by_the_run(monkeypatch):
    """It is not lost in a thread that nobody looks at, and the run ends."""
    caller, update = threading.current_thread(), workers.CpuBalancer.update

    def fail(balancer, worker):
        if threading.current_thread() is not caller:
            raise ZeroDivisionError("in the balancer")
        update(balancer, worker)

    monkeypatch.setattr(workers.CpuBalancer, "update", fail)
    pool = WorkerPool([object(), object()])
    with pytest.raises(ZeroDivisionError, match="in the balancer"):
        in_both(pool, None)
    pool.close()


@pytest.mark.parametrize("first", ["run", "close"])
def test_a_pool_forgets_its_threads_after_a_fork(monkeypatch, first):
    """They are in the parent alone: the child neither waits for them nor tells them to end, and starts its own."""
    pool, threads = WorkerPool([object(), object()]), []
    assert in_both(pool, lambda: threads.append(threading.current_thread()))
    parents = pool._jobs[0]
    monkeypatch.setattr(workers, "os", SimpleNamespace(getpid=lambda: -1))
    if first == "close":
        pool.close()
    assert in_both(pool, lambda: threads.append(threading.current_thread()))
    pool.close()
    assert (threads[0].is_alive(), threads[1].is_alive()) == (True, False)
    parents.put(None)
    threads[0].join(60)


class KnownQueue(SimpleQueue):
    """A queue that can be found in a pool."""


@pytest.mark.parametrize("workers", [1, 2])
def test_the_flag_for_invalid_values_alone_is_no_warning(workers):
    """Products of BLAS raise it with a right result now and then; other flags are spoken of."""

    def invalid(kernel, segment, run):
        assert np.isnan(np.float64(np.inf) - np.float64(np.inf))

    def divides(kernel, segment, run):
        assert np.isinf(np.float64(1) / np.float64(0))

    pool = WorkerPool([object()] * workers)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            pool.run(invalid, 4, str)
            with pytest.raises(BackendError, match="divide by zero"):
                pool.run(divides, 4, str)
    finally:
        pool.close()
