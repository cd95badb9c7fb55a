"""A real Dask cluster on this machine: two worker processes, on 127.0.0.1; closed after the tests of this folder."""

from __future__ import annotations

import os
import time

import pytest

dask = pytest.importorskip("dask")


@pytest.fixture(scope="package")
def client():
    distributed = pytest.importorskip("distributed")
    from sparsae.distributed.connection import Connection

    connection = Connection.open("local:2")
    assert isinstance(connection.client, distributed.Client)
    yield connection.client
    connection.close()


@pytest.fixture
def settle(client):
    """A function that returns when two workers answer, also where a nanny has given up on a busy machine."""

    def is_alive(process):
        try:
            os.kill(process, 0)
        except ProcessLookupError:
            return False
        return True

    def wait_for_two():
        # as `start_local` does: nannies that `scale` makes would set thread variables in this process
        with dask.config.set({"distributed.nanny.pre-spawn-environ": {}}):
            wait()

    def wait():
        while True:
            try:
                client.wait_for_workers(2, timeout=300)
            except TimeoutError:
                client.cluster.scale(0)
                client.cluster.scale(2)
                continue
            if len(client.scheduler_info(n_workers=-1)["workers"]) == 2:  # the dead are listed for a while
                processes = client.run(os.getpid, on_error="ignore")
                if len(processes) == 2 and all(map(is_alive, processes.values())):
                    return
            time.sleep(0.1)

    return wait_for_two
