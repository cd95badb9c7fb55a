"""What a receipt says of threads: what was asked for, what was granted, what ran."""

import numpy as np
import pytest

import sparsae

X = np.random.default_rng(0).random((400, 6))


@pytest.mark.filterwarnings("ignore::sparsae.errors.ThreadsWarning")
def test_fewer_workers_than_threads_are_said():
    """99 threads and two segments: two workers."""
    receipt = sparsae.Objective(X, 3, threads=99, block_rows=200).receipt
    assert (receipt.threads_requested, receipt.threads_granted, receipt.workers) == (99, 99, 2)
    assert "99 threads were granted and 2 workers ran: the rows make no more than 2 segments." in receipt.notes
    receipt = sparsae.Objective(X, 3, threads=2, block_rows=400).receipt
    assert "2 threads were granted and 1 worker ran: the rows make no more than 1 segment." in receipt.notes
    assert not sparsae.Objective(X, 3, threads=2, block_rows=100, backend="dot").receipt.notes


def test_a_mini_batch_fit_says_how_its_batches_ran():
    """Batches and evaluations of all rows may have different numbers of workers: both are said."""
    with pytest.warns(sparsae.ConvergenceWarning):
        receipt = sparsae.train(X, 3, method="adam", max_iter=1, threads=2, block_rows=150, backend="dot").receipt
    assert (receipt.threads_granted, receipt.workers) == (2, 2)
    assert any(note == "Mini-batches of 128 rows ran in 1 block on 1 row worker." for note in receipt.notes), (
        receipt.notes
    )


def test_a_blas_that_cannot_be_limited_is_said(monkeypatch):
    """As on macOS with Accelerate, which threadpoolctl does not know."""
    assert not any("not limited" in note for note in sparsae.Objective(X, 3).receipt.notes)
    monkeypatch.setattr("sparsae.engine.session.pools", list)
    assert any(note.startswith("Threads of BLAS: not limited.") for note in sparsae.Objective(X, 3).receipt.notes)


def test_accelerate_is_said_beside_a_pool_of_scipy(monkeypatch):
    """NumPy may use Accelerate where SciPy brings an OpenBLAS, which alone can be limited."""
    built = {"Build Dependencies": {"blas": {"name": "accelerate"}}}
    monkeypatch.setattr(np, "show_config", lambda mode: built)
    assert any(note.startswith("Threads of BLAS: not limited.") for note in sparsae.Objective(X, 3).receipt.notes)
