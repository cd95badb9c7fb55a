"""The cost model: what its terms are made of, and what must hold for any cluster."""

from __future__ import annotations

import pickle
from dataclasses import replace
from math import ceil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsae.distributed.connection import INLINE_BYTES
from sparsae.engine.partition import TreeSum
from sparsae.model import Parameters
from sparsae.planning import Constants, Workload, predict
from sparsae.planning.cost_model import best_workers, rows_for_efficiency

WORK = Workload(n_samples=1_200_000, n_visible=64, n_hidden=25, itemsize=4, block_rows=1000)
COSTS = Constants(
    row_seconds=1e-6,
    round_seconds=0.01,
    task_seconds=0.001,
    send_seconds=1e-9,
    receive_seconds=2e-9,
    add_seconds=1e-9,
    process_bytes=1 << 27,
)
FREE = replace(COSTS, round_seconds=0, task_seconds=0, send_seconds=0, receive_seconds=0, add_seconds=0)


@pytest.mark.parametrize("whole", [True, False])
def test_bytes_are_those_that_travel(whole):
    """Parameters and sums have the sizes of the real ones."""
    work = replace(WORK, with_sparsity=whole)
    sums = TreeSum(64, 25, 1, with_sparsity=whole).cleared_sums()
    assert work.sums_bytes == (sums.vector if whole else sums.head).nbytes
    parameters = Parameters.random(64, 25).astype(np.dtype(np.float32))
    assert work.parameter_bytes == sum(part.nbytes for part in parameters if part is not None)
    assert len(pickle.dumps(parameters)) < work.parameter_bytes + 1000


@pytest.mark.parametrize(("workers", "threads"), [(1, 1), (2, 1), (4, 3), (12, 1)])
def test_an_even_cut_takes_the_rows_of_a_thread(workers, threads):
    """Twelve segments that divide evenly: without other costs only rows count."""
    found = predict(WORK, FREE, workers, threads)
    assert found.seconds == found.compute == pytest.approx(1.2 / (workers * threads))
    assert found.efficiency == 1
    assert found.rows_bytes == pytest.approx(1_200_000 / workers * 64 * 4)


def test_segments_that_do_not_divide_evenly_wait_for_the_last():
    """Twelve segments on five workers: one has three; on two threads these take two turns."""
    assert predict(WORK, FREE, 5, 1).compute == pytest.approx(0.3)
    assert predict(WORK, FREE, 5, 2).compute == pytest.approx(0.2)
    assert predict(WORK, FREE, 100, 1).compute == pytest.approx(0.1)  # no more than twelve have one


def test_every_term_is_the_sum_of_its_messages():
    """Two workers: two tasks, parameters twice, and a subtree of six segments each, which are 4 + 2."""
    found = predict(WORK, COSTS, 2, 1)
    assert found.scheduler == pytest.approx(0.01 + 2 * 0.001)
    assert found.broadcast == pytest.approx(2 * WORK.parameter_bytes * 1e-9)
    assert found.reduction == pytest.approx(4 * WORK.sums_bytes * 3e-9)
    twice = predict(replace(WORK, rounds=2), COSTS, 2, 1)
    assert (twice.scheduler, twice.broadcast) == pytest.approx((2 * found.scheduler, 2 * found.broadcast))


def test_large_parameters_pass_the_scheduler_once():
    """Above the limit they travel from worker to worker, which doubles those that have them each time."""
    wide = replace(WORK, n_visible=784, n_hidden=1000)
    assert wide.parameter_bytes > INLINE_BYTES
    for workers, copies in ((1, 0), (2, 1), (5, 3), (8, 3)):
        expected = wide.parameter_bytes * (1e-9 + copies * 2e-9)
        assert predict(wide, COSTS, workers, 1).broadcast == pytest.approx(expected)


@settings(max_examples=40)
@given(
    m=st.integers(1, 10**8), workers=st.integers(1, 300), threads=st.integers(1, 64), block_rows=st.integers(16, 10**5)
)
def test_compute_is_never_less_than_the_rows_of_a_thread(m, workers, threads, block_rows):
    """Whatever the cut: every row is done once, and memory has room for the rows."""
    work = replace(WORK, n_samples=m, block_rows=block_rows)
    found = predict(work, COSTS, workers, threads)
    assert found.compute >= 0.999 * m * COSTS.row_seconds / (workers * threads)
    assert found.keeping_bytes > 8 * found.rows_bytes >= 8 * (m // workers * work.row_bytes)
    assert found.least_bytes == found.keeping_bytes - 8 * found.rows_bytes > COSTS.process_bytes
    assert found.seconds >= found.compute + COSTS.round_seconds


def test_the_best_number_of_workers_is_the_fastest_of_all():
    """Where tasks cost more than another worker saves, fewer are better."""
    slow = replace(COSTS, task_seconds=0.05)
    every = {n: predict(WORK, slow, n, 1).seconds for n in range(1, 13)}
    assert best_workers(WORK, slow, 1, 12) == min(every, key=every.__getitem__) < 12
    assert best_workers(WORK, FREE, 1, 12) == 12
    assert best_workers(replace(WORK, n_samples=1000), COSTS, 1, 1000) == 1


def test_rows_for_an_efficiency_reach_it():
    """So many rows, cut evenly, take the share of the time that was asked for."""
    for share in (0.5, 0.9):
        rows = rows_for_efficiency(WORK, COSTS, 4, 3, share)
        found = predict(WORK, COSTS, 4, 3)
        compute = rows * COSTS.row_seconds / 12
        rest = found.broadcast + found.reduction + found.scheduler
        assert compute / (compute + rest) == pytest.approx(share, rel=1e-3)
        assert rows == ceil(rows)
