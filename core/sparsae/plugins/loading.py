"""Reads entry-point metadata, runs code of plugins so that it disturbs nobody, and checks what they declare."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from importlib.metadata import EntryPoint, distributions, entry_points
from importlib.util import find_spec
from types import FrameType
from typing import Any, TypeVar, final

from sparsae._install import as_installed
from sparsae._text import printable
from sparsae.errors import BackendIncompatibleError, BackendNotInstalledError, SparsaeWarning
from sparsae.machine.caller_warning import warn_caller
from sparsae.plugins.contract import CONTRACT, OLDEST_CONTRACT, Backend
from sparsae.plugins.records import source_of

Result = TypeVar("Result")


@final
class PluginRaisedError(Exception):
    """Raised when a plugin's code raised anything: the original exception is `cause`."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__()
        self.cause = cause


def read_entry_points(group: str) -> list[EntryPoint]:
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
        except Exception as error:  # noqa: BLE001 (a damaged distribution may raise anything)
            name = getattr(distribution, "_path", None) or distribution
            warn_caller(
                SparsaeWarning(
                    f"The entry points of {printable(name)} cannot be read "
                    f"({type(error).__name__}: {printable(error)}); they are left out."
                )
            )
    return found


def run_plugin_code(function: Callable[[], Result]) -> Result:
    """Call a function of a plugin, or its import; what it prints goes to standard error.

    Raises
    ------
    KeyboardInterrupt
        When the user interrupts.
    PluginRaisedError
        When the plugin raises, a KeyboardInterrupt or a SystemExit of its own included.
    """
    interrupted: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    watch = callable(before) and threading.current_thread() is threading.main_thread()

    def note(number: int, frame: FrameType | None) -> None:
        interrupted.append(number)
        assert callable(before)
        before(number, frame)

    if watch:
        signal.signal(signal.SIGINT, note)
    try:
        with redirect_stdout(sys.stderr) if sys.stderr is not None else nullcontext():
            return function()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt) and interrupted:
            raise
        raise PluginRaisedError(error) from error
    finally:
        if watch and signal.getsignal(signal.SIGINT) is note:  # the plugin may have set another handler
            signal.signal(signal.SIGINT, before)


def check_declaration(point: EntryPoint, backend: Backend) -> None:
    """Refuse a backend for another version of the contract, or whose libraries are missing; imports none of them.

    Raises
    ------
    BackendIncompatibleError, BackendNotInstalledError
        With what to do.
    """
    given: Any = backend.contract
    if type(given) is not int or not OLDEST_CONTRACT <= given <= CONTRACT:
        age = "upgrade sparsae" if isinstance(given, int) and given > CONTRACT else "ask for a newer release of it"
        raise BackendIncompatibleError(
            f"Backend {point.name!r} ({source_of(point)}) is written for contract {given!r}; "
            f"this sparsae supports {OLDEST_CONTRACT} to {CONTRACT}: {age}."
        )
    missing = [name for name in backend.requires if not _is_installed(name)]
    if missing:
        hint = f" Install with: {as_installed(printable(backend.install))}." if backend.install else ""
        raise BackendNotInstalledError(
            f"Backend {backend.name!r} needs {printable(', '.join(missing))}, not installed here.{hint}"
        )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except Exception:  # noqa: BLE001 (a missing parent package, a module without a spec, a parent that fails)
        return False
