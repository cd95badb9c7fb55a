"""The cut of rows into blocks and segments, and the order of adding."""

import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsae import Problem, Sums
from sparsae.engine import partition
from sparsae.engine.partition import Partition, TreeSum, cache_rows, tree_sum


@given(st.integers(1, 5000), st.integers(1, 600))
def test_every_row_is_in_exactly_one_block_and_every_block_in_one_segment(m, block_rows):
    """Blocks in order of segments give 0, 1, ..., m - 1; no segment is empty; segments are balanced."""
    plan = Partition(m, block_rows)
    rows, sizes = [], []
    for segment in range(plan.n_segments):
        blocks = plan.blocks(segment)
        sizes.append(len(blocks))
        first, last = plan.segment_rows(segment)
        inside = [i for block in blocks for i in range(*plan.rows(block).indices(m))]
        assert inside == list(range(first, last))
        rows += inside
    assert rows == list(range(m))
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


def test_long_data_has_more_segments():
    """Segments grow with the rows, so that a cluster has something to share out and an interrupt comes through."""
    assert Partition(10_000, 500).n_segments == 12
    assert Partition(10_000_000, 500).n_segments == 12 * 9


@given(st.integers(1, 40), st.randoms())
def test_tree_adds_the_same_bits_in_whatever_order_segments_arrive(n_segments, random):
    """The total has the bits of the fixed pairwise order, also over the buffers of an earlier evaluation."""
    rng = np.random.default_rng(n_segments)
    leaves = rng.standard_normal((n_segments, len(Sums(3, 2).vector))) * 10.0 ** rng.integers(-8, 8, (n_segments, 1))
    expected = tree_sum(leaves.copy())
    tree = TreeSum(3, 2, n_segments, with_sparsity=True)
    for _ in range(2):
        order = list(range(n_segments))
        random.shuffle(order)
        for segment in order:
            sums = tree.cleared_sums()
            assert not sums.vector.any()
            sums.vector += leaves[segment]
            tree.add(segment, sums)
        np.testing.assert_array_equal(tree.total().vector, expected)
        tree.restart()


@pytest.mark.parametrize("n_segments", [1, 2, 3, 7])
def test_the_last_addition_is_made_in_pieces_and_what_is_written_need_not_be_cleared(n_segments, monkeypatch):
    """In any order of the pieces; garbage stays in W1 and W2 alone, where whoever adds writes first."""
    monkeypatch.setattr(partition, "PIECE", 4)
    leaves = np.random.default_rng(n_segments).standard_normal((n_segments, Sums(3, 2).vector.size))
    expected = tree_sum(leaves.copy())
    tree = TreeSum(3, 2, n_segments, with_sparsity=True, written=True)
    calls = []

    def backwards(task, count):
        calls.append(count)
        for index in reversed(range(count)):
            task(index)

    for _ in range(2):
        for segment in range(n_segments):
            sums = tree.cleared_sums()
            sums.W1[:], sums.W2[:] = 0, 0
            assert not sums.vector.any()
            sums.vector += leaves[segment]
            tree.add(segment, sums)
        np.testing.assert_array_equal(tree.total(backwards).vector, expected)
        np.testing.assert_array_equal(tree.total(backwards).vector, expected)  # asked for twice, added once
        tree.restart()
    assert calls == [-(-Sums(3, 2).vector.size // 4)] * (2 * (n_segments > 1))
    used = tree.cleared_sums()
    assert used.W1.any()
    assert used.W2.any()


def test_tree_keeps_few_buffers():
    """Segments that arrive in order need about log2 of their number, not one buffer each."""
    tree = TreeSum(3, 2, 64, with_sparsity=False)
    made = set()
    for segment in range(64):
        sums = tree.cleared_sums()
        made.add(id(sums))
        tree.add(segment, sums)
    assert len(made) <= 8


def test_tree_loses_nothing_between_threads():
    """Eight threads that add at the same time end with the same total as one."""
    n = 96
    for _ in range(20):
        tree = TreeSum(1, 1, n, with_sparsity=True)
        numbers = iter(range(n))
        lock = threading.Lock()

        def work(tree=tree, numbers=numbers, lock=lock):
            while True:
                with lock:
                    segment = next(numbers, None)
                if segment is None:
                    return
                sums = tree.cleared_sums()
                sums.rows += segment
                tree.add(segment, sums)

        workers = [threading.Thread(target=work) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert tree.total().rows == n * (n - 1) / 2


def test_cache_rows_are_multiples_of_16_within_bounds():
    """A huge model still gets 64 rows, a tiny one at most 4096."""
    for n, p in ((1, 1), (64, 25), (784, 196), (100_000, 4000)):
        for dtype in (np.float32, np.float64):
            rows = cache_rows(Problem(n_visible=n, n_hidden=p, dtype=np.dtype(dtype)))
            assert 64 <= rows <= 4096
            assert rows % 16 == 0


def test_sums_views_share_the_vector_and_survive_pickling():
    """Adding through a view changes the vector; the head leaves out what one pass alone needs."""
    import pickle

    sums = Sums(3, 2)
    sums.rows, sums.squared_error = 7, 2.5
    for value, name in enumerate(("hidden", "W1", "b1", "W2", "b2", "W1_sparsity", "b1_sparsity"), start=1):
        getattr(sums, name)[...] = value
    assert sums.vector.sum() == 7 + 2.5 + 2 + 12 + 6 + 24 + 15 + 36 + 14
    assert len(sums.vector) - len(sums.head) == 8
    again = pickle.loads(pickle.dumps(sums))
    np.testing.assert_array_equal(again.vector, sums.vector)
    np.testing.assert_array_equal(again.W1_sparsity, sums.W1_sparsity)
