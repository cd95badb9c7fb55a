"""Which backend, and how many threads: argument > `use_backend` > environment > default.

A backend that the user named either runs or the call fails; there is no silent fallback.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Self, final

from sparsae._text import suggest
from sparsae.errors import BackendNotFoundError, ParameterError
from sparsae.model import check_size
from sparsae.plugins.contract import Backend
from sparsae.plugins.records import text_of
from sparsae.plugins.registry import RESERVED, BackendRecord, disabled, registry

COMPILED = "numba"  # the default where its library can be used: whoever installed that asked for it
FALLBACK = "fused"  # needs NumPy alone
AUTO = RESERVED
_NAME: ContextVar[str | Backend | None] = ContextVar("sparsae_backend", default=None)
_THREADS: ContextVar[int | None] = ContextVar("sparsae_threads", default=None)


@final
@dataclass(frozen=True)
class Selected:
    """A backend that was chosen.

    Attributes
    ----------
    backend : Backend
    record : BackendRecord
        Where it comes from; without a distribution where the `Backend` itself was given.
    how : {"argument", "context", "environment", "default", "auto"}
        How it was chosen.
    notes : tuple of str
        For the receipt.
    """

    backend: Backend
    record: BackendRecord
    how: str
    notes: tuple[str, ...] = ()


def requested_backend(backend: str | Backend | None = None) -> tuple[str, str | Backend]:
    """Return how a backend is chosen, and its name (or the `Backend` itself); no plugin is loaded.

    Raises
    ------
    ParameterError
        When it is neither a name nor a `Backend`.
    """
    if backend is not None and not isinstance(backend, (str, Backend)):
        raise ParameterError(f"backend must be the name of a backend or a sparsae.Backend; given {backend!r}.")
    if backend:
        return "argument", backend
    if chosen := _NAME.get():
        return "context", chosen
    if word := os.environ.get("SPARSAE_BACKEND", "").strip():
        return "environment", word
    return "default", default_backend()


def default_backend() -> str:
    """Return the name of the default backend: the same in each process of an installation, since it decides bits.

    So it depends neither on CPUs nor on what is compiled already.
    """
    return FALLBACK if _why_not_compiled() else COMPILED


def why_default() -> str:
    """Return a sentence on which backend is the default, and why."""
    if reason := _why_not_compiled():
        return f"Backend {FALLBACK!r} is the default: {reason}."
    return (
        f"Backend {COMPILED!r} is the default, since it is installed; it compiles for some seconds when a machine uses "
        f"it first. {FALLBACK!r} is ready at once."
    )


def _why_not_compiled() -> str:
    """Return why the compiled backend cannot be the default; "" where it can."""
    return f"{COMPILED} is disabled" if COMPILED in disabled() else _why_not_imported()


@cache
def _why_not_imported() -> str:
    """Return why the library of the compiled backend cannot be used; "" where it can, and is imported then."""
    if find_spec(COMPILED) is None:
        return f"{COMPILED} is not installed"
    try:
        told_not_to = import_module(COMPILED).config.DISABLE_JIT
    except Exception as error:  # noqa: BLE001 (one that is damaged, or wants another NumPy, may raise anything)
        return f"{COMPILED} cannot be imported ({type(error).__name__}: {text_of(error)})"
    return f"{COMPILED} is told not to compile, by NUMBA_DISABLE_JIT" if told_not_to else ""


def select(backend: str | Backend | None = None) -> Selected:
    """Choose and load a backend: the argument, else `use_backend`, else ``SPARSAE_BACKEND``, else the default.

    Raises
    ------
    BackendNotFoundError
        When there is none of that name; says which there are and which is nearest.
    BackendError
        When it is there and cannot be used: not installed, broken, in conflict, incompatible, disabled.
    """
    how, value = requested_backend(backend)
    if isinstance(value, Backend):
        return Selected(value, BackendRecord(value.name, "", "", threading=value.threading), how)
    if value == AUTO:
        raise BackendNotFoundError(
            "'auto' is not a backend: it picks the fastest one for a problem. "
            "Give it to train, Objective or cost_and_gradient; elsewhere name a backend."
        )
    backends = registry()
    if value not in backends:
        raise BackendNotFoundError(_not_found(value, how))
    found, record = backends.get(value)
    return Selected(found, record, how, (why_default(),) if how == "default" else ())


def get_backend(name: str | None = None) -> Backend:
    """Return the backend of that name, or the one that would be used; errors as in `select`."""
    return select(name).backend


def list_backends() -> tuple[BackendRecord, ...]:
    """Return a record of every registered backend, sorted by name; imports every plugin module."""
    return registry().records()


def requested_threads() -> int | None:
    """Return the thread count asked for by `use_backend` or ``SPARSAE_THREADS``; None where there is none.

    Raises
    ------
    ParameterError
        When the variable is not a positive integer.
    """
    if (asked := _THREADS.get()) is not None:
        return asked
    word = os.environ.get("SPARSAE_THREADS", "").strip()
    if not word:
        return None
    if not (word.isascii() and word.isdigit()) or int(word) < 1:
        raise ParameterError(f"SPARSAE_THREADS must be an integer of at least 1; it is {word!r}.")
    return int(word)


@final
class use_backend:  # noqa: N801  (a verb: `use_backend("numba")`, and `with use_backend("numba"):`)
    """Use that backend, and that many threads, where the arguments of a call do not say otherwise.

    It takes effect at once, for this thread (or task).  As a context manager it ends with the block; without ``with``
    it lasts until `restore` is called.  Blocks may nest.

    Parameters
    ----------
    backend : str or Backend, optional
        Left out: as before.
    threads : int, optional
        Left out: as before.

    Raises
    ------
    BackendError, ParameterError
        At once, when the backend cannot be used or `threads` is not a positive integer.

    Examples
    --------
    >>> import sparsae
    >>> with sparsae.use_backend("numpy"):
    ...     print(sparsae.get_backend().name)
    numpy
    >>> choice = sparsae.use_backend("dot")
    >>> print(sparsae.get_backend().name)
    dot
    >>> choice.restore()
    """

    def __init__(self, backend: str | Backend | None = None, *, threads: int | None = None) -> None:
        if backend is not None and backend != AUTO:
            select(backend)
        self._backend = backend
        self._threads = None if threads is None else check_size("threads", threads)
        self._before: tuple[str | Backend | None, int | None] | None = None
        self._apply()

    def _apply(self) -> None:
        if self._before is None:
            self._before = _NAME.get(), _THREADS.get()
            if self._backend is not None:
                _NAME.set(self._backend)
            if self._threads is not None:
                _THREADS.set(self._threads)

    def restore(self) -> None:
        """Use again what was used before; does nothing the second time."""
        if self._before is not None:
            before, self._before = self._before, None
            _NAME.set(before[0])
            _THREADS.set(before[1])

    def __enter__(self) -> Self:
        self._apply()  # once more, when it was restored meanwhile
        return self

    def __exit__(self, *_: object) -> None:
        self.restore()


def _not_found(name: str, how: str) -> str:
    """Say what was asked for, what there is, and which is nearest."""
    names = [known for known in registry().names() if known not in disabled()]
    asked = {"environment": " (from SPARSAE_BACKEND)", "context": " (from use_backend)"}.get(how, "")
    return (
        f"No backend named {name!r}{asked}{suggest(name, [*names, AUTO])} "
        f"Available: {', '.join(names)}. Third-party backends appear once their package is installed."
    )
