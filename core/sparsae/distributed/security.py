"""Encryption between client and cluster: certificates of TLS, and a warning where there is none.

Whoever reaches a scheduler can run code on its workers, so that a connection without TLS is for one's own machine.
"""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Any

from sparsae._text import printable
from sparsae.errors import ClusterWarning, FileMissingError, ParameterError
from sparsae.machine.caller_warning import warn_caller

PLAIN = ("tcp", "ws")
WITHOUT_PORT = ("inproc", "ucx")
WAYS = (
    "Give --tls-ca, --tls-cert and --tls-key; in Python a Client with a distributed.Security, or "
    "Connection.open(address, security=...); or set distributed.comm.tls in Dask's configuration."
)


def tls_security(ca: str | os.PathLike[str], cert: str | os.PathLike[str], key: str | os.PathLike[str] | None) -> Any:
    """Return a `distributed.Security` of a client from files in PEM format.

    Parameters
    ----------
    ca : path
        Certificate of the authority that has signed those of scheduler and workers.
    cert : path
        This client's certificate.
    key : path, optional
        Its private key, where that is not in the file of the certificate.

    Raises
    ------
    FileMissingError
        When there is no such file.
    """
    from distributed import Security

    for name, path in (("authority", ca), ("client", cert), ("client's key", key)):
        if path is not None and not Path(path).is_file():
            raise FileMissingError(f"There is no file {printable(path)} with the certificate of the {name}.")
    files = {"tls_ca_file": ca, "tls_client_cert": cert, "tls_client_key": key}
    given = {name: os.fspath(path) for name, path in files.items() if path is not None}
    return Security(require_encryption=True, **given)


def check_security(address: str, security: Any) -> None:
    """Refuse a "tls://" address without certificates, and certificates for an address without encryption.

    Parameters
    ----------
    address : str
        Of a scheduler.
    security : distributed.Security or None
        Dask's configuration where it is None.

    Raises
    ------
    ParameterError
        Says what to give.
    FileMissingError
        When a file of a certificate is not there.
    """
    from distributed.comm import get_address_host, parse_address

    from distributed import Security

    try:
        scheme = parse_address(address)[0]
        if scheme not in WITHOUT_PORT:
            get_address_host(address)
    except ValueError as error:
        raise ParameterError(
            f'{printable(address)!r} is no address of a scheduler ({error}); give one such as "tls://host:8786".'
        ) from error
    if scheme == "tls":
        try:
            arguments = (security or Security()).get_connection_args("client")
        except OSError as error:  # ssl.SSLError, for a damaged certificate, is one too
            kind = FileMissingError if isinstance(error, FileNotFoundError) else ParameterError
            raise kind(f"A certificate for {address} cannot be read: {error.strerror or printable(error)}.") from error
        if arguments.get("ssl_context") is None:
            raise ParameterError(f"{address} needs certificates, and there are none. {WAYS}")
    elif security is not None:
        raise ParameterError(f"Certificates are for an address that begins with tls://; given {address}.")


def warn_if_plain(address: str) -> None:
    """Warn where a connection leaves this machine without encryption."""
    from distributed.comm import get_address_host, parse_address

    if parse_address(address)[0] in PLAIN and not _is_loopback(get_address_host(address)):
        warn_caller(
            ClusterWarning(
                f"{address} is not encrypted: data and parameters are sent in the clear, and whoever reaches the "
                f"scheduler can run code. Use tls:// on a network that others share. {WAYS}"
            )
        )


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
