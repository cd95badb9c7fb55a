"""From what a user asks to the `Problem` that kernels are built for: threads granted, rows of a block, limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any, final

import numpy as np

from sparsae.engine.kernel_calls import backend_error
from sparsae.engine.partition import ALIGN, cache_rows
from sparsae.engine.storage import SHARE
from sparsae.errors import BackendDeclinedError, ParameterError
from sparsae.machine.limits import limit
from sparsae.machine.resources import memory_limit
from sparsae.machine.threads import ThreadGrant, grant
from sparsae.model import check_size
from sparsae.model.settings import ModelSettings, kernel_activation
from sparsae.plugins.choices import recorded_choices
from sparsae.plugins.contract import Backend, Problem
from sparsae.plugins.selection import requested_threads


def draft_problem(settings: ModelSettings, n_visible: int, n_hidden: int, dtype: np.dtype[Any]) -> Problem:
    """Return the problem of a model, before threads are granted and rows of a block are chosen."""
    return Problem(
        n_visible=n_visible,
        n_hidden=n_hidden,
        dtype=dtype,
        activation=kernel_activation(settings.activation),
        k=settings.k if settings.activation == "topk" else None,
        bandwidth=settings.bandwidth,
        output=settings.output,
        choices=recorded_choices(),
    )


def resolve_problem(
    backend: Backend, draft: Problem, *, n_samples: int, threads: int | None, block_rows: object, what: str = ""
) -> tuple[ThreadGrant, Problem]:
    """Grant threads and fill in what follows from them and from the backend.

    Parameters
    ----------
    backend : Backend
    draft : Problem
        Sizes, dtype and units.
    n_samples : int
    threads : int or None
        As in `Objective`.
    block_rows : object
        As in `choose_block_rows`.
    what : str
        Said too when the backend declines.

    Raises
    ------
    BackendDeclinedError
        When the backend cannot take the problem; says why.
    ParameterError
        When `threads` or `block_rows` cannot be used.
    """
    granted = grant_threads(backend, threads)
    return granted, complete_problem(backend, draft, granted, n_samples=n_samples, block_rows=block_rows, what=what)


def grant_threads(backend: Backend, threads: int | None) -> ThreadGrant:
    """Grant what is asked for here, by `use_backend` or by the environment, as the backend spends it."""
    return grant(requested_threads() if threads is None else threads, backend.threading)


def complete_problem(
    backend: Backend, draft: Problem, granted: ThreadGrant, *, n_samples: int, block_rows: object, what: str = ""
) -> Problem:
    """Fill in what follows from the threads granted and from the backend; parameters and errors as above."""
    draft = replace(draft, threads=granted.pool, block_rows=n_samples)
    reason = backend.declines(draft)
    if reason is not None:
        more = f" ({what})" if what else ""
        raise BackendDeclinedError(f"Backend {backend.name!r} declines this problem: {reason}{more}.")
    return replace(draft, block_rows=choose_block_rows(block_rows, backend, draft, n_samples))


@contextmanager
def limit_backend_threads(backend: Backend, n: int) -> Iterator[None]:
    """Limit the backend's own pool, where it has one.

    Raises
    ------
    BackendError
        When its `limit_threads` raises.
    """
    if backend.limit_threads is None:
        yield
        return
    context = _BackendLimit(backend, n)
    context.call("__enter__")
    try:
        yield
    finally:
        context.call("__exit__", None, None, None)


@final
class _BackendLimit:
    """The context manager of a backend's `limit_threads`; what it raises becomes a `BackendError`."""

    def __init__(self, backend: Backend, n: int) -> None:
        self._name, self._make = backend.name, backend.limit_threads
        self._n = n
        self._context: Any = None

    def call(self, method: str, *arguments: object) -> None:
        raised: BaseException | None = None
        try:
            if self._context is None and self._make is not None:
                self._context = self._make(self._n)
            getattr(self._context, method)(*arguments)
        except BaseException as error:  # noqa: BLE001 (plugin code may raise anything)
            raised = backend_error(error, f"Backend {self._name!r} failed in limit_threads")
        if raised is not None:
            raise raised


def limit_all_threads(backend: Backend, granted: ThreadGrant) -> AbstractContextManager[object]:
    """Limit BLAS and OpenMP pools, and the backend's own where it has one, to what was granted."""
    return limit(granted.pool) if backend.limit_threads is None else _limit_own_too(backend, granted.pool)


@contextmanager
def _limit_own_too(backend: Backend, n: int) -> Iterator[None]:
    """Limit the pools of libraries and that of the backend."""
    with limit(n), limit_backend_threads(backend, n):
        yield


def choose_block_rows(asked: object, backend: Backend, problem: Problem, n_samples: int) -> int:
    """Return the number of rows in a block: the user's, else the backend's, else by threading.

    Backends that give their threads to BLAS or to a pool of their own get the largest block that the memory share
    allows; the others one that stays in cache.

    Raises
    ------
    ParameterError
        When it is not a positive integer, or the working set of such a block exceeds the memory share.
    """
    row_bytes = 4 * (problem.n_visible + problem.n_hidden) * problem.dtype.itemsize
    largest = max(ALIGN, memory_limit() // SHARE // row_bytes)
    if asked is not None:
        rows = min(check_size("block_rows", asked), n_samples)
        if rows > largest:
            raise ParameterError(
                f"block_rows={asked} needs about {rows * row_bytes / 2**30:.1f} GiB for one block; "
                f"the memory share allows {largest} rows. Leave block_rows out to have it chosen."
            )
        return rows
    if backend.block_rows is not None:
        rows = check_size(f"block_rows(problem) of backend {backend.name!r}", backend.block_rows(problem))
    elif backend.threading in ("blas", "own"):
        rows = n_samples
    else:
        rows = cache_rows(problem)
    return min(rows, n_samples, largest)
