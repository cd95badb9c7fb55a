"""State that belongs to the whole process: a snapshot of it, and what differs between two snapshots."""

from __future__ import annotations

import builtins
import decimal
import faulthandler
import gc
import hashlib
import locale
import logging
import math
import os
import pickle
import random
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from operator import is_
from pathlib import Path
from types import ModuleType
from typing import Any, final

import numpy as np

from sparsae._text import printable
from sparsae.machine.limits import pools

LONGEST = 120  # characters of a value in a message
MOST_NAMES = 6  # changed names in a message
MAY_GROW = ("thread limits", "replaced functions")  # a library that is loaded later brings its own
OWN_FILES = "/proc/self/fd"
OWN_TASKS = Path("/proc/self/task")
WATCHED_MODULES: tuple[ModuleType, ...] = (
    *(builtins, gc, math, os, random, sys, threading, time, warnings),
    *(np, np.linalg, np.random),
)
_FUNCTIONS: dict[ModuleType, tuple[dict[str, Any], dict[str, Any]]] = {}


@final
class Identity:
    """Stands for an object that is compared with ``is``: its own ``==`` and ``repr`` are never called."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and other.value is self.value

    __hash__ = None  # type: ignore[assignment]  # not hashable, as lists

    def __repr__(self) -> str:
        name = getattr(self.value, "__qualname__", None) or getattr(self.value, "name", None)
        return name if isinstance(name, str) else type(self.value).__name__


Snapshot = dict[str, Any]


def snapshot() -> Snapshot:
    """Read every kind of state in `PROBES`; changes nothing."""
    return {name: probe() for name, probe in PROBES.items()}


def differences(before: Snapshot, after: Snapshot, *, ignore: tuple[str, ...] = ()) -> list[str]:
    """Say what changed, one sentence for each kind of state.

    Of the environment only names are said: values may be secrets.
    """
    found = []
    for name, value in before.items():
        now = after[name]
        if value == now:
            continue
        if name in MAY_GROW:
            now = {key: item for key, item in now.items() if key in value}
        if name not in ignore and value != now:
            found.append(_describe(name, value, now))
    return found


def _describe(name: str, before: Any, after: Any) -> str:
    if isinstance(before, list) and isinstance(after, list):
        before, after = dict.fromkeys(map(str, before), ""), dict.fromkeys(map(str, after), "")
    if not isinstance(before, dict):
        return f"{name} changed from {_short(before)} to {_short(after)}"
    if before == after:
        return f"{name}: their order changed"
    keys = [key for key in [*before, *(k for k in after if k not in before)] if before.get(key) != after.get(key)]
    parts = []
    for key in keys[:MOST_NAMES]:
        what = "added" if key not in before else "removed" if key not in after else "changed"
        values = name != "environment variables" and key in before and key in after
        detail = f" from {_short(before[key])} to {_short(after[key])}" if values else ""
        shown = f" ({_short(after[key])})" if what == "added" and name == "open files" else ""
        parts.append(f"{printable(key)}{shown} {what}{detail}")
    more = f", and {len(keys) - MOST_NAMES} more" if len(keys) > MOST_NAMES else ""
    return f"{name}: {', '.join(parts)}{more}"


def _short(value: Any) -> str:
    text = printable(repr(value))
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _digest(value: object) -> str:
    return hashlib.sha256(pickle.dumps(value)).hexdigest()[:8]


def _numpy_errors() -> dict[str, Any]:
    return {**np.geterr(), "call": Identity(np.geterrcall()), "buffer size": np.getbufsize()}


def _print_options() -> dict[str, str]:
    return {key: str(value) for key, value in np.get_printoptions().items()}


def _warning_filters() -> list[str]:
    """Filters of categories that Python and NumPy define: a library may add filters for warnings of its own."""
    return [
        f"{item[0]} {category}{f' {item[1].pattern!r}' if item[1] else ''}"
        for item in warnings.filters
        if (category := str(getattr(item[2], "__name__", item[2])))
        and str(getattr(item[2], "__module__", "")).partition(".")[0] in ("builtins", "numpy", "sparsae")
    ]


def _directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return "a folder that does not exist"


def _umask() -> str:
    for line in _lines("/proc/self/status"):
        if line.startswith("Umask:"):
            return line.split()[1]
    mask = os.umask(0o077)  # another system: it can only be read by setting it
    os.umask(mask)
    return f"{mask:04o}"


def _signals() -> dict[str, Any]:
    found: dict[str, Any] = {
        item.name: Identity(signal.getsignal(item)) for item in signal.valid_signals() if _named(item)
    }
    if hasattr(signal, "pthread_sigmask"):
        found["blocked"] = sorted(int(item) for item in signal.pthread_sigmask(signal.SIG_BLOCK, []))
    if hasattr(signal, "getitimer"):
        timers = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
        found["timers"] = [signal.getitimer(timer)[0] > 0 for timer in timers]
    return found


def _named(item: object) -> bool:
    return isinstance(item, signal.Signals)


def _garbage_collection() -> dict[str, Any]:
    return {"enabled": gc.isenabled(), "thresholds": gc.get_threshold(), "debugging": gc.get_debug()}


def _streams() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = getattr(sys, name, None)
        found[f"sys.{name}"] = Identity(stream)
        found[f"sys.{name} is closed"] = bool(getattr(stream, "closed", False))
        try:
            there = os.fstat(number)
            found[f"file descriptor {number}"] = (there.st_dev, there.st_ino)
        except OSError:
            found[f"file descriptor {number}"] = "closed"
    return found


def _hooks() -> dict[str, Any]:
    return {
        "sys.excepthook": Identity(sys.excepthook),
        "sys.unraisablehook": Identity(sys.unraisablehook),
        "sys.displayhook": Identity(sys.displayhook),
        "threading.excepthook": Identity(threading.excepthook),
        "the trace function": Identity(sys.gettrace()),
        "the profile function": Identity(sys.getprofile()),
        "faulthandler": faulthandler.is_enabled(),
    }


def _logging() -> dict[str, Any]:
    root = logging.getLogger()
    loggers = [item for item in list(root.manager.loggerDict.values()) if isinstance(item, logging.Logger)]
    levels = {item.name: item.level for item in loggers if item.level and item.name.startswith(("sparsae", "numpy"))}
    handlers = [type(handler).__name__ for handler in root.handlers]
    return {"root level": root.level, "disabled up to": root.manager.disable, "root handlers": handlers, **levels}


def _thread_limits() -> dict[str, int]:
    return {str(pool["library"]): pool["num_threads"] for pool in pools() if pool["user_api"] == "blas"}


def _affinity() -> list[int]:
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def _priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else 0


def _resource_limits() -> dict[str, Any]:
    try:
        import resource
    except ImportError:  # Windows
        return {}
    return {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}


def _floating_point() -> dict[str, bool]:
    """Flush-to-zero and the rounding mode, by what they do to two sums."""
    tiny, eps = np.array([np.finfo(np.float64).smallest_subnormal]), np.array([2.0**-53])
    up, down = np.array([1.0]) + eps, np.array([-1.0]) - eps
    return {"gradual underflow": bool((tiny * 1.0)[0] > 0), "rounds to nearest": bool(up[0] == 1.0 == -down[0])}


def _python_threads() -> list[str]:
    return sorted(f"{thread.name} ({thread.ident})" for thread in threading.enumerate())


def _open_files() -> dict[str, str]:
    """Open file descriptors and what they lead to; nothing where the system does not tell."""
    found: dict[str, str] = {}
    try:
        numbers = os.listdir(OWN_FILES)  # noqa: PTH208 (names alone are needed)
    except OSError:
        return found
    for number in numbers:
        try:
            found[f"descriptor {number}"] = os.readlink(f"{OWN_FILES}/{number}")  # noqa: PTH115 (the link may lead nowhere)
        except OSError:
            continue  # the descriptor that listed the folder
    return found


def _child_processes() -> list[str]:
    """Child processes of this process, ended ones that nobody waited for included."""
    found: list[str] = []
    try:
        for task in OWN_TASKS.iterdir():
            found += _lines(str(task / "children"))
    except OSError:
        return []
    return sorted(" ".join(found).split())


def _replaced_functions() -> dict[str, Any]:
    """Functions and classes of modules that a backend might patch."""
    own = [m for name, m in list(sys.modules.items()) if name.startswith("sparsae.") and isinstance(m, ModuleType)]
    found: dict[str, Any] = {}
    for module in (*WATCHED_MODULES, *own):
        found |= _functions_of(module)
    return found


def _functions_of(module: ModuleType) -> dict[str, Identity]:
    """Return those of one module: what was returned last where nothing was replaced since, which is 20 times faster."""
    names = vars(module).copy()
    last, functions = _FUNCTIONS.get(module, ({}, {}))
    if last.keys() != names.keys() or not all(map(is_, last.values(), names.values())):
        functions = {
            f"{module.__name__}.{name}": Identity(value)
            for name, value in names.items()
            if callable(value) and not name.startswith("__")
        }
        _FUNCTIONS[module] = names, functions
    return functions


def _limits_of_python() -> dict[str, Any]:
    return {
        "recursion limit": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
        "digits of an integer": getattr(sys, "get_int_max_str_digits", lambda: 0)(),
        "temporary folder": tempfile.gettempdir(),
        "time zone": time.tzname,
        "decimal context": repr(decimal.getcontext()).partition(", flags")[0],
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except (OSError, ValueError):
        return []


PROBES: dict[str, Callable[[], Any]] = {
    "NumPy's error state": _numpy_errors,
    "NumPy's print options": _print_options,
    "warning filters": _warning_filters,
    "Python's random state": lambda: _digest(random.getstate()),
    "NumPy's random state": lambda: _digest(np.random.get_state()),  # noqa: NPY002 (the state that must not change)
    "environment variables": lambda: dict(os.environ),
    "the working directory": _directory,
    "the umask": _umask,
    "signal handlers": _signals,
    "garbage collection": _garbage_collection,
    "limits of Python": _limits_of_python,
    "the locale": lambda: locale.setlocale(locale.LC_ALL, None),
    "sys.path": lambda: [printable(item) for item in sys.path],
    "the standard streams": _streams,
    "hooks": _hooks,
    "logging": _logging,
    "thread limits": _thread_limits,
    "the CPU affinity": _affinity,
    "the priority": _priority,
    "resource limits": _resource_limits,
    "floating-point modes": _floating_point,
    "threads left running": _python_threads,
    "open files": _open_files,
    "child processes": _child_processes,
    "replaced functions": _replaced_functions,
}


def system_threads() -> int:
    """Return the number of threads of this process, those of libraries included; 0 where the system does not tell."""
    try:
        return sum(1 for _ in OWN_TASKS.iterdir())
    except OSError:
        return 0
