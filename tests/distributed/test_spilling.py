"""What workers write to disk is said: as a warning and in the receipt."""

from __future__ import annotations

import time
import warnings

import numpy as np
import pytest

import sparsae
from sparsae.distributed.connection import Connection
from sparsae.distributed.spilling import Spilling
from sparsae.errors import ClusterWarning


def worker(disk):
    return {"metrics": {"spilled_bytes": {"memory": disk, "disk": disk}}}


def test_what_is_written_after_the_first_look_is_said_once():
    """What others have written before is not the fit's."""
    spilling = Spilling()
    spilling.look({"tcp://a": worker(5 << 20), "tcp://b": worker(0)})
    spilling.look({"tcp://a": worker(5 << 20), "tcp://b": worker(0), "tcp://c": {}})
    assert spilling.notes == []
    with pytest.warns(ClusterWarning, match=r"written rows to disk \(tcp://b 3\.0 MiB\).*Use more workers"):
        spilling.look({"tcp://a": worker(5 << 20), "tcp://b": worker(3 << 20)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spilling.look({"tcp://a": worker(9 << 20), "tcp://b": worker(9 << 20)})
    assert len(spilling.notes) == 1


def test_a_program_that_makes_warnings_errors_keeps_its_fit():
    """The note remains."""
    spilling = Spilling()
    spilling.look({})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spilling.look({"tcp://a": worker(1)})
    assert "tcp://a" in spilling.notes[0]


def test_a_worker_that_spills_is_said_in_the_receipt():
    """A real worker, told to keep next to nothing in memory."""
    dask = pytest.importorskip("dask")
    pytest.importorskip("distributed")  # whose settings have to be there before one is changed
    X = np.random.default_rng(0).random((20_000, 12)) * 0.8 + 0.1
    with dask.config.set({"distributed.worker.memory.target": 1e-6, "distributed.worker.memory.spill": False}):
        connection = Connection.open("local:1")
    with warnings.catch_warnings(), sparsae.Objective(X, 5, cluster=connection, backend="numpy") as objective:
        warnings.simplefilter("ignore", ClusterWarning)
        theta, started = objective.random_parameters(0).flatten(), time.monotonic()
        while not objective.engine.notes and time.monotonic() - started < 120:  # a heartbeat has to tell it
            objective(theta)
        assert any("Dask has written rows to disk" in note for note in objective.receipt.notes)
    connection.close()
