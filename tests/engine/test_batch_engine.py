"""Mini-batches: the same bits for any number of workers, from any container, and the reference's numbers."""

from __future__ import annotations

import threading
from itertools import count
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import sparsae
from sparsae import Backend, DataError, Objective, Parameters, Sums
from sparsae.engine import batch_engine, row_reader
from sparsae.engine.batch_engine import BatchEngine
from sparsae.engine.npy_file import open_npy
from sparsae.engine.ordered_sum import OrderedSum
from sparsae.engine.row_reader import RowReader
from sparsae.engine.sources import DataSource
from sparsae.errors import BackendError, ParameterError
from sparsae.reference import evaluate_reference

X = np.random.default_rng(0).random((3000, 10))
ROWS = np.sort(np.random.default_rng(1).permutation(3000)[:777])
PARAMETERS = Parameters.random(10, 4, seed=2)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of a few hundred rows are cut."""
    monkeypatch.setattr(batch_engine, "LEAST_PRODUCTS", 1)


def engine_of(objective: Objective, *, direct: bool = False, batch_rows: int = 777) -> BatchEngine:
    return BatchEngine(
        *objective.sources,
        backend=objective.backend,
        problem=objective.problem,
        granted=objective.grant,
        batch_rows=batch_rows,
        direct=direct,
    )


def batch_sums(
    backend: Any, threads: int, rows: NDArray[np.intp] = ROWS, data: Any = X, target: Any = None, direct: bool = False
) -> tuple[Sums, NDArray[Any]]:
    """Sums over a mini-batch, evaluated twice, and their gradient."""
    parameters = PARAMETERS.astype(data.dtype)
    with Objective(data, 4, backend=backend, threads=threads, block_rows=64, target=target) as objective:
        engine = engine_of(objective, direct=direct)
        try:
            for _ in range(2):
                total, parts = engine.evaluate(parameters, lambda s: objective.cost.sparsity(s / len(rows)), rows)
        finally:
            engine.close()
        return total, np.sum(parts, axis=0)


@pytest.mark.filterwarnings("ignore::sparsae.errors.ThreadsWarning")
@pytest.mark.parametrize("direct", [False, True])
@pytest.mark.parametrize("name", ["fused", "dot", "loop", "numpy", "numba"])
def test_workers_never_change_a_bit_of_a_mini_batch(name: str, direct: bool) -> None:
    """1, 2, 3 and 8 workers, batches of 1, 64, 65 and 777 rows; the gradient is the reference's."""
    threads = (1, 2, 3, 8) if sparsae.get_backend(name).threading == "workers" else (1,)
    for size in (1, 64, 65, 777):
        found = [batch_sums(name, n, ROWS[:size], direct=direct) for n in threads]
        assert len({(total.vector[: total.layout.W1].tobytes(), g.tobytes()) for total, g in found}) == 1
        total, gradient = found[0]
        assert total.rows == size
        true = evaluate_reference(PARAMETERS, X[ROWS[:size]], weight_decay=0)
        np.testing.assert_allclose(total.squared_error, 2 * size * true.squared_error, rtol=1e-12)
        np.testing.assert_allclose(gradient[:94] / size, true.gradient.flatten(), rtol=1e-9, atol=1e-13)


def test_a_mini_batch_from_a_file_and_with_a_target_has_the_same_bits(tmp_path: Any) -> None:
    """Rows are gathered from wherever the data is."""
    target = X[::-1].copy()
    np.save(tmp_path / "x.npy", X)
    expected = batch_sums("fused", 2, target=target)[1]
    got = batch_sums("fused", 2, data=open_npy(tmp_path / "x.npy"), target=target)[1]
    np.testing.assert_array_equal(got, expected)


def test_sums_in_single_precision_where_the_kernel_offers_them() -> None:
    """float32 sums with `direct`, else float64; close to those of double precision."""
    single = X.astype(np.float32)
    exact = batch_sums("numpy", 1)[1]
    for direct, dtype in ((False, np.float64), (True, np.float32)):
        total, gradient = batch_sums("numpy", 1, data=single, direct=direct)
        assert total.vector.dtype == gradient.dtype == dtype
        np.testing.assert_allclose(gradient, exact, rtol=1e-4, atol=1e-4 * abs(exact).max())


@pytest.mark.parametrize("name", sorted(r.name for r in sparsae.list_backends() if r.state == "ready"))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_direct_sums_are_written_over_whatever_stands_in_their_matrices(name: str, dtype: Any) -> None:
    """The first block's W1 and W2 may hold NaN; the second block adds.  With and without activations given."""
    backend = sparsae.get_backend(name)
    problem = sparsae.Problem(n_visible=10, n_hidden=4, dtype=np.dtype(dtype), block_rows=40)
    kernel = backend.kernel(problem)
    if not kernel.direct_sums:
        pytest.skip(f"{name} has no direct sums")
    parameters, s = PARAMETERS.astype(dtype), np.linspace(0, 1, 4).astype(dtype)
    found = []
    for fill in (0.0, np.nan):
        sums = Sums(10, 4, np.zeros(Sums(10, 4).layout.size, dtype))
        sums.W1[...] = sums.W2[...] = fill
        weights = kernel.begin(parameters)
        for number, start in enumerate((0, 40)):
            x = X[start : start + 40 - 7 * number].astype(dtype)
            block = kernel.prepare(x, x, False)
            hidden = kernel.encode(weights, block)[0] if number else None
            kernel.accumulate(weights, block, hidden, s, sums)
        kernel.finish(weights, sums)
        assert sums.rows == 73
        found.append(sums.gradient.tobytes())
    assert found[0] == found[1]


def test_rows_are_read_ahead_in_another_thread(tmp_path: Any) -> None:
    """Those asked for; other rows are read when they are needed; errors come where the rows are taken."""
    np.save(tmp_path / "x.npy", X)
    source = DataSource(open_npy(tmp_path / "x.npy"), "X")
    threads: list[str] = []
    take = source.take
    source.take = lambda *given: threads.append(threading.current_thread().name) or take(*given)  # type: ignore[method-assign]
    reader = RowReader(source, source, sparsae.Problem(n_visible=10, n_hidden=4, dtype=np.dtype(np.float64)))
    reader.read_ahead(ROWS)
    np.testing.assert_array_equal(reader.take_ahead(ROWS)[0], X[ROWS])
    reader.read_ahead(ROWS)
    np.testing.assert_array_equal(reader.take_ahead(ROWS[:5])[0], X[ROWS[:5]])
    reader.read_ahead(np.array([5000]))
    with pytest.raises(DataError):
        reader.take_ahead(np.array([5000]))
    reader.close()
    assert sorted(threads) == ["MainThread", *["sparsae-reader"] * 3]
    assert not [thread for thread in threading.enumerate() if thread.name == "sparsae-reader"]


def test_a_reader_has_a_thread_of_its_own_after_a_fork(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was asked for before is read again; the parent's thread is asked for nothing, and is not waited for."""
    np.save(tmp_path / "x.npy", X)
    source = DataSource(open_npy(tmp_path / "x.npy"), "X")
    reader = RowReader(source, source, sparsae.Problem(n_visible=10, n_hidden=4, dtype=np.dtype(np.float64)))
    reader.read_ahead(ROWS)
    parent, requests = reader._thread, reader._requests
    assert parent is not None
    monkeypatch.setattr(row_reader, "os", SimpleNamespace(getpid=lambda: -1))
    np.testing.assert_array_equal(reader.take_ahead(ROWS)[0], X[ROWS])
    reader.read_ahead(ROWS[:9])
    child = reader._thread
    assert child not in (None, parent)
    np.testing.assert_array_equal(reader.take_ahead(ROWS[:9])[0], X[ROWS[:9]])
    reader.close()
    assert child is not None
    assert (child.is_alive(), parent.is_alive()) == (False, True)
    requests.put(None)
    parent.join(60)


def test_a_reader_that_is_dropped_ends_its_thread(tmp_path: Any) -> None:
    """Without `close`."""
    np.save(tmp_path / "x.npy", X)
    source = DataSource(open_npy(tmp_path / "x.npy"), "X")
    reader = RowReader(source, source, sparsae.Problem(n_visible=10, n_hidden=4, dtype=np.dtype(np.float64)))
    reader.read_ahead(ROWS)
    [thread] = [thread for thread in threading.enumerate() if thread.name == "sparsae-reader"]
    del reader
    thread.join(300)
    assert not thread.is_alive()


@pytest.mark.parametrize("order", [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]])
def test_sums_are_added_in_the_order_of_the_blocks(order: list[int]) -> None:
    """Whatever the order in which they come; with one worker two buffers are enough."""
    values = np.random.default_rng(0).normal(size=(5, Sums(3, 2).layout.size))
    made = []

    def make() -> Sums:
        made.append(Sums(3, 2))
        return made[-1]

    ordered = OrderedSum(make, lambda sums: sums.vector.fill(0))
    for _ in range(2):
        ordered.restart(5)
        for block in order:
            sums = ordered.buffer()
            sums.vector[:] = values[block]
            ordered.add(block, sums)
        total, last = ordered.parts()
        expected = ((values[0] + values[1]) + values[2]) + values[3]
        np.testing.assert_array_equal(total.head, expected[: total.layout.head_size])
        np.testing.assert_array_equal(last.vector, values[4])
    assert len(made) == {0: 2, 4: 5, 2: 4}[order[0]]


def test_a_worker_that_is_far_ahead_of_a_slow_one_waits_for_it() -> None:
    """So that no more sums are kept than it may be ahead, and two; the wait ends when the run is cancelled."""
    made: list[Sums] = []

    def make() -> Sums:
        made.append(Sums(3, 2))
        return made[-1]

    def cancelled() -> None:
        raise ZeroDivisionError

    ordered, ahead = OrderedSum(make, lambda sums: sums.vector.fill(0)), 2
    ordered.restart(7)
    for first in (0, 3):
        slow = ordered.buffer()
        for block in (first + 1, first + 2):
            ordered.wait_until_near(block, ahead, cancelled)
            ordered.add(block, ordered.buffer())
        with pytest.raises(ZeroDivisionError):
            ordered.wait_until_near(first + 3, ahead, cancelled)
        ordered.add(first, slow)
        ordered.wait_until_near(first + 3, ahead, cancelled)
    assert len(made) == ahead + 2


def test_what_a_kernel_raises_in_a_mini_batch_names_backend_and_rows() -> None:
    """In one block and in several."""

    class Fails(sparsae.SimpleKernel):
        def backprop(self, a1: Any, a2: Any, a3: Any, W2: Any, sparsity: Any, target: Any) -> Parameters:
            raise ValueError("no such axis")

    for size, last in ((40, 39), (777, r"\d+")):
        with pytest.raises(BackendError, match=rf"'mine' failed in rows \d+ to {last} of a mini-batch: ValueError"):
            batch_sums(Backend("mine", Fails, threading="workers"), 2, ROWS[:size])


@pytest.mark.filterwarnings("ignore::sparsae.errors.ThreadsWarning")
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("fault", ["begin", "prepare", "encode", "sparsity"])
def test_workers_that_wait_for_what_cannot_be_computed_leave(fault: str, threads: int) -> None:
    """The weights, a block, one block's activations fail, or the vector is refused; the engine works the next time."""

    def refuse(total: Any) -> Any:
        raise ParameterError("too large a beta")

    with Objective(X, 4, backend="fused", threads=threads, block_rows=64) as objective:
        engine = engine_of(objective)
        sparsity = lambda total: objective.cost.sparsity(total / len(ROWS))  # noqa: E731
        try:
            if fault == "sparsity":
                with pytest.raises(ParameterError, match="too large a beta"):
                    engine.evaluate(PARAMETERS, refuse, ROWS)
            else:
                with pytest.MonkeyPatch.context() as patch:
                    calls, at = count(), {"begin": 0, "prepare": 1, "encode": 3}[fault]
                    whole = getattr(type(engine.kernels[0]), fault)

                    def fail(*arguments: Any) -> Any:
                        if next(calls) == at:
                            raise ValueError("no such axis")
                        return whole(*arguments)

                    patch.setattr(type(engine.kernels[0]), fault, fail)
                    where = "failed in begin" if fault == "begin" else "of a mini-batch"
                    with pytest.raises(BackendError, match=f"{where}: ValueError: no such axis"):
                        engine.evaluate(PARAMETERS, sparsity, ROWS)
            assert engine.evaluate(PARAMETERS, sparsity, ROWS).total.rows == 777
        finally:
            engine.close()


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
def test_values_of_streamed_data_are_checked_in_mini_batches(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an evaluation of all rows before: a NaN in a file is an error that says where."""
    monkeypatch.setattr("sparsae.engine.storage.SHARE", 1 << 60)
    bad = X.copy()
    bad[1234, 5] = np.nan
    np.save(tmp_path / "x.npy", bad)
    with pytest.raises(DataError, match=r"1 value.*row 1234.*column 5"):
        sparsae.train(open_npy(tmp_path / "x.npy"), 4, method="adam", max_iter=1, block_rows=64)
