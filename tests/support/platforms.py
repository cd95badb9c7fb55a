"""Systems that are not Linux, as far as Linux can play them.

`simulate` takes from a process what macOS or Windows does not have: functions of `os` and `signal`, modules, folders
of the kernel, unnamed files.  ``os.name`` stays, since `pathlib` and `subprocess` of this Python would not work
without it.  A child process takes part when it is started with the environment of `environment`.
"""

from __future__ import annotations

import builtins
import io
import multiprocessing
import os
import platform
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import suppress
from importlib import import_module
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any

VARIABLE = "SPARSAE_SIMULATED_SYSTEM"
SYSTEMS = ("darwin", "win32")
LINUX_ONLY = (
    "sched_getaffinity",
    "sched_setaffinity",
    "posix_fadvise",
    "O_TMPFILE",
    "memfd_create",
    "pidfd_open",
)
MISSING = {
    "darwin": LINUX_ONLY,
    "win32": (
        *LINUX_ONLY,
        "fork",
        "register_at_fork",
        "setsid",
        "killpg",
        "getpgid",
        "geteuid",
        "getuid",
        "chown",
        "fchown",
        "fchmod",
        "mkfifo",
        "mknod",
        "sysconf",
        "sysconf_names",
        "getloadavg",
        "uname",
        "O_NONBLOCK",
        "O_CLOEXEC",
        "O_NOFOLLOW",
        "O_DIRECTORY",
        "posix_fallocate",
        "pread",
        "preadv",
        "sched_yield",
        "nice",
        "getpriority",
        "setpriority",
    ),
}
MODULES = {"darwin": (), "win32": ("fcntl", "resource", "pty", "termios", "tty", "pwd", "grp")}
SIGNALS = {
    "darwin": (),
    "win32": (
        *("SIGKILL", "SIGSTOP", "SIGCONT", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE", "SIGQUIT"),
        *("pthread_sigmask", "SIG_BLOCK", "SIG_UNBLOCK", "getitimer", "setitimer", "pthread_kill"),
    ),
}
LOOK_AT_PLATFORM = ("sparsae.engine.cpu_balance", "sparsae.testing.process")  # our modules that read `sys.platform`
OTHERS = (
    "asyncio",
    "platformdirs",
    "zarr",
    "click",
    "rich.progress",
    "scipy.linalg",
    "scipy.optimize",
    "scipy.sparse",
    "threadpoolctl",
    "numba",
    "matplotlib.pyplot",
    "pandas",
    "sklearn.datasets",
)
HIDDEN = ("/proc", "/sys")
HIDDEN_WORDS = tuple(f"{folder}/" for folder in HIDDEN)
SEEN = "/proc/self/maps"  # where threadpoolctl finds libraries, as it does by other means elsewhere


def environment(system: str, folder: Path) -> dict[str, str]:
    """Return the environment in which every Python process simulates a system; writes a file into a folder."""
    (folder / "sitecustomize.py").write_text(
        "from tests.support.platforms import simulate_if_asked\nsimulate_if_asked()\n", encoding="utf-8"
    )
    root = Path(__file__).parents[2]
    return dict(os.environ) | {VARIABLE: system, "PYTHONPATH": os.pathsep.join((str(folder), str(root)))}


def simulate_if_asked() -> None:
    """Simulate the system that the environment names."""
    if os.environ.get(VARIABLE) in SYSTEMS:
        simulate(os.environ[VARIABLE])


def simulate(system: str) -> None:
    """Take away what a system does not have, for the rest of this process.

    ``sys.platform`` differs for our own modules alone: other libraries look for the system's own libraries by it.
    """
    _import_others()
    multiprocessing.get_all_start_methods = lambda: ["spawn"]  # type: ignore[assignment]
    real = platform.uname()
    platform.uname = lambda: real  # type: ignore[assignment]  # it would ask `os.uname`
    tempfile._O_TMPFILE_WORKS = False  # type: ignore[attr-defined]
    subprocess.os = frozen(os)  # type: ignore[attr-defined]  # what it starts processes with
    subprocess.signal = frozen(signal)  # type: ignore[attr-defined]  # what it ends them with
    resource_tracker.signal = frozen(signal)  # type: ignore[attr-defined]  # of processes that `multiprocessing` starts
    for name in MISSING[system]:
        if hasattr(os, name):
            delattr(os, name)
    for name in SIGNALS[system]:
        if hasattr(signal, name):
            delattr(signal, name)
    for module_name in MODULES[system]:
        sys.modules[module_name] = None  # type: ignore[assignment]  # importing it raises ImportError
    _hide_folders()
    if system == "win32":
        _refuse_folders()
    for module_name in LOOK_AT_PLATFORM:
        import_module(module_name).sys = frozen(sys, platform=system)  # type: ignore[attr-defined]


def _import_others() -> None:
    """Import what looks at the system when it is imported; nothing of our own, which is to find the other system."""
    assert not any(name.partition(".")[0] in ("sparsae", "sparsae_backends") for name in sys.modules)
    for name in OTHERS:
        with suppress(ImportError):
            import_module(name)
    sysconfig.get_config_vars()


def frozen(module: Any, **names: Any) -> Any:
    """Return a module as it is now, with other values for some names."""
    return _Frozen(module, **names)


class _Frozen:
    """A module as it is now, with other values for some names."""

    def __init__(self, module: Any, **names: Any) -> None:
        self.__dict__.update(vars(module) | names)


def _hide_folders() -> None:
    """Nothing lives in ``/proc`` and ``/sys``."""

    def hidden(path: Any) -> bool:
        return isinstance(path, (str, os.PathLike)) and str(path).startswith(HIDDEN_WORDS) and str(path) != SEEN

    def guarded(function: Any) -> Any:
        def call(path: Any = ".", *args: Any, **keywords: Any) -> Any:
            if hidden(path):
                raise FileNotFoundError(2, "No such file or directory", str(path))
            return function(path, *args, **keywords)

        return call

    for name in ("open", "stat", "lstat", "listdir", "scandir", "readlink", "link"):
        setattr(os, name, guarded(getattr(os, name)))
    builtins.open = guarded(builtins.open)
    io.open = builtins.open  # type: ignore[assignment]


def _refuse_folders() -> None:
    """A folder cannot be opened, and a file that is open cannot be replaced: as there."""
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # as there: `rmtree` would open folders
    open_before = os.open

    def open_file(path: Any, *args: Any, **keywords: Any) -> int:
        if isinstance(path, (str, os.PathLike)) and Path(path).is_dir():
            raise PermissionError(13, "Permission denied", str(path))
        return open_before(path, *args, **keywords)

    os.open = open_file
