"""Interrupts while kernels work: at any moment, of kernels that never return, and before what a kernel raised."""

import signal
import subprocess
import sys
import textwrap
import time

import pytest

from sparsae import BackendError
from sparsae.engine import workers

DEADLOCK = """
    import sys, threading, numpy as np, sparsae
    from tests.support.kernels import WholeKernel
    from sparsae.engine import workers
    workers.GRACE = 1.0
    helper = threading.Event()
    class Stuck(WholeKernel):
        def encode(self, weights, block):
            if threading.current_thread() is not threading.main_thread():
                helper.set()
                print("stuck", flush=True)
                threading.Event().wait()
            helper.wait()
            return super().encode(weights, block)
    X = np.random.default_rng(0).random((900, 8))
    backend = sparsae.Backend("stuck", Stuck, threading="workers")
    if sys.argv[1] == "train":
        sparsae.train(X, 5, backend=backend, threads=2, block_rows=100)
    objective = sparsae.Objective(X, 5, backend=backend, threads=2, block_rows=100)
    try:
        objective(np.zeros(objective.size))
    except KeyboardInterrupt:
        try:
            objective(np.zeros(objective.size))
        except sparsae.BackendError as error:
            print(error)
        raise
"""


@pytest.mark.parametrize("how", ["objective", "train"])
def test_a_kernel_that_never_returns_can_be_interrupted(how):
    """The pool waits a bounded time and gives up; afterwards the objective says so instead of computing nonsense."""
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DEADLOCK), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stdout.readline() == "stuck\n", process.communicate()[1]
        time.sleep(0.5)
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        out, err = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode in (-signal.SIGINT, 1), err  # 1: of a subclass of KeyboardInterrupt, as `train` raises
    assert err.rstrip().splitlines()[-1].endswith(("KeyboardInterrupt", "SIGINT was received"))
    if how == "objective":
        assert "A kernel did not return after an interrupt and may still run" in out


STRESS = """
    import gc, os, signal, sys, threading, time, warnings, numpy as np, sparsae
    from sparsae.machine import limits
    warnings.simplefilter("ignore")
    X = np.random.default_rng(0).random((600, 8))
    theta = sparsae.Parameters.random(8, 5).flatten()
    expected = sparsae.Objective(X, 5, block_rows=50, threads=2)(theta)[0]
    arrays = [np.random.default_rng(0).random(s) for s in ((400, 8), (400, 5), (400, 8), (8, 5), (5,))]
    before = [pool["num_threads"] for pool in limits.pools()]
    rng = np.random.default_rng(int(sys.argv[1]))
    interrupted = 0

    def send(delay):
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGINT)

    for turn in range(60):
        sender = threading.Thread(target=send, args=(rng.uniform(0, 0.02),))
        objective = None
        try:
            try:
                sender.start()
                end = time.monotonic() + 0.1
                while time.monotonic() < end:
                    if turn % 3 == 0:
                        objective = sparsae.Objective(X, 5, block_rows=50, threads=2)
                        with objective:
                            assert objective(theta)[0] == expected
                    elif turn % 3 == 1:
                        sparsae.backprop(*arrays, threads=2)
                    else:
                        objective = objective or sparsae.Objective(X, 5, block_rows=50, threads=2)
                        assert objective(theta)[0] == expected
            finally:
                sender.join()
        except KeyboardInterrupt:
            interrupted += 1
        sender.join()
        del objective
        gc.collect()
        end = time.monotonic() + 5
        while any(t.name.startswith("sparsae-worker") for t in threading.enumerate()) and time.monotonic() < end:
            time.sleep(0.01)
        left = [t.name for t in threading.enumerate() if t.name.startswith("sparsae-worker")]
        now = [pool["num_threads"] for pool in limits.pools()]
        assert not left, (turn, left)
        assert now == before, (turn, now, before)
        assert not limits._REGISTRY._active, turn
    print(interrupted)
"""


@pytest.mark.parametrize("seed", [1, 2])
def test_interrupts_at_random_moments_leave_limits_and_threads_as_they_were(seed):
    """Sixty SIGINTs each: only KeyboardInterrupt comes out, no limit stays, no thread, no wrong number."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(STRESS), str(seed)], capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 30


def test_an_interrupt_comes_before_what_a_kernel_raised():
    """And an ordinary error is not hidden by the end of the run."""
    run = workers.SegmentRun(lambda *_: None, 1, str, None)
    run.fail(BackendError("first"))
    run.fail(BackendError("second"))
    assert str(run.error) == "first"
    run.fail(KeyboardInterrupt())
    assert isinstance(run.error, KeyboardInterrupt)
