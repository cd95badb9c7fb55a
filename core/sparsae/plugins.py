"""Backends by entry point: the only file that imports pluggy and importlib.metadata."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import final

import pluggy

from sparsae.errors import BackendBrokenError, BackendNotFoundError, ParameterError
from sparsae.kernel import Backend

GROUP = "sparsae.backends"
DEFAULT_BACKEND = "fused"
hookimpl = pluggy.HookimplMarker("sparsae")
_NAME: ContextVar[str | None] = ContextVar("sparsae_backend", default=None)
_THREADS: ContextVar[int | None] = ContextVar("sparsae_threads", default=None)


@final
@dataclass(frozen=True)
class BackendRecord:
    """What is known of one registered backend."""

    name: str
    distribution: str
    version: str
    bundled: bool
    state: str
    threading: str = ""
    summary: str = ""
    install: str = ""
    error: BaseException | None = None


@final
@dataclass(frozen=True)
class Selected:
    """A backend that was chosen, where it comes from, and how it was chosen."""

    backend: Backend
    record: BackendRecord
    how: str
    notes: tuple[str, ...] = ()


def select(backend: str | Backend | None = None) -> Selected:
    """Choose a backend: the argument, else `use_backend`, else ``SPARSAE_BACKEND``, else the default."""
    if isinstance(backend, Backend):
        return Selected(backend, BackendRecord(backend.name, "", "", False, "ready"), "argument")
    choices = (
        ("argument", backend),
        ("context", _NAME.get()),
        ("environment", os.environ.get("SPARSAE_BACKEND")),
        ("default", DEFAULT_BACKEND),
    )
    how, name = next((how, name) for how, name in choices if name)
    found = [point for point in entry_points(group=GROUP) if point.name == name]
    if not found:
        names = ", ".join(sorted(point.name for point in entry_points(group=GROUP)))
        raise BackendNotFoundError(f"No backend named {name!r}. Available: {names}.")
    made = found[0].load().sparsae_backend()
    if not isinstance(made, Backend):
        raise BackendBrokenError(f"Backend {name!r}: sparsae_backend() returned {made!r}, not a Backend.")
    dist = found[0].dist
    record = BackendRecord(
        made.name,
        dist.name if dist else "",
        dist.version if dist else "",
        bundled=dist is not None and dist.name == "sparsae",
        state="ready",
        threading=made.threading,
        summary=made.summary,
        install=made.install,
    )
    return Selected(made, record, how)


def get_backend(name: str | None = None) -> Backend:
    """Return the backend of that name, or the one that would be used."""
    return select(name).backend


def list_backends() -> tuple[BackendRecord, ...]:
    """Return a record of every registered backend, sorted by name."""
    return tuple(select(point.name).record for point in sorted(entry_points(group=GROUP), key=lambda p: p.name))


def requested_threads() -> int | None:
    """Return the thread count asked for by `use_backend` or ``SPARSAE_THREADS``; None where there is none."""
    asked = _THREADS.get()
    word = os.environ.get("SPARSAE_THREADS")
    if asked is not None or not word:
        return asked
    if not word.isdigit() or int(word) < 1:
        raise ParameterError(f"SPARSAE_THREADS must be an integer of at least 1; it is {word!r}.")
    return int(word)


@contextmanager
def use_backend(name: str | None = None, *, threads: int | None = None) -> Iterator[None]:
    """Use that backend, and that many threads, where the arguments of a call do not say otherwise."""
    before = _NAME.set(name if name is not None else _NAME.get())
    count = _THREADS.set(threads if threads is not None else _THREADS.get())
    try:
        yield
    finally:
        _THREADS.reset(count)
        _NAME.reset(before)
