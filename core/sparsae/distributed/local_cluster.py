"""Worker processes on this machine: what "local:N" starts and ends."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from sparsae.errors import ParameterError


def start_local(cluster: str, security: Any) -> Any:
    """Start the processes of "local:N" and return their `distributed.LocalCluster`.

    Raises
    ------
    ParameterError
        When N is no positive number.
    """
    import dask

    from distributed import LocalCluster

    number = cluster.partition(":")[2]
    if not number.isdecimal() or int(number) < 1:
        raise ParameterError(f'"local:N" needs a number of worker processes, such as "local:4"; given {cluster!r}.')
    # Nannies set thread variables to 1 in this process too, for their children, also when they restart one.
    with dask.config.set({"distributed.nanny.pre-spawn-environ": {}}):
        return LocalCluster(
            n_workers=int(number),
            threads_per_worker=1,
            processes=True,
            host="127.0.0.1",
            dashboard_address="127.0.0.1:0",  # None listens on all interfaces
            security=security,
            preload=["sparsae.distributed.worker_signals"],
        )


def close_local(client: Any, processes: Any) -> None:
    """End client and processes; Dask may raise anything while it closes a cluster of which a process has died."""
    for part in (client, processes):
        with suppress(Exception):
            part.close()
