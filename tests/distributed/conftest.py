"""A real Dask cluster on this machine: two worker processes, on 127.0.0.1 only."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="session")
def client():
    distributed = pytest.importorskip("distributed")
    from sparsae.distributed.connection import Connection

    connection = Connection.open("local:2")
    assert isinstance(connection.client, distributed.Client)
    yield connection.client
    connection.close()
