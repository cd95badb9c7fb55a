"""TLS between client and cluster, and a warning or an error wherever it is missing; on real sockets of 127.0.0.1."""

from __future__ import annotations

import dask
import numpy as np
import psutil
import pytest

import sparsae
from sparsae.cli import main
from sparsae.distributed.connection import Connection
from sparsae.distributed.security import check_security, tls_security, warn_if_plain
from sparsae.errors import ClusterError, ClusterWarning, FileMissingError, ParameterError

X = np.random.default_rng(0).random((500, 6)) * 0.8 + 0.1
OPTIONS = {"backend": "numpy", "max_iter": 2}
pytestmark = pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Certificate and key of one authority, which is client and server too, and a certificate of a stranger."""
    pytest.importorskip("cryptography")
    from distributed import Security

    folder = tmp_path_factory.mktemp("certificates")
    made, stranger = Security.temporary(), Security.temporary()
    contents = {"ca": made.tls_ca_file, "key": made.tls_client_key, "stranger": stranger.tls_ca_file}
    for name, content in contents.items():
        (folder / f"{name}.pem").write_text(content)
    return {name: str(folder / f"{name}.pem") for name in contents}


@pytest.fixture(scope="module")
def address(files):
    """The tls:// address of a cluster of one worker in this process."""
    from distributed import LocalCluster, Security

    pem = {f"tls_{role}_{kind}": files["ca" if kind == "cert" else "key"] for role in ROLES for kind in ("cert", "key")}
    security = Security(tls_ca_file=files["ca"], require_encryption=True, **pem)
    where = {"host": "127.0.0.1", "dashboard_address": "127.0.0.1:0", "protocol": "tls"}
    with LocalCluster(n_workers=1, processes=False, threads_per_worker=1, security=security, **where) as cluster:
        assert cluster.scheduler_address.startswith("tls://127.0.0.1:")
        yield cluster.scheduler_address


ROLES = ("scheduler", "worker", "client")


def test_a_fit_over_tls_from_a_client_a_connection_and_dasks_configuration(address, files):
    """Each way of giving certificates connects, and the fit has the bits of one here."""
    from distributed import Client

    here = sparsae.train(X, 3, passes=1, **OPTIONS).parameters.flatten()
    security = tls_security(files["ca"], files["ca"], files["key"])
    with Client(address, security=security, set_as_default=False) as client:
        assert np.array_equal(sparsae.train(X, 3, cluster=client, **OPTIONS).parameters.flatten(), here)
    connection = Connection.open(address, security=security)
    assert np.array_equal(sparsae.train(X, 3, cluster=connection, **OPTIONS).parameters.flatten(), here)
    connection.close()
    tls = {"ca-file": files["ca"], "client.cert": files["ca"], "client.key": files["key"]}
    with dask.config.set({f"distributed.comm.tls.{name}": path for name, path in tls.items()}):
        assert np.array_equal(sparsae.train(X, 3, cluster=address, **OPTIONS).parameters.flatten(), here)


def test_the_command_takes_certificates(address, files, tmp_path, monkeypatch, capsys):
    """`sparsae train --cluster tls://...` with files; a key that is not there is named."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    words = [
        "train",
        "x.npy",
        "--max-iter",
        "2",
        "--hidden",
        "3",
        "--cluster",
        address,
        "--tls-ca",
        files["ca"],
        "--force",
    ]
    for key, code in ((files["key"], 0), ("nowhere.pem", 2)):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--tls-cert", files["ca"], "--tls-key", key])
        assert (ended.value.code or 0) == code
    assert "There is no file nowhere.pem with the certificate of the client's key" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["--tls-ca", "a"], ["--cluster", "tls://a:1", "--tls-ca", "a"], ["--tls-key", "a"]])
def test_certificates_need_a_cluster_and_each_other(words, tmp_path, monkeypatch, capsys):
    """What belongs together is said."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    with pytest.raises(SystemExit) as ended:
        main(["train", "x.npy", *words])
    assert ended.value.code == 2
    assert "--tls-ca, --tls-cert and --tls-key belong to --cluster" in capsys.readouterr().err


def test_what_is_not_encrypted_does_not_reach_an_encrypted_cluster(address, files, monkeypatch):
    """No certificates, those of a stranger, and a plain address: each an error that says what to give."""
    monkeypatch.setattr("sparsae.distributed.connection.CONNECT_SECONDS", 2.0)
    with pytest.raises(ParameterError, match=r"tls://127.* needs certificates, .*--tls-ca.*distributed\.Security"):
        Connection.open(address)
    with pytest.raises(ClusterError, match="No scheduler answered"):
        Connection.open(address, security=tls_security(files["stranger"], files["ca"], files["key"]))
    with pytest.raises(ClusterError, match="No scheduler answered"):
        Connection.open(address.replace("tls://", "tcp://"))
    with pytest.raises(ParameterError, match=r"begins with tls://; given tcp://"):
        Connection.open("tcp://127.0.0.1:1", security=tls_security(files["ca"], files["ca"], files["key"]))


def test_a_certificate_that_cannot_be_read(tmp_path):
    """A file that is missing or no certificate is said before anything is sent."""
    (tmp_path / "empty.pem").write_text("")
    security = tls_security(tmp_path / "empty.pem", tmp_path / "empty.pem", None)
    with pytest.raises(ParameterError, match=r"A certificate for tls://a:1 cannot be read"):
        check_security("tls://a:1", security)
    gone = {f"distributed.comm.tls.{name}": str(tmp_path / "gone.pem") for name in ("ca-file", "client.cert")}
    with dask.config.set(gone), pytest.raises(FileMissingError, match=r"certificate for tls://a:1 .*No such file"):
        check_security("tls://a:1", None)


@pytest.mark.parametrize("given", ["nonsense", "tls://host", "foo://host:1", "tcp://"])
def test_what_is_no_address(given):
    """It is refused with what one looks like."""
    with pytest.raises(ParameterError, match=r'is no address of a scheduler .*such as "tls://host:8786"'):
        Connection.open(given)


@pytest.mark.parametrize(
    ("address", "warned"),
    [
        ("tcp://10.0.0.1:8786", True),
        ("10.0.0.1:8786", True),
        ("tcp://127.example.org:8786", True),
        ("tcp://[2001:db8::1]:8786", True),
        ("ws://10.0.0.1:8786", True),
        ("tcp://127.0.0.1:8786", False),
        ("tcp://127.3.2.1:8786", False),
        ("localhost:8786", False),
        ("tcp://[::1]:8786", False),
        ("tls://10.0.0.1:8786", False),
        ("inproc://10.0.0.1/12/1", False),
    ],
)
def test_an_address_that_is_not_encrypted_and_not_this_machine_gives_a_warning(address, warned, recwarn):
    """Only then."""
    warn_if_plain(address)
    assert [w.category for w in recwarn] == [ClusterWarning] * warned
    assert all("is not encrypted" in str(w.message) for w in recwarn)


def test_a_client_of_such_an_address_gives_it_too(client, monkeypatch):
    """Also where the user has made the client."""
    monkeypatch.setattr("sparsae.distributed.security._is_loopback", lambda host: False)
    with pytest.warns(ClusterWarning, match="is not encrypted"):
        Connection.open(client)


def test_local_processes_can_be_encrypted_and_listen_on_this_machine_only():
    """`"local:N"` with a Security: every address is tls://127.0.0.1, and no new socket listens anywhere else."""
    pytest.importorskip("cryptography")
    from distributed import Security

    before = listening()
    connection = Connection.open("local:1", security=Security.temporary())
    try:
        addresses = [connection.client.scheduler.address, *connection.workers()]
        assert all(address.startswith("tls://127.0.0.1:") for address in addresses)
        opened = listening() - before
        assert len(opened) >= 3
        assert {host for host, _ in opened} == {"127.0.0.1"}
    finally:
        connection.close()


def listening():
    """Addresses on which this process and its children listen."""
    here = psutil.Process()
    sockets = [s for process in (here, *here.children(recursive=True)) for s in process.net_connections("inet")]
    return {(s.laddr.ip, s.laddr.port) for s in sockets if s.status == psutil.CONN_LISTEN}
