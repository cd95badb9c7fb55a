"""Workers, passes, storage: the same bits at any count, and nothing left behind when something goes wrong."""

import _thread
import threading
import time

import numpy as np
import pytest
from tests.support.kernels import WholeKernel

import sparsae
from sparsae import Backend, BackendError, Objective, Parameters
from sparsae.errors import UsageError


def data(m, n, *, dtype=np.float64, seed=0):
    """Uniform rows."""
    return np.random.default_rng(seed).random((m, n)).astype(dtype)


@pytest.mark.filterwarnings("ignore::sparsae.errors.ThreadsWarning")
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1, 1), (17, 3, 2), (1003, 13, 7), (2500, 64, 25)])
def test_workers_never_change_a_bit(backend, dtype, shape):
    """1, 2, 3 and 8 row workers give the same bits, in either number of passes, in memory and streamed."""
    if sparsae.get_backend(backend).threading not in ("workers", "none"):
        return  # promised for these two alone; the receipt of the others says so (test_receipt_notes_threads)
    m, n, p = shape
    X = data(m, n, dtype=dtype)
    theta = Parameters.random(n, p, seed=1).flatten()
    for passes in (1, 2):
        found = set()
        for workers in (1, 2, 3, 8):
            with Objective(X, p, backend=backend, threads=workers, block_rows=29, passes=passes) as objective:
                for _ in range(2):
                    cost, gradient = objective(theta)
                    found.add((cost.hex(), gradient.tobytes()))
        assert len(found) == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [{"activation": "relu"}, {"activation": "topk", "k": 4}], ids=str)
def test_an_evaluation_is_the_same_when_it_is_repeated(options, dtype):
    """Sums that are used again hold nothing of the evaluation before: kernels that write them, in either dtype."""
    for name in ("fused", "numpy", "loop"):
        with Objective(data(300, 12, dtype=dtype), 16, backend=name, block_rows=64, **options) as objective:
            theta = objective.random_parameters().flatten()
            first = objective(theta)
            for again in (objective(theta), objective(theta)):
                assert again[0] == first[0]
                np.testing.assert_array_equal(again[1], first[1])


def test_what_is_done_once_an_evaluation_is_shared_by_the_workers(monkeypatch):
    """Cast, last addition and gradient of a wide model have the same bits; tasks see this thread's settings."""
    monkeypatch.setattr(sparsae.engine.engine, "LEAST_SPREAD", 2)
    X = np.random.default_rng(0).random((40, 300), dtype=np.float32)
    theta = Parameters.random(300, 290).flatten()
    found = []
    for workers in (1, 2):
        with Objective(X, 290, backend="numpy", threads=workers, block_rows=20) as objective:
            found += [objective(theta), objective(theta)]
            seen, names = [], set()

            def look(index, seen=seen, names=names):
                names.add(threading.current_thread().name)
                seen.append((index, np.geterr()["over"]))

            with np.errstate(over="call"):
                objective.engine.run_tasks(look, 100)
            assert sorted(seen) == [(index, "call") for index in range(100)]
            assert len(names) <= workers
    for cost, gradient in found[1:]:
        assert cost == found[0][0]
        np.testing.assert_array_equal(gradient, found[0][1])


def test_receipt_notes_where_bits_may_depend_on_threads():
    """For "blas" and "own" backends the receipt says that the last bits may depend on the thread count."""
    X = data(50, 4)
    receipts = {name: Objective(X, 2, backend=name, threads=2).receipt for name in ("numpy", "dot")}
    assert any("last bits may depend" in note for note in receipts["numpy"].notes)
    assert not any("last bits may depend" in note for note in receipts["dot"].notes)


def test_each_worker_has_a_kernel_of_its_own_and_no_more_than_needed():
    """One instance per worker, never two threads on one; never more workers than segments."""
    used = {}

    class Spy(WholeKernel):
        def encode(self, weights, block):
            used.setdefault(id(self), set()).add(threading.get_ident())
            time.sleep(0.002)
            return super().encode(weights, block)

    spy = Backend("spy", Spy, threading="workers")
    X = data(640, 4)
    with Objective(X, 3, backend=spy, threads=2, block_rows=32) as objective:
        for _ in range(5):
            objective(np.zeros(objective.size))
    assert len(used) == 2
    assert all(len(threads) == 1 for threads in used.values())
    with Objective(X, 3, backend=spy, threads=2, block_rows=640) as objective:
        assert objective.receipt.workers == 1


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("where", ["prepare", "encode", "accumulate"])
def test_an_exception_in_a_worker_surfaces_once_with_the_segment(workers, where):
    """The cause is chained, the rows are named, and the objective can be used again."""
    broken = threading.Event()

    class Fails(WholeKernel):
        def _maybe(self, name, x):
            if name == where and broken.is_set() and x[0, 0] == 0.75:
                raise RuntimeError("out of luck")

        def prepare(self, x, target, keep):
            self._maybe("prepare", x)
            return super().prepare(x, target, keep)

        def encode(self, weights, block):
            self._maybe("encode", block[0])
            return super().encode(weights, block)

        def accumulate(self, weights, block, a2, sparsity, into):
            self._maybe("accumulate", block[0])
            super().accumulate(weights, block, a2, sparsity, into)

    X = np.full((120, 3), 0.5)
    X[70] = 0.75
    fails = Backend("fails", Fails, threading="workers")
    with Objective(X, 2, backend=fails, threads=workers, block_rows=10) as objective:
        theta = Parameters.random(3, 2).flatten()
        broken.set()
        message = r"Backend 'fails' failed in segment 7 \(rows 70 to 79\): RuntimeError: out of luck"
        with pytest.raises(BackendError, match=message) as caught:
            objective(theta)
        assert isinstance(caught.value.__cause__, RuntimeError)
        broken.clear()
        assert np.isfinite(objective(theta)[0])


@pytest.mark.parametrize("method", ["begin", "finish"])
def test_what_is_done_once_an_evaluation_is_named_when_it_fails(method):
    """The kernel's begin and finish: the backend and the method stand in the message, the cause is chained."""

    def fail(self, *_):
        raise RuntimeError("out of luck")

    fails = Backend("fails", type("Fails", (WholeKernel,), {method: fail}), threading="workers")
    with pytest.raises(BackendError, match=f"Backend 'fails' failed in {method}: RuntimeError: out of luck") as caught:
        Objective(np.full((5, 3), 0.5), 2, backend=fails)(np.zeros(17))
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_interrupt_stops_within_a_block_and_leaves_no_thread():
    """Ctrl-C in the middle of an evaluation: raised once, after the other worker has left its block."""
    working = threading.Event()

    class Slow(WholeKernel):
        def encode(self, weights, block):
            working.set()
            time.sleep(0.01)
            return super().encode(weights, block)

    slow = Backend("slow", Slow, threading="workers")
    X = data(2000, 3)
    objective = Objective(X, 2, backend=slow, threads=2, block_rows=1)

    def interrupt():
        working.wait()
        time.sleep(0.05)
        _thread.interrupt_main()

    started = time.perf_counter()
    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt), objective:
        objective(np.zeros(objective.size))
    thread.join()
    assert time.perf_counter() - started < 5  # 2,000 blocks would take ten seconds: it did stop early
    assert not [t for t in threading.enumerate() if t.name.startswith("sparsae-worker")]


def test_threads_end_with_the_block_and_without_one_with_the_call():
    """No thread outlives the fit."""
    X = data(500, 4)
    objective = Objective(X, 2, threads=2, block_rows=50)

    def workers():
        return [t for t in threading.enumerate() if t.name.startswith("sparsae-worker")]

    with objective:
        objective(np.zeros(objective.size))
        assert len(workers()) == 1
    assert not workers()
    objective(np.zeros(objective.size))
    assert not workers()


def test_an_objective_is_not_nested():
    """Holding the limits twice at the same time is misuse, and said."""
    objective = Objective(data(5, 3), 2)
    with objective, pytest.raises(UsageError, match="in use already"), objective:
        pass
