"""Rows of mini-batches."""

import numpy as np
import pytest

from sparsae.optimize.row_order import RowOrder


@pytest.mark.parametrize("n_samples", [3, 255, 256, 65_535, 65_536, 70_000])
def test_an_epoch_has_each_row_once_in_sorted_mini_batches(n_samples):
    """Whatever the bytes of a number; the first and the last row too, which held-out rows do not take here."""
    rows = np.arange(n_samples)[:: max(1, n_samples // 1000)]
    rows[-1] = n_samples - 1
    order = RowOrder(rows, 5, 64, n_samples)
    batches = [order.batch(2, start) for start in range(0, len(rows), 64)]
    assert all(batch.dtype == np.intp and (np.diff(batch) > 0).all() for batch in batches)
    assert np.array_equal(np.sort(np.concatenate(batches)), rows)
    expected = np.random.default_rng([5, 1, 2]).permutation(rows)
    assert np.array_equal(batches[0], np.sort(expected[:64]))


def test_rows_that_are_read_ahead_are_those_of_the_next_step():
    """The same array; another epoch, and going back, give what a new order gives."""
    order = RowOrder(np.arange(100), 1, 30, 100)
    ahead = order.batch(0, 30)
    assert order.batch(0, 30) is ahead
    for epoch, position in ((1, 0), (0, 30), (0, 90)):
        fresh = RowOrder(np.arange(100), 1, 30, 100)
        assert np.array_equal(order.batch(epoch, position), fresh.batch(epoch, position))
    assert len(order.batch(0, 90)) == 10


@pytest.mark.parametrize("batch_rows", [3000, 20_000])
def test_mini_batches_that_are_sorted_at_once_are_those_of_the_order(batch_rows):
    """Across the end of what is sorted at a time, and where a mini-batch alone is longer; the last one is shorter."""
    rows = np.arange(47_000)
    order = RowOrder(rows, 1, batch_rows, len(rows))
    expected = np.random.default_rng([1, 1, 0]).permutation(rows)
    for start in range(0, len(rows), batch_rows):
        assert np.array_equal(order.batch(0, start), np.sort(expected[start : start + batch_rows]))
