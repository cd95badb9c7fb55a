"""The receipt of an objective: what runs, on what, as read back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sparsae._text import plural
from sparsae.engine.engine_types import SumsEngine
from sparsae.engine.session import Session
from sparsae.engine.sources import dtype_note
from sparsae.engine.summary import data_digest
from sparsae.machine.facts import numpy_blas
from sparsae.machine.threads import ThreadGrant
from sparsae.plugins.contract import Backend
from sparsae.plugins.selection import Selected
from sparsae.receipt import Receipt, versions


def make_receipt(
    selected: Selected, granted: ThreadGrant, engine: SumsEngine, session: Session, notes: Iterable[str] = ()
) -> Receipt:
    """Return the receipt of an engine whose session was open once, with more notes; reads the data for its digest."""
    backend, record, problem = selected.backend, selected.record, engine.problem
    partition, storage = engine.partition, engine.storage
    x, target = engine.sources
    summaries = engine.summaries()
    requested, total = granted.requested, granted.granted
    if engine.cluster:
        requested, total = engine.cluster[0]["threads_requested"], sum(worker["threads"] for worker in engine.cluster)
    chosen = [*selected.notes, *granted.notes, *session.missed, *dtype_note(x, problem.dtype)]
    running = [*engine.kernels[0].notes, *engine.notes, *_thread_notes(backend, granted, engine, session)]
    return Receipt(
        backend=backend.name,
        distribution=record.distribution,
        distribution_version=record.version,
        contract=backend.contract,
        threading=backend.threading,
        threads_requested=requested,
        threads_granted=total,
        workers=_workers(engine),
        pools=session.pools,
        passes=storage.passes,
        block_rows=partition.block_rows,
        n_blocks=partition.n_blocks,
        n_segments=partition.n_segments,
        storage="kept" if storage.kept else "streamed",
        dtype=str(problem.dtype),
        n_samples=partition.n_samples,
        n_visible=problem.n_visible,
        n_hidden=problem.n_hidden,
        data_digest=data_digest(summaries[0], None if target is x else summaries[1]),
        versions=versions(backend.requires),
        cluster=engine.cluster,
        choices=dict(engine.kernels[0].choices),
        notes=(*notes, *chosen, *running),
    )


def _workers(engine: SumsEngine) -> int:
    """Return the number of processes of a cluster, or of row workers."""
    return len(engine.cluster) or len(engine.kernels)


def _thread_notes(backend: Backend, granted: ThreadGrant, engine: SumsEngine, session: Session) -> Iterator[str]:
    """Say where fewer threads ran than were granted, where they could not be limited, and what they do to bits."""
    workers = _workers(engine)
    if not engine.cluster and workers < granted.workers:
        yield (
            f"{plural(granted.granted, 'thread')} were granted and {plural(workers, 'worker')} ran: "
            f"the rows make no more than {plural(engine.partition.n_segments, 'segment')}."
        )
    known = any(pool["user_api"] == "blas" for pool in session.pools)
    if not engine.cluster and (not known or numpy_blas() == "accelerate"):  # the pool may be SciPy's alone
        yield (
            "Threads of BLAS: not limited. threadpoolctl does not know the BLAS of NumPy here; Apple's Accelerate, for "
            "one, obeys VECLIB_MAXIMUM_THREADS alone, set before Python starts."
        )
    if backend.threading in ("blas", "own") and granted.pool > 1:
        yield "The last bits may depend on the number of threads with this backend."
