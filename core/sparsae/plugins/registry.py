"""The registry of backends and observers: the only file that imports pluggy.

Nothing is read at import.  The first use reads entry-point metadata; choosing a backend imports that one alone;
listing imports the others in a child process (`sparsae.plugins.trial_import`).  A plugin that is broken, conflicting,
incompatible or disabled keeps its error for whoever asks for it, and disturbs nobody else.

Why not `PluginManager.load_setuptools_entrypoints`: it imports everything, stops at the first failure,
and drops duplicates without a word.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from importlib.metadata import EntryPoint
from typing import Any, final

import pluggy

from sparsae._text import printable
from sparsae.errors import (
    BackendDisabledError,
    BackendError,
    ParameterError,
    SparsaeError,
)
from sparsae.plugins.contract import Backend
from sparsae.plugins.loading import PluginRaisedError, check_declaration, read_entry_points, run_plugin_code
from sparsae.plugins.records import PROJECT, broken, conflict, is_bundled, make_record, text_of
from sparsae.plugins.records import BackendRecord as BackendRecord
from sparsae.plugins.trial_import import try_imports

GROUP = "sparsae.backends"
OBSERVER_GROUP = "sparsae.observers"
RESERVED = "auto"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


class Hooks:
    """What a plugin may implement."""

    @hookspec
    def sparsae_backend(self) -> Backend:  # type: ignore[empty-body]  # a declaration
        """Return the one `Backend` of this plugin."""

    @hookspec
    def sparsae_iteration(self, progress: Any) -> bool | None:
        """See one iteration of a fit; return True to ask for a stop."""


@final
class Registry:
    """The backends of this process: metadata at first, modules when they are asked for.

    Parameters
    ----------
    points : iterable of EntryPoint
        The entry points of the group.
    """

    def __init__(self, points: Iterable[EntryPoint]) -> None:
        self._manager = _manager()
        self._points: dict[str, list[EntryPoint]] = {}
        self._loaded: dict[EntryPoint, Backend | BackendError] = {}
        self._ready: dict[str, BackendRecord] = {}
        self._tried: dict[EntryPoint, BackendRecord] = {}  # imported in a child process, for a list
        self._lock = threading.RLock()  # two threads that load the same plugin would register it twice
        for point in points:
            known = self._points.setdefault(printable(point.name), [])
            if point.value not in [other.value for other in known]:  # the same one twice is tolerated
                known.append(point)
        for known in self._points.values():
            if len(known) > 1:  # the owner's name costs a file to read; bundled names cannot be shadowed
                known.sort(key=lambda point: (not is_bundled(point), point.value))

    def renew_lock(self) -> None:
        """In the child after a fork: a thread that was loading a plugin is not there to release the lock."""
        self._lock = threading.RLock()

    def __contains__(self, name: object) -> bool:
        """Whether a backend of that name is registered; nothing is imported."""
        return name in self._points

    def names(self) -> list[str]:
        """Every registered name, sorted; nothing is imported."""
        return sorted(self._points)

    def get(self, name: str) -> tuple[Backend, BackendRecord]:
        """Return a backend that can be used, and its record; imports this one alone.

        Raises
        ------
        KeyError
            When there is no such name.
        BackendError
            When it cannot be used; the kind says why.
        """
        known = self._points[name]
        error: BackendError | None = None
        if name in disabled():
            error = BackendDisabledError(
                f"Backend {name!r} is disabled by SPARSAE_DISABLE or --disable; take it off that list to use it."
            )
        elif len(known) > 1 and not is_bundled(known[0]):
            error = conflict(name, known)
        if error is not None:
            raise error
        backend = self._load(known[0])
        if isinstance(backend, BackendError):
            raise backend.with_traceback(None)  # kept and raised again: what counts is its cause's traceback
        if name not in self._ready:  # whose it is stands in a file, which takes a millisecond to read
            self._ready[name] = make_record(known[0], backend, None)
        return backend, self._ready[name]

    def records(self, names: Collection[str] | None = None) -> tuple[BackendRecord, ...]:
        """Return records of the backends of those names (default: of all), sorted by name.

        Plugins that do not come with sparsae and are not loaded yet are imported in a child process,
        so that none can hang, print, or end this process.
        """
        wanted = [name for name in self.names() if names is None or name in names]
        self._try_imports(wanted)
        found = []
        for name in wanted:
            known = self._points[name]
            found.append(self._tried.get(known[0]) or self.load_record(name))
            if is_bundled(known[0]):  # a distribution that tried to shadow it
                found += [make_record(point, None, conflict(name, known)) for point in known[1:]]
        return tuple(found)

    def load_record(self, name: str) -> BackendRecord:
        """Return the record of one backend; imports it in this process."""
        try:
            return self.get(name)[1]
        except BackendError as error:
            point = self._points[name][0]
            backend = None if isinstance(error, BackendDisabledError) else self._loaded.get(point)
            return make_record(point, backend, error)

    def _try_imports(self, names: list[str]) -> None:
        """Import plugins of others in child processes, and keep what was found."""
        with self._lock:
            self._tried = {point: record for point, record in self._tried.items() if point not in self._loaded}
            points = {name: self._points[name][0] for name in names if self._is_unknown(name)}
            if not points or not sys.executable:  # in an embedded Python there is nothing to start
                return
            with suppress(OSError):  # where no process can be started, each is imported in this one
                for name, outcome in try_imports(list(points)):
                    point = points[name]
                    record = make_record(point, None, broken(point, outcome)) if isinstance(outcome, str) else outcome
                    self._tried[point] = record

    def _is_unknown(self, name: str) -> bool:
        """Whether nothing is known of a plugin but its metadata, and its import would run code of somebody else."""
        point, *others = self._points[name]
        if is_bundled(point) or others or name in disabled():
            return False
        return point not in self._loaded and point not in self._tried and point.module not in sys.modules

    def _load(self, point: EntryPoint) -> Backend | BackendError:
        """Import and check one plugin, once; the outcome is kept."""
        with self._lock:
            if point not in self._loaded:
                try:
                    backend = self._ask(point)
                    check_declaration(point, backend)
                    self._loaded[point] = backend
                except BackendError as error:
                    self._loaded[point] = error
            return self._loaded[point]

    def _ask(self, point: EntryPoint) -> Backend:
        """Import the plugin, register it, and call its own hook implementation.

        Raises
        ------
        BackendBrokenError
            With the original cause chained.
        """
        if not point.name.isidentifier():
            raise broken(point, f"its entry-point name {printable(point.name)!r} is not an identifier such as 'mine'")
        if point.name == RESERVED:
            raise broken(point, f"the name {RESERVED!r} is reserved: it asks for the fastest backend")
        try:
            plugin = run_plugin_code(point.load)
        except PluginRaisedError as error:  # also sys.exit(), and a panic of a compiled plugin
            kind = type(error.cause).__name__
            raise broken(point, f"{kind} when it was imported: {text_of(error.cause)}") from error.cause
        impls = _register(self._manager, plugin, point, "sparsae_backend")
        if len(impls) != 1:
            self._manager.unregister(plugin)
            raise broken(point, f"it implements the hook sparsae_backend {len(impls)} times instead of once")
        try:
            backend: Any = run_plugin_code(impls[0].function)
        except PluginRaisedError as error:
            self._manager.unregister(plugin)
            cause = error.cause
            if isinstance(cause, SparsaeError):  # the Backend that it makes is refused
                raise broken(point, text_of(cause).removesuffix(".")) from cause
            raise broken(point, f"{type(cause).__name__} in its hook sparsae_backend: {text_of(cause)}") from cause
        reason = ""
        if not isinstance(backend, Backend):
            reason = f"its hook sparsae_backend returned {type(backend).__name__}, not one sparsae.Backend"
        elif backend.name != point.name:
            reason = (
                f"its entry point is called {point.name!r} and its Backend {printable(backend.name)!r}; they must agree"
            )
        if reason:
            self._manager.unregister(plugin)
            raise broken(point, reason)
        made: Backend = backend
        return made


_LOCK = threading.Lock()
_REGISTRY: Registry | None = None


def registry() -> Registry:
    """Return the backends of this process; reads entry-point metadata when it is first called."""
    global _REGISTRY
    with _LOCK:
        if _REGISTRY is None:
            _REGISTRY = Registry(read_entry_points(GROUP))
        return _REGISTRY


def _renew_locks() -> None:
    """In the child after a fork: threads that held the locks are not there any more."""
    global _LOCK
    _LOCK = threading.Lock()
    if _REGISTRY is not None:
        _REGISTRY.renew_lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


def disabled() -> set[str]:
    """Return the names that ``SPARSAE_DISABLE`` takes out of use; ``sparsae --disable`` adds to it."""
    words = os.environ.get("SPARSAE_DISABLE", "").split(",")
    return {word.strip() for word in words if word.strip()}


def observer_function(observer: Any) -> Callable[[Any], Any]:
    """Turn an observer into a function of the progress.

    Parameters
    ----------
    observer : callable, plugin or str
        A function; an object or module with a `hookimpl` named ``sparsae_iteration``;
        or the name of an entry point in the group ``sparsae.observers`` that leads to one of these.

    Raises
    ------
    ParameterError
        When it is none of these; says what it is.
    """
    if isinstance(observer, str):
        points = {point.name: point for point in read_entry_points(OBSERVER_GROUP)}
        if observer not in points:
            names = ", ".join(map(printable, sorted(points))) or "none"
            raise ParameterError(f"No observer named {observer!r}; registered are: {names}.")
        try:
            observer = run_plugin_code(points[observer].load)
        except PluginRaisedError as error:
            kind = type(error.cause).__name__
            raise ParameterError(
                f"Observer {observer!r} cannot be loaded: {kind}: {text_of(error.cause)}"
            ) from error.cause
    manager = _manager()
    try:
        manager.register(observer)
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        raise ParameterError(f"Observer {observer!r} has a hook that does not fit: {error}") from error
    impls = manager.hook.sparsae_iteration.get_hookimpls()
    if not impls:
        if callable(observer):
            function: Callable[[Any], Any] = observer
            return function
        raise ParameterError(
            f"An observer must be a function of the progress, a plugin with a hookimpl sparsae_iteration(progress), "
            f"or the name of one; given {observer!r}."
        )
    implementation = impls[0]
    return lambda progress: implementation.function(*[progress][: len(implementation.argnames)])


def _manager() -> pluggy.PluginManager:
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(Hooks)
    return manager


def _register(manager: pluggy.PluginManager, plugin: Any, point: EntryPoint, hook: str) -> list[Any]:
    """Register a plugin and return its own implementations of a hook; a refused one is not left half registered."""
    try:
        manager.register(plugin, name=f"{point.name}={point.value}")
        manager.check_pending()
    except Exception as error:  # a wrong signature, an unknown hook, the same module under another name
        if not isinstance(error, ValueError) and manager.is_registered(plugin):
            manager.unregister(plugin)
        raise broken(point, f"its hooks do not fit: {text_of(error)}") from error
    impls = [impl for impl in getattr(manager.hook, hook).get_hookimpls() if impl.plugin is plugin]
    if not impls:
        manager.unregister(plugin)
        there = hasattr(plugin, hook)
        what = f"its function {hook} lacks the decorator @sparsae.hookimpl" if there else f"it has no hook {hook}"
        raise broken(point, what)
    return impls
