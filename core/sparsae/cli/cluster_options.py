"""Options of commands that use a Dask cluster: its address, and the certificates of an encrypted one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click

from sparsae.cli.options import Decorated, add_options

CLUSTER_OPTIONS = ("cluster", "tls_ca", "tls_cert", "tls_key")
FILE = click.Path(path_type=Path)


def cluster_options(command: Decorated) -> Decorated:
    """Add the options."""
    return add_options(
        command,
        click.option("--cluster", help="Dask cluster: the scheduler's address, or local:N for N processes."),
        click.option("--tls-ca", type=FILE, help="Certificate of the authority, for tls:// addresses."),
        click.option("--tls-cert", type=FILE, help="Certificate of this client."),
        click.option("--tls-key", type=FILE, help="Its private key, where it is in another file."),
    )


@contextmanager
def cluster_connection(options: Mapping[str, Any]) -> Iterator[Any]:
    """Connect to what the options name, and close that at the end; None without --cluster.

    Raises
    ------
    ParameterError
        When certificates are given without a cluster, or not both of authority and client.
    SparsaeError
        As `Connection.open`.
    """
    from sparsae.errors import ParameterError

    address = options["cluster"]
    ca, cert, key = (options[name] for name in CLUSTER_OPTIONS[1:])
    if ca is None and cert is None and key is None:
        security = None
    elif address is None or ca is None or cert is None:
        raise ParameterError("--tls-ca, --tls-cert and --tls-key belong to --cluster; it needs the first two at least.")
    else:
        from sparsae.distributed.security import tls_security

        security = tls_security(ca, cert, key)
    if address is None:
        yield None
        return
    from sparsae.distributed.connection import Connection

    with closing(Connection.open(address, security=security)) as connection:
        yield connection
