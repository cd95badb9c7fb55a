"""Placement of segments: whatever workers there are, each segment is done once and subtrees are as large as can be."""

from __future__ import annotations

import numpy as np
import pytest

from sparsae.distributed.placement import Subtree, balance, complete_subtrees, place_near, split_segments
from sparsae.engine.partition import TreeSum


# Seeded numbers instead of Hypothesis: it refuses to draw while the threads of Dask use `random` in this process.
@pytest.mark.parametrize("seed", range(40))
def test_ranges_cover_every_segment_once_in_proportion_to_the_threads(seed):
    """Every segment is in one range, and no worker is more than one segment off its share."""
    rng = np.random.default_rng(seed)
    n_segments, threads = int(rng.integers(1, 201)), rng.integers(1, 65, int(rng.integers(1, 13))).tolist()
    shares = {f"worker-{i}": float(t) for i, t in enumerate(threads)}
    ranges = split_segments(n_segments, shares)
    assert [segment for worker in shares for segment in ranges.get(worker, ())] == list(range(n_segments))
    for worker, share in shares.items():
        assert abs(len(ranges.get(worker, ())) - n_segments * share / sum(threads)) <= 1


@pytest.mark.parametrize("seed", range(60))
def test_complete_subtrees_hold_the_given_segments_and_cannot_be_joined(seed):
    """They consist of the segments given, each once, and no two of them are the halves of a complete subtree."""
    rng = np.random.default_rng(seed)
    n_segments = int(rng.integers(1, 131))
    segments = set(rng.integers(0, n_segments, int(rng.integers(1, n_segments + 1))).tolist())
    subtrees = complete_subtrees(segments, n_segments)
    assert [s for subtree in subtrees for s in subtree.segments(n_segments)] == sorted(segments)
    for a in subtrees:
        assert Subtree(a.level, a.index ^ 1) not in subtrees


@pytest.mark.parametrize("n_segments", [1, 2, 3, 5, 11, 12, 13, 24])
@pytest.mark.parametrize("n_workers", [1, 2, 3, 5, 30])
def test_sums_of_subtrees_have_the_bits_of_the_whole_tree(n_segments, n_workers):
    """Subtrees that are summed apart and added at their level give the bits that one tree gives."""
    rng = np.random.default_rng(n_segments)
    leaves = [rng.standard_normal(_vector().size) * 10.0 ** rng.integers(-8, 8) for _ in range(n_segments)]
    whole = _tree(n_segments, dict(enumerate(leaves)))
    ranges = split_segments(n_segments, {f"worker-{i}": 1.0 for i in range(n_workers)})
    tree = TreeSum(2, 3, n_segments, with_sparsity=True)
    tree.restart()
    for segments in reversed(ranges.values()):
        for subtree in complete_subtrees(segments, n_segments):
            inside = subtree.segments(n_segments)
            sums = tree.cleared_sums()
            sums.vector[:] = _tree(len(inside), {i: leaves[s] for i, s in enumerate(inside)})
            tree.add(subtree.index, sums, level=subtree.level)
    assert np.array_equal(tree.total().vector, whole)


def test_segments_go_to_the_worker_that_holds_their_rows():
    """Rows are not sent where that can be avoided; rows that nobody holds go to whoever has least for its threads."""
    placed = place_near(["a", "a", "b", None, "gone", None], {"a": 1.0, "b": 2.0})
    assert placed == {"a": [0, 1], "b": [2, 3, 4, 5]}


def test_segments_beyond_its_share_are_taken_from_a_worker():
    """One that joins gets rows although another holds them all, and a mini-batch is not left to one worker."""
    assert place_near(["a"] * 4, {"a": 1.0, "b": 1.0}) == {"a": [0, 1], "b": [2, 3]}
    held = {0: {"a": 9, "b": 1}, 1: {"a": 6, "b": 4}, 2: {"a": 7}, 3: {"b": 5}}
    assert balance(held, {"a": 1.0, "b": 1.0}) == {"a": [0, 1], "b": [2, 3]}


def _vector():
    return TreeSum(2, 3, 1, with_sparsity=True).cleared_sums().vector


def _tree(n_segments, leaves):
    tree = TreeSum(2, 3, n_segments, with_sparsity=True)
    tree.restart()
    for segment, leaf in leaves.items():
        sums = tree.cleared_sums()
        sums.vector[:] = leaf
        tree.add(segment, sums)
    return tree.total().vector.copy()
