"""What is known of a registered backend, and the sentences that say why it cannot be used.

Text from plugins (names, versions, summaries, errors) is made printable here, before anybody shows it.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import Literal, final

from sparsae._install import as_installed
from sparsae._text import printable
from sparsae.errors import (
    BackendBrokenError,
    BackendConflictError,
    BackendDisabledError,
    BackendError,
    BackendIncompatibleError,
    BackendNotInstalledError,
)
from sparsae.plugins.contract import Backend

PROJECT = "sparsae"
BackendState = Literal["ready", "not installed", "broken", "conflict", "incompatible", "disabled"]
STATES: dict[type[BackendError], BackendState] = {
    BackendNotInstalledError: "not installed",
    BackendConflictError: "conflict",
    BackendIncompatibleError: "incompatible",
    BackendDisabledError: "disabled",
    BackendBrokenError: "broken",
}
ERRORS = {state: kind for kind, state in STATES.items()}


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
    state: BackendState = "ready"
    threading: str = ""
    summary: str = ""
    install: str = ""
    error: BackendError | None = None


@final
class PluginTracebackError(Exception):
    """Stands for an exception that was raised in another process; its text is the traceback."""

    def __str__(self) -> str:
        """Return the traceback, beginning on a line of its own."""
        return "\n" + str(self.args[0])


def make_record(point: EntryPoint, backend: object, error: BackendError | None) -> BackendRecord:
    """Describe a plugin as far as it is known."""
    record = BackendRecord(
        name=printable(point.name),
        distribution=printable(point.dist.name or "") if point.dist is not None else "",
        version=printable(point.dist.version or "") if point.dist is not None else "",
        module=printable(point.value),
        bundled=is_bundled(point),
    )
    if isinstance(backend, Backend):
        record = replace(
            record,
            threading=backend.threading,
            summary=printable(backend.summary),
            install=as_installed(printable(backend.install)),
        )
    if error is not None:
        record = replace(record, state=STATES.get(type(error), "broken"), error=error)
    return record


def is_bundled(point: EntryPoint) -> bool:
    """Whether a plugin comes with sparsae."""
    return point.dist is not None and point.dist.name == PROJECT


def source_of(point: EntryPoint) -> str:
    """Distribution, version and module of a plugin."""
    if point.dist is None:
        return printable(point.value)
    return printable(f"{point.dist.name} {point.dist.version}, {point.value}")


def broken(point: EntryPoint, reason: str) -> BackendBrokenError:
    """Return the error of a plugin that cannot be loaded."""
    name = printable(point.name)
    error = BackendBrokenError(
        f"Backend {name!r} ({source_of(point)}) is broken: {reason}. "
        f"Details: sparsae backends {name}; to do without it: SPARSAE_DISABLE={name}."
    )
    error.reason = reason
    return error


def conflict(name: str, points: list[EntryPoint]) -> BackendConflictError:
    """Return the error of a name that two distributions register."""
    return BackendConflictError(
        f"The backend name {printable(name)!r} is registered by {' and by '.join(source_of(p) for p in points)}; "
        f"uninstall one of them" + (", the bundled one is in use." if is_bundled(points[0]) else ".")
    )


def text_of(error: BaseException) -> str:
    """Return kind and text of an exception of a plugin's, whose ``__str__`` may raise."""
    try:
        return printable(f"{error}")
    except BaseException:  # noqa: BLE001 (whatever its __str__ raises)
        return "its text cannot be had"


def traceback_of(error: BaseException) -> str:
    """Return the traceback of an exception, safe to print; line breaks and indents stay."""
    lines = "".join(traceback.format_exception(error)).splitlines()
    return "\n".join(" " * (len(line) - len(line.lstrip(" "))) + printable(line) for line in lines)
