"""Placement of segments: whatever workers there are, each segment is done once and subtrees are as large as can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparsae.distributed.placement import Subtree, complete_subtrees, place_near, split_segments
from sparsae.engine.partition import TreeSum


@given(n_segments=st.integers(1, 200), threads=st.lists(st.integers(1, 64), min_size=1, max_size=12))
def test_ranges_cover_every_segment_once_in_proportion_to_the_threads(n_segments, threads):
    """Every segment is in one range, and no worker is more than one segment off its share."""
    shares = {f"worker-{i}": float(t) for i, t in enumerate(threads)}
    ranges = split_segments(n_segments, shares)
    assert [segment for worker in shares for segment in ranges.get(worker, ())] == list(range(n_segments))
    for worker, share in shares.items():
        assert abs(len(ranges.get(worker, ())) - n_segments * share / sum(threads)) <= 1


@given(data=st.data(), n_segments=st.integers(1, 130))
def test_complete_subtrees_hold_the_given_segments_and_cannot_be_joined(data, n_segments):
    """They consist of the segments given, each once, and no two of them are the halves of a complete subtree."""
    segments = data.draw(st.sets(st.integers(0, n_segments - 1), min_size=1))
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
