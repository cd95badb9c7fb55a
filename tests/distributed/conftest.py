"""A real Dask cluster on this machine: two worker processes, on 127.0.0.1; closed after the tests of this folder."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="package")
def client():
    distributed = pytest.importorskip("distributed")
    from sparsae.distributed.connection import Connection

    connection = Connection.open("local:2")
    assert isinstance(connection.client, distributed.Client)
    yield connection.client
    connection.close()
