"""The pool of row workers: what a run leaves behind."""

import threading
from queue import SimpleQueue

from sparsae.engine.workers import WorkerPool


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


class KnownQueue(SimpleQueue):
    """A queue that can be found in a pool."""
