"""The child process of the kit: takes requests, runs checks, and answers with one line for each.

Requests and answers are lines of JSON.  Each answer begins with a token that was agreed when the process started,
so that whatever else a kernel writes to the same pipe is not taken for one.
Standard output and standard error lead to a file of the parent, which finds there what was printed.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import json
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from sparsae.errors import SparsaeError, ThreadsWarning
from sparsae.machine.resources import memory_limit
from sparsae.objective import Objective
from sparsae.plugins.contract import Backend
from sparsae.plugins.registry import registry
from sparsae.plugins.selection import select
from sparsae.testing.checks import Checker
from sparsae.testing.harness import Loading
from sparsae.testing.snapshot import snapshot
from sparsae.testing.warm_up import WARM_UP

_BEFORE: list[Any] = []
RESERVE = 256 << 20  # bytes that are left to the rest of the machine


def main() -> None:
    """Run the checks on the registered backend that the first argument of the command names."""
    settings = json.loads(sys.argv[1])
    requests, replies = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    sys.path[:] = settings["path"]
    serve(requests, replies, settings["token"], lambda: load(settings))


def serve_object(requests: int, replies: int, output: int, token: str, backend: Backend, options: Any) -> None:
    """Run the checks on a `Backend` in a forked process, which has the object already; never returns."""
    code = 1
    try:
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        # The parent's garbage is never collected here: a file that it has dropped would be closed in the middle of a
        # check, and to collect it at once would copy every page of a large parent (0.3 s in a notebook of 300 MB).
        gc.freeze()
        serve(requests, replies, token, lambda: (Checker(backend, **options), {}))
        code = 0
    finally:
        os._exit(code)


def serve(requests: int, replies: int, token: str, make: Callable[[], tuple[Checker, dict[str, Any]]]) -> None:
    """Answer requests until there are no more or one says "end"."""
    _take_streams()
    _limit_memory()
    own = os.getpid()
    warm_up()

    def answer(content: dict[str, Any]) -> None:
        _flush()
        text = f"\n{token}{json.dumps(content)}\n".encode()
        while text:
            text = text[os.write(replies, text) :]

    try:
        checker, facts = make()
    except SparsaeError as error:
        answer({"error": type(error).__name__, "message": str(error)})
        return
    answer({"loaded": facts})
    with os.fdopen(requests, "rb") as lines:
        for line in lines:
            request = json.loads(line)
            if request.get("end"):
                return
            result = asdict(checker.run(**request))
            if os.getpid() != own:  # the kernel forked, and this is its child
                os._exit(1)
            answer(result)


def load(settings: dict[str, Any]) -> tuple[Checker, dict[str, Any]]:
    """Load the backend by name, with snapshots before and after."""
    registry().names()  # what reading the metadata imports is not the backend's
    modules, before = set(sys.modules), snapshot()
    selected = select(settings["backend"])
    after = snapshot()
    imported = frozenset(name.partition(".")[0] for name in set(sys.modules) - modules)
    for name in selected.backend.requires:
        with suppress(Exception):  # a kernel that cannot be made says so
            import_module(name)
    loading = Loading(before, after, snapshot(), imported)
    record = selected.record
    options = {name: settings[name] for name in ("activations", "quick", "time_limit")}
    checker = Checker(selected.backend, **options, loading=loading)
    return checker, {"backend": record.name, "distribution": record.distribution, "version": record.version}


def warm_up() -> None:
    """Evaluate once with a kernel of the kit, so that what sparsae itself imports or starts is there already."""
    X = np.random.default_rng(0).random((30, 4))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ThreadsWarning)  # two workers on one CPU are asked for on purpose
        for threads in (1, 2):
            Objective(X, 3, backend=WARM_UP, threads=threads, block_rows=8)(np.zeros(31))


def _take_streams() -> None:
    """Give the backend standard streams: nothing to read, and output that goes to the parent."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _BEFORE.extend((sys.stdin, sys.stdout, sys.stderr))  # closing them would write what the parent has written
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", 1, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", 1, closefd=False)  # type: ignore[misc]  # noqa: SIM115
    faulthandler.enable(sys.stderr)


def _flush() -> None:
    """Bring what was printed to the file, C's buffers included."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    if os.name == "posix":
        with suppress(Exception):
            ctypes.CDLL(None).fflush(None)


def _limit_memory() -> None:
    """Let a kernel that takes all memory fail, and not the machine.

    A forked child begins with all that its parent holds, so the limit is what is free beyond that.
    """
    try:
        import resource
    except ImportError:  # Windows
        return
    free = min(memory_limit(), _system_bytes("/proc/meminfo", "MemAvailable:") or sys.maxsize)
    limit = (_system_bytes("/proc/self/status", "VmData:") or 0) + max(free - RESERVE, RESERVE)
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if soft == resource.RLIM_INFINITY or limit < soft:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _system_bytes(path: str, name: str) -> int | None:
    """Bytes that a line ``NAME NUMBER kB`` of a file of the system gives; None where there is no such line."""
    with suppress(OSError, ValueError, StopIteration):
        lines = Path(path).read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))
    return None
