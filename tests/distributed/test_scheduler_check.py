"""An address where no scheduler answers is told within a time limit, whatever else is there."""

from __future__ import annotations

import socket
import threading

import pytest

from sparsae.distributed import connection
from sparsae.distributed.connection import Connection
from sparsae.errors import ClusterError


@pytest.fixture
def address(request):
    """Where something takes connections and says what the test wants, which may be nothing."""
    taken = []

    def serve(server):
        with server:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return
                taken[-1].sendall(request.param)

    server = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, args=(server,), daemon=True).start()
    yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    server.shutdown(socket.SHUT_RDWR)
    for connected in taken:
        connected.close()


@pytest.mark.parametrize(
    ("address", "what"),
    [(b"", "something took the connection and said nothing|Timed out"), (b"SSH-2.0-OpenSSH\r\n" * 30, "Unable to|")],
    indirect=["address"],
    ids=["silent", "another service"],
)
def test_something_else_at_the_address(address, what, monkeypatch):
    """Neither a service that says nothing nor one that speaks another language holds the program up."""
    monkeypatch.setattr(connection, "CONNECT_SECONDS", 1.0)
    with pytest.raises(ClusterError, match=rf"No scheduler answered at '{address}' within 1 s \(({what})"):
        Connection.open(address)


def test_the_address_of_a_worker(client):
    """It is told apart from that of the scheduler."""
    worker = next(iter(client.scheduler_info()["workers"]))
    with pytest.raises(ClusterError, match=r"is the address of a worker of Dask; give that of the scheduler"):
        Connection.open(worker)


def test_the_address_of_a_scheduler(client):
    """It is connected to."""
    opened = Connection.open(client.scheduler.address)
    assert len(opened.shares()) == 2
    opened.close()


def test_a_scheduler_that_refuses_the_client(client, monkeypatch):
    """It answers, and the connection fails after that."""

    def refuse(*arguments, **options):
        raise OSError("too many clients")

    monkeypatch.setattr("distributed.Client.__init__", refuse)
    monkeypatch.setattr("distributed.Client.__del__", lambda self: None)
    with pytest.raises(ClusterError, match=r"refuses this client \(too many clients\)"):
        Connection.open(client.scheduler.address)
