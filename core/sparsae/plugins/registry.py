"""Backends and observers by entry point: the only file that imports pluggy and importlib.metadata.

Nothing is looked for at import.  The first use reads entry-point metadata; choosing a backend imports that one alone;
listing imports every plugin module.  A plugin that is broken, conflicting, incompatible or disabled keeps its error
for whoever asks for it, and disturbs nobody else.

Why not `PluginManager.load_setuptools_entrypoints`: it imports everything, stops at the first failure,
and drops duplicates without a word.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, distributions, entry_points
from importlib.util import find_spec
from typing import Any, Literal, final

import pluggy

from sparsae.errors import (
    BackendBrokenError,
    BackendConflictError,
    BackendDisabledError,
    BackendError,
    BackendIncompatibleError,
    BackendNotInstalledError,
    ParameterError,
    SparsaeError,
    SparsaeWarning,
)
from sparsae.plugins.contract import CONTRACT, OLDEST_CONTRACT, Backend

PROJECT = "sparsae"
GROUP = "sparsae.backends"
OBSERVER_GROUP = "sparsae.observers"
RESERVED = "auto"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

State = Literal["ready", "not installed", "broken", "conflict", "incompatible", "disabled"]
STATES: dict[type[BackendError], State] = {
    BackendNotInstalledError: "not installed",
    BackendConflictError: "conflict",
    BackendIncompatibleError: "incompatible",
    BackendDisabledError: "disabled",
    BackendBrokenError: "broken",
}


class Hooks:
    """What a plugin may implement."""

    @hookspec
    def sparsae_backend(self) -> Backend:  # type: ignore[empty-body]
        """Return the one `Backend` of this plugin."""

    @hookspec
    def sparsae_iteration(self, progress: Any) -> bool | None:
        """See one iteration of a fit; return True to ask for a stop."""


@final
@dataclass(frozen=True)
class BackendRecord:
    """What is known of one registered backend.

    Attributes
    ----------
    name : str
        Name of the entry point, and of the backend.
    distribution, version : str
        The installed distribution that registers it.
    module : str
        Where the entry point leads.
    bundled : bool
        Whether it comes with sparsae.
    state : str
        ready, not installed, broken, conflict, incompatible, disabled.
    threading, summary, install : str
        As the backend declares them; empty where it could not be loaded.
    error : BackendError or None
        Why it is not ready; the original cause is chained.
    """

    name: str
    distribution: str
    version: str
    module: str = ""
    bundled: bool = False
    state: State = "ready"
    threading: str = ""
    summary: str = ""
    install: str = ""
    error: BackendError | None = None


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
        self._lock = threading.RLock()  # two threads that load the same plugin would register it twice
        for point in points:
            known = self._points.setdefault(point.name, [])
            if point.value not in [other.value for other in known]:  # the same one twice is tolerated
                known.append(point)
        for known in self._points.values():
            if len(known) > 1:  # the owner's name costs a file to read; bundled names cannot be shadowed
                known.sort(key=lambda point: (not _is_bundled(point), point.value))

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
        elif len(known) > 1 and not _is_bundled(known[0]):
            error = _conflict(name, known)
        if error is not None:
            raise error
        backend = self._load(known[0])
        if isinstance(backend, BackendError):
            raise backend.with_traceback(None)  # kept and raised again: what counts is its cause's traceback
        if name not in self._ready:  # whose it is stands in a file, which takes a millisecond to read
            self._ready[name] = _record(known[0], backend, None)
        return backend, self._ready[name]

    def records(self) -> tuple[BackendRecord, ...]:
        """Return a record of each registered backend, sorted by name; imports every plugin module."""
        found = []
        for name in self.names():
            known = self._points[name]
            try:
                found.append(self.get(name)[1])
            except BackendError as error:
                backend = None if isinstance(error, BackendDisabledError) else self._loaded.get(known[0])
                found.append(_record(known[0], backend, error))
            if _is_bundled(known[0]):  # whoever tried to shadow it
                found += [_record(point, None, _conflict(name, known)) for point in known[1:]]
        return tuple(found)

    def _load(self, point: EntryPoint) -> Backend | BackendError:
        """Import and check one plugin, once; the outcome is kept."""
        with self._lock:
            if point not in self._loaded:
                try:
                    backend = self._ask(point)
                    _check_contract(point, backend)
                    _check_requirements(backend)
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
            raise _broken(point, f"its entry-point name {point.name!r} is not an identifier such as 'mine'")
        if point.name == RESERVED:
            raise _broken(point, f"the name {RESERVED!r} is reserved: it asks for the fastest backend")
        try:
            plugin = point.load()
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # also sys.exit(), and a panic of a compiled plugin
            raise _broken(point, f"{type(error).__name__} when it was imported: {error}") from error
        impls = _register(self._manager, plugin, point, "sparsae_backend")
        if len(impls) != 1:
            self._manager.unregister(plugin)
            raise _broken(point, f"it implements the hook sparsae_backend {len(impls)} times instead of once")
        try:
            backend: Any = impls[0].function()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            self._manager.unregister(plugin)
            reason = f"{type(error).__name__} in its hook sparsae_backend: {error}"
            if isinstance(error, SparsaeError):  # from `Backend`, in words for the author
                reason = str(error).removesuffix(".")
            raise _broken(point, reason) from error
        reason = ""
        if not isinstance(backend, Backend):
            reason = f"its hook sparsae_backend returned {type(backend).__name__}, not one sparsae.Backend"
        elif backend.name != point.name:
            reason = f"its entry point is called {point.name!r} and its Backend {backend.name!r}; they must agree"
        if reason:
            self._manager.unregister(plugin)
            raise _broken(point, reason)
        made: Backend = backend
        return made


_LOCK = threading.Lock()
_REGISTRY: Registry | None = None


def registry() -> Registry:
    """Return the backends of this process; reads entry-point metadata when it is first called."""
    global _REGISTRY
    with _LOCK:
        if _REGISTRY is None:
            _REGISTRY = Registry(_entry_points(GROUP))
        return _REGISTRY


def _entry_points(group: str) -> list[EntryPoint]:
    """Read entry-point metadata; a distribution whose metadata cannot be read is left out, with a warning.

    importlib.metadata gives up on all of them when one file is malformed.
    """
    try:
        return list(entry_points(group=group))
    except Exception:  # noqa: BLE001 (whatever it is, the search goes on one by one)
        found: list[EntryPoint] = []
    for distribution in distributions():
        try:
            found += distribution.entry_points.select(group=group)
        except Exception as error:  # noqa: BLE001
            name = getattr(distribution, "_path", None) or distribution
            warnings.warn(
                f"The entry points of {name} cannot be read ({type(error).__name__}: {error}); they are left out.",
                SparsaeWarning,
                stacklevel=4,
            )
    return found


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
        points = {point.name: point for point in _entry_points(OBSERVER_GROUP)}
        if observer not in points:
            raise ParameterError(
                f"No observer named {observer!r}; registered are: {', '.join(sorted(points)) or 'none'}."
            )
        try:
            observer = points[observer].load()
        except (Exception, SystemExit) as error:
            raise ParameterError(f"Observer {observer!r} cannot be loaded: {type(error).__name__}: {error}") from error
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
        raise _broken(point, f"its hooks do not fit: {' '.join(str(error).split())}") from error
    impls = [impl for impl in getattr(manager.hook, hook).get_hookimpls() if impl.plugin is plugin]
    if not impls:
        manager.unregister(plugin)
        there = hasattr(plugin, hook)
        what = f"its function {hook} lacks the decorator @sparsae.hookimpl" if there else f"it has no hook {hook}"
        raise _broken(point, what)
    return impls


def _check_contract(point: EntryPoint, backend: Backend) -> None:
    """Refuse a backend that was written for a contract that this version does not support."""
    given: Any = backend.contract
    if type(given) is not int or not OLDEST_CONTRACT <= given <= CONTRACT:
        age = "upgrade sparsae" if isinstance(given, int) and given > CONTRACT else "ask for a newer release of it"
        raise BackendIncompatibleError(
            f"Backend {point.name!r} ({_whence(point)}) is written for contract {given!r}; "
            f"this sparsae supports {OLDEST_CONTRACT} to {CONTRACT}: {age}."
        )


def _check_requirements(backend: Backend) -> None:
    """Find out, without importing it, whether a library is missing."""
    missing = [name for name in backend.requires if not _is_installed(name)]
    if missing:
        hint = f" Install with: {backend.install}." if backend.install else ""
        raise BackendNotInstalledError(
            f"Backend {backend.name!r} needs {', '.join(missing)}, not installed here.{hint}"
        )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # a missing parent package, or a module without a spec
        return False


def _is_bundled(point: EntryPoint) -> bool:
    return point.dist is not None and point.dist.name == PROJECT


def _whence(point: EntryPoint) -> str:
    """Distribution, version and module of a plugin."""
    return f"{point.dist.name} {point.dist.version}, {point.value}" if point.dist is not None else point.value


def _broken(point: EntryPoint, reason: str) -> BackendBrokenError:
    error = BackendBrokenError(
        f"Backend {point.name!r} ({_whence(point)}) is broken: {reason}. "
        f"Details: sparsae backends {point.name}; to do without it: SPARSAE_DISABLE={point.name}."
    )
    error.reason = reason
    return error


def _conflict(name: str, points: list[EntryPoint]) -> BackendConflictError:
    return BackendConflictError(
        f"The backend name {name!r} is registered by {' and by '.join(_whence(point) for point in points)}; "
        f"uninstall one of them" + (", the bundled one is in use." if _is_bundled(points[0]) else ".")
    )


def _record(point: EntryPoint, backend: object, error: BackendError | None) -> BackendRecord:
    """Describe a plugin as far as it is known."""
    record = BackendRecord(
        point.name,
        (point.dist.name or "") if point.dist is not None else "",
        (point.dist.version or "") if point.dist is not None else "",
        point.value,
        _is_bundled(point),
    )
    if isinstance(backend, Backend):
        record = replace(record, threading=backend.threading, summary=backend.summary, install=backend.install)
    if error is not None:
        record = replace(record, state=STATES[type(error)], error=error)
    return record
