"""What each worker is: versions, backend, BLAS pools, threads; compared with the client before a fit begins."""

from __future__ import annotations

import os
import platform
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, final

import numpy as np

from sparsae.distributed.connection import Connection
from sparsae.distributed.process import worker_limits
from sparsae.errors import BackendError, ClusterError
from sparsae.machine.limits import pools
from sparsae.machine.threads import ThreadGrant, cpu_budget, grant
from sparsae.plugins.selection import select
from sparsae.version import __version__


@final
@dataclass(frozen=True, kw_only=True)
class WorkerFacts:
    """One worker, as it describes itself.

    Attributes
    ----------
    host : str
    python, numpy, sparsae : str
        Versions.
    backend : str
        Version of the distribution that registers the backend; empty where it cannot be used.
    backend_error : str
        Why it cannot be used.
    cpu_budget : int
        CPUs that the process may use.
    threads_requested : int or None
        What the fit asks for; None: as many as the worker has Dask threads.
    threads : int
        That it computes with.
    thread_notes : tuple of str
        Why they are fewer than were asked for.
    pools : tuple of mapping
        BLAS and OpenMP pools, with the architecture of their kernels.
    machine : str
        Instruction set, such as "x86_64".
    """

    host: str
    python: str
    numpy: str
    sparsae: str
    backend: str
    backend_error: str
    cpu_budget: int
    threads_requested: int | None
    threads: int
    thread_notes: tuple[str, ...]
    pools: tuple[Mapping[str, Any], ...]
    machine: str

    @property
    def architectures(self) -> tuple[str, ...]:
        """Kernels of the BLAS pools, such as ("SkylakeX",): other ones give other last bits."""
        return tuple(sorted({str(pool["architecture"]) for pool in self.pools if pool.get("architecture")}))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for a receipt."""
        return asdict(self)


def facts_here(backend: str, threads: int | None = 1) -> WorkerFacts:
    """Describe this process; called on each worker, and on the client to compare with."""
    version = error = ""
    wanted, granted = threads or worker_limits()[0], ThreadGrant(threads, 1, 1, 1)
    try:
        selected = select(backend)
        version = selected.record.version or __version__
        granted = grant(wanted, selected.backend.threading, warn=False)
    except BackendError as raised:
        error = str(raised)
    return WorkerFacts(
        host=socket.gethostname(),
        python=platform.python_version(),
        numpy=np.__version__,
        sparsae=__version__,
        backend=version,
        backend_error=error,
        cpu_budget=cpu_budget().granted,
        threads_requested=threads,
        threads=granted.granted,
        thread_notes=granted.notes if granted.granted < wanted else (),
        pools=pools(),
        machine=f"{platform.machine()} {os.name}",
    )


def check_workers(
    connection: Connection, backend: str, *, strict: bool, threads: int | None = None
) -> tuple[dict[str, WorkerFacts], list[str]]:
    """Ask every worker what it is, and refuse a cluster that cannot give the client's results.

    Parameters
    ----------
    connection : Connection
    backend : str
    strict : bool
        Refuse workers whose BLAS kernels differ, since the last bits then depend on who had which rows.
    threads : int, optional
        Of each worker; its number of Dask threads when left out.

    Returns
    -------
    facts : dict of str to WorkerFacts
    notes : list of str
        For the receipt.

    Raises
    ------
    ClusterError
        With a table of who lacks what.
    """
    here = facts_here(backend)
    facts: dict[str, WorkerFacts] = connection.ask(facts_here, backend, threads)
    lacking = {worker: lacks for worker, found in facts.items() if (lacks := _lacks(found, here))}
    if lacking:
        table = "\n".join(f"  {worker}: {'; '.join(lacks)}" for worker, lacks in sorted(lacking.items()))
        raise ClusterError(
            f"{len(lacking)} of {len(facts)} workers cannot take part:\n{table}\n"
            f"Install there what the client has: sparsae {here.sparsae}, NumPy {here.numpy}, backend {backend!r} "
            f"{here.backend}."
        )
    notes = [f"Worker {worker}: {note}" for worker, found in sorted(facts.items()) for note in found.thread_notes]
    kinds = {found.architectures for found in [*facts.values(), here]}
    if len(kinds) == 1:
        return facts, notes
    names = ", ".join(" and ".join(kind) or "none" for kind in sorted(kinds))
    mixed = f"BLAS uses different kernels on client and workers ({names})"
    if strict:
        raise ClusterError(f'{mixed}, so that the last bits depend on who had which rows; bits="strict" refuses that.')
    return facts, [*notes, f"{mixed}: the last bits depend on who had which rows."]


def _lacks(found: WorkerFacts, here: WorkerFacts) -> list[str]:
    """Say what a worker lacks or has in another version."""
    lacks = [
        f"{name} {theirs} where the client has {ours}"
        for name, theirs, ours in (
            ("sparsae", found.sparsae, here.sparsae),
            ("NumPy", found.numpy, here.numpy),
            ("Python", _minor(found.python), _minor(here.python)),
            ("backend version", found.backend, here.backend),
        )
        if theirs != ours and theirs
    ]
    return [*lacks, found.backend_error] if found.backend_error else lacks


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])
