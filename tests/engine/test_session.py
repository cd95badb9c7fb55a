"""An objective shared between threads, forked, dropped, left open, interrupted: right numbers, nothing left behind."""

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from tests.support.kernels import WholeKernel

import sparsae
from sparsae import Backend, BackendError, Objective, Parameters
from sparsae.errors import UsageError
from sparsae.machine import limits

X = np.random.default_rng(0).random((900, 8))
THETAS = [Parameters.random(8, 5, seed=seed).flatten() for seed in range(6)]


def worker_threads():
    """Threads of our pools that are alive."""
    return [t for t in threading.enumerate() if t.name.startswith("sparsae-worker")]


def run_python(code, *, timeout=300, **options):
    """Run a script in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, **options)


@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("name", ["fused", "numpy"])
def test_threads_that_share_an_objective_get_the_numbers_of_one(name, opened):
    """Four threads, 60 evaluations each: the same bits as alone, with the block opened by another thread or not."""
    objective = Objective(X, 5, backend=name, threads=2, block_rows=100)
    expected = [objective(theta) for theta in THETAS]
    wrong, errors = [], []

    def work(number):
        try:
            for turn in range(60):
                which = (turn + number) % len(THETAS)
                cost, gradient = objective(THETAS[which])
                if cost != expected[which][0] or not np.array_equal(gradient, expected[which][1]):
                    wrong.append(turn)
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    if opened:
        objective.__enter__()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if opened:
        objective.__exit__(None, None, None)
    assert (wrong, errors) == ([], [])
    assert objective.evaluations == len(THETAS) + 240


def test_threads_that_call_backprop_get_the_numbers_of_one():
    """Its kernels are kept per thread; a call within a call has its own."""
    rng = np.random.default_rng(0)
    cases = [(rng.random((300, 8)), rng.random((300, 5)), rng.random((300, 8)), rng.random((8, 5)), rng.random(5))] * 3
    expected = sparsae.backprop(*cases[0], backend="fused")
    wrong = []

    def work():
        for _ in range(60):
            got = sparsae.backprop(*cases[0], backend="fused", threads=1)
            wrong.extend(1 for a, b in zip(got, expected, strict=True) if not np.array_equal(a, b))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_evaluation_within_an_evaluation_is_an_error_and_not_a_deadlock():
    """A kernel that evaluates its own objective; a block opened within its own block."""

    class Recursive(WholeKernel):
        def begin(self, parameters):
            objective(THETAS[0])
            return super().begin(parameters)

    objective = Objective(X, 5, backend=Backend("recursive", Recursive))
    with pytest.raises(UsageError, match="in the middle of an evaluation in this thread; it cannot be nested"):
        objective(THETAS[0])
    good = Objective(X, 5)
    with good, pytest.raises(UsageError, match="a with block of it is open"):
        good.__enter__()
    assert issubclass(UsageError, RuntimeError)


def test_closing_what_was_never_open_does_nothing():
    """Nor does closing it twice; the thread limits are what they were."""
    objective, before = Objective(X, 5, threads=1), limits.pools()
    objective.__exit__(None, None, None)
    with objective:
        cost = objective(THETAS[0])[0]
    objective.__exit__(None, None, None)
    assert (objective(THETAS[0])[0], limits.pools()) == (cost, before)


def test_a_fork_in_an_open_objective_has_workers_and_locks_of_its_own():
    """The child, and a child that is forked while another thread evaluates, get the parent's numbers and end."""
    done = run_python(
        """
        import os, threading, warnings, numpy as np, sparsae
        warnings.simplefilter("ignore")
        X = np.random.default_rng(0).random((3000, 8))
        theta = sparsae.Parameters.random(8, 5).flatten()

        def child(objective, expected):
            pid = os.fork()
            if pid == 0:
                code = 1
                try:
                    for _ in range(3):
                        code = 0 if objective(theta)[0] == expected else 2
                finally:
                    os._exit(code)
            return os.waitpid(pid, 0)[1]

        with sparsae.Objective(X, 5, threads=2, block_rows=100) as objective:
            expected = objective(theta)[0]
            print(child(objective, expected))
            stop = threading.Event()
            def busy():
                while not stop.is_set():
                    objective(theta)
            thread = threading.Thread(target=busy)
            thread.start()
            print([child(objective, expected) for _ in range(8)])
            stop.set()
            thread.join()
            print(objective(theta)[0] == expected)
        """,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )
    assert (done.stdout, done.stderr) == ("0\n[0, 0, 0, 0, 0, 0, 0, 0]\nTrue\n", "")


def test_an_objective_that_is_dropped_open_ends_its_threads_and_restores_the_limits():
    """A hundred of them; nobody calls `__exit__`."""
    before = [pool["num_threads"] for pool in limits.pools()]
    for _ in range(100):
        objective = Objective(X, 5, threads=2, block_rows=100)
        objective.__enter__()
        objective(THETAS[0])
        del objective
    gc.collect()
    deadline = time.monotonic() + 20
    while worker_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not worker_threads()
    assert [pool["num_threads"] for pool in limits.pools()] == before


def test_fits_leave_no_objects_behind():
    """The number of objects that the garbage collector tracks does not grow with the number of fits.

    In a process of its own: what other tests have left running makes objects, too.
    """
    done = run_python(
        """
        import gc, numpy as np
        from sparsae import Objective
        X, theta, counts = np.random.default_rng(0).random((900, 8)), np.zeros(93), []
        for number in range(13):
            objective = Objective(X, 5, threads=2, block_rows=100)
            with objective:
                objective(theta)
            del objective
            if number % 6 == 0:
                gc.collect()
                counts.append(len(gc.get_objects()))
        print(counts[2] - counts[1])
        """
    )
    assert done.stderr == ""
    assert int(done.stdout) < 12  # two a fit would be 12


def test_objectives_that_are_open_at_exit_say_nothing():
    """Three of them, in both kinds of threading; limits are restored before the exit handlers that were set earlier."""
    done = run_python(
        """
        import atexit, numpy as np
        from sparsae.machine.limits import pools
        before = [pool["num_threads"] for pool in pools()]
        atexit.register(lambda: print(before == [pool["num_threads"] for pool in pools()]))
        import sparsae
        X = np.random.default_rng(0).random((900, 8))
        kept = []
        for name in ("fused", "numpy", "dot"):
            objective = sparsae.Objective(X, 5, backend=name, threads=2, block_rows=100)
            objective.__enter__()
            objective(np.zeros(objective.size))
            kept.append(objective)
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), MemoryError(), StopIteration()])
def test_whatever_a_kernel_raises_in_a_worker_is_a_backend_error(error):
    """In the calling thread and in helpers; the objective works afterwards."""
    fails = threading.Event()

    class Fails(WholeKernel):
        def encode(self, weights, block):
            if fails.is_set():
                raise error
            return super().encode(weights, block)

    backend = Backend("fails", Fails, threading="workers")
    with Objective(X, 5, backend=backend, threads=2, block_rows=100) as objective:
        expected = objective(THETAS[0])[0]
        fails.set()
        with pytest.raises(BackendError, match=f"failed in segment . .*{type(error).__name__}"):
            objective(THETAS[0])
        fails.clear()
        assert objective(THETAS[0])[0] == expected


def test_what_limit_threads_raises_is_a_backend_error_and_the_limits_are_restored():
    """While it is called, entered and left."""
    before = [pool["num_threads"] for pool in limits.pools()]

    class Limit:
        def __init__(self, where):
            self.where = where

        def __enter__(self):
            if self.where == "enter":
                raise SystemExit(3)

        def __exit__(self, *_):
            if self.where == "exit":
                raise OSError("no")

    def call(where):
        def limit_threads(n):
            if where == "call":
                raise GeneratorExit
            return Limit(where)

        backend = Backend("own", WholeKernel, threading="own", limit_threads=limit_threads)
        Objective(X, 5, backend=backend, threads=1)(THETAS[0])

    for where in ("call", "enter", "exit"):
        with pytest.raises(BackendError, match="Backend 'own' failed in limit_threads: "):
            call(where)
        assert [pool["num_threads"] for pool in limits.pools()] == before


def test_a_thread_that_cannot_be_started_is_said(monkeypatch):
    """The system's limit: an error that says what would work, and nothing is left behind."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    objective = Objective(X, 5, threads=2, block_rows=100)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    with pytest.raises(BackendError, match=r"allows no more threads .*Ask for fewer with threads=1"):
        objective(THETAS[0])
    monkeypatch.undo()
    assert np.isfinite(objective(THETAS[0])[0])
