"""What runs in a worker process, called in this one: Dask ends those by a signal, so that nothing sees their lines."""

from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np
import pytest

from sparsae import Parameters
from sparsae.distributed.batch_shard import BatchShard
from sparsae.distributed.dask_data import _first_and_last, check_chunk
from sparsae.distributed.placement import Subtree, complete_subtrees
from sparsae.distributed.process import worker_limits
from sparsae.distributed.shard import Shard
from sparsae.distributed.tasks import FitDescription, Work
from sparsae.engine.batch_threshold import Largest
from sparsae.engine.npy_file import open_npy
from sparsae.engine.partition import Partition
from sparsae.plugins.contract import Problem

RNG = np.random.default_rng(0)
X, TARGET = RNG.random((300, 6)), RNG.random((300, 6))
PARAMETERS = Parameters.random(6, 4, seed=1)
PARTITION = Partition(300, 10)  # 30 blocks in 12 segments
SUBTREES = complete_subtrees(range(PARTITION.n_segments), PARTITION.n_segments)
SPARSITY = np.linspace(-0.1, 0.1, 4)


def describe(backend: str = "numpy", **options: Any) -> FitDescription:
    problem = Problem(n_visible=6, n_hidden=4, dtype=np.dtype(float), block_rows=10)
    given: dict[str, Any] = {"x": None, "target": None, "separate_target": True, "threads": 2}
    return FitDescription(backend=backend, problem=problem, **(given | options))


def travelled(partition: Partition) -> Any:
    """All rows as they are sent with a task."""
    bounds = [partition.segment_rows(segment) for segment in range(partition.n_segments)]
    return [[(values[start:stop], None, slice(None)) for start, stop in bounds] for values in (X, TARGET)]


def activations(x: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return 1 / (1 + np.exp(-(x @ PARAMETERS.W1.T + PARAMETERS.b1)))


@pytest.mark.filterwarnings("ignore::sparsae.errors.ThreadsWarning")
@pytest.mark.parametrize("memory", [None, 1], ids=["kept", "prepared again"])
def test_the_second_round_has_the_same_bits_wherever_the_first_was(memory: int | None) -> None:
    """In this process, in this one without its blocks, or in one that is gone."""
    first = Work(evaluation=7, round="encode", subtrees=SUBTREES, partition=PARTITION)
    second = Work(evaluation=7, round="accumulate", subtrees=SUBTREES, partition=PARTITION, sparsity=SPARSITY)
    shard, other = (Shard(describe("fused"), threads=2, memory=room) for room in (memory, None))
    try:
        totals = shard.run(first, PARAMETERS, travelled(PARTITION))
        assert [part.shape for part in totals] == [(len(s.segments(12)), 4) for s in SUBTREES]
        for segment, total in enumerate(np.concatenate(totals)):
            rows = slice(*PARTITION.segment_rows(segment))
            np.testing.assert_allclose(total, activations(X[rows]).sum(axis=0), rtol=1e-12)
        sums = shard.run(second, PARAMETERS, travelled(PARTITION))
        for found, known in zip(sums, other.run(second, PARAMETERS, travelled(PARTITION)), strict=True):
            np.testing.assert_array_equal(found, known)
        assert len(shard._blocks) == (30 if memory is None else 0)
    finally:
        shard.close()
        other.close()


@pytest.mark.filterwarnings("ignore::sparsae.errors.ThreadsWarning")
def test_the_largest_of_a_mini_batch_are_found_in_rows_that_are_read_here(tmp_path: Any) -> None:
    """From a file, by their numbers; segments of a subtree are merged."""
    np.save(tmp_path / "x.npy", X)
    numbers = np.sort(np.random.default_rng(1).permutation(300)[:120])
    partition = Partition(120, 10)
    bounds = [partition.segment_rows(segment) for segment in range(partition.n_segments)]
    work = Work(
        evaluation=1,
        round="largest",
        subtrees=complete_subtrees(range(partition.n_segments), partition.n_segments),
        partition=partition,
        count=30,
        batch={segment: numbers[start:stop] for segment, (start, stop) in enumerate(bounds)},
    )
    shard = Shard(describe(x=open_npy(tmp_path / "x.npy"), separate_target=False), threads=2, memory=None)
    found = shard.run(work, PARAMETERS, None)
    shard.close()
    assert len(found) == len(work.subtrees) < partition.n_segments
    whole, known = Largest(30, np.dtype(float)), Largest(30, np.dtype(float))
    for part in found:
        whole.merge(part)
    known.add(X[numbers] @ PARAMETERS.W1.T + PARAMETERS.b1)
    np.testing.assert_allclose(whole.threshold(), known.threshold(), rtol=1e-12)


@pytest.mark.filterwarnings("ignore::sparsae.errors.ThreadsWarning")
def test_sums_of_a_mini_batch_have_the_same_bits_wherever_the_first_round_was() -> None:
    """Activations that another worker has are computed again here."""
    segments = tuple(Subtree(0, segment) for segment in range(PARTITION.n_segments))
    bounds = [PARTITION.segment_rows(segment) for segment in range(PARTITION.n_segments)]
    settings: dict[str, Any] = {"partition": PARTITION, "subtrees": segments, "two_rounds": True, "evaluation": 3}
    settings["batch"] = {segment: np.arange(start, stop) for segment, (start, stop) in enumerate(bounds)}
    first, second = Work(round="encode", **settings), Work(round="accumulate", sparsity=SPARSITY, **settings)
    rows = [[(values, None, slice(None))] for values in (X, TARGET)]
    shard, other = (BatchShard(describe("fused", batches=True), 2) for _ in range(2))
    try:
        totals = np.concatenate(shard.run(first, PARAMETERS, rows))
        np.testing.assert_allclose(totals.sum(axis=0), activations(X).sum(axis=0), rtol=1e-12)
        for found, known in zip(shard.run(second, PARAMETERS, rows), other.run(second, PARAMETERS, rows), strict=True):
            np.testing.assert_array_equal(found, known)
    finally:
        shard.close()
        other.close()


def test_a_process_that_is_no_worker_has_all_cpus_and_no_limit() -> None:
    """As in the tests above, and where Dask runs a task in the client's process."""
    assert worker_limits() == (os.cpu_count(), None)


def test_a_chunk_is_compared_where_dask_says_which_one_it_is() -> None:
    """A Dask that asks what a function returns gives it a chunk without a place."""
    chunk = np.zeros((2, 3))
    assert check_chunk(chunk, "X") is chunk


def test_a_file_that_a_worker_does_not_find_has_no_rows(tmp_path: Any) -> None:
    """It is no error: rows are sent then."""
    np.save(tmp_path / "x.npy", X)
    pickled = pickle.dumps(open_npy(tmp_path / "x.npy"))
    assert _first_and_last(pickled) == X[[0, -1]].tobytes()
    (tmp_path / "x.npy").unlink()
    assert _first_and_last(pickled) is None
