"""Compiling in a second process at the same time, since numba lets one thread compile at a time.

The other process writes to numba's cache, from where this one loads.  It is started where nothing is remembered yet,
two CPUs may be used, and the work can be halved; whatever it does not do, this process does as if there were no other.

Imported by the kernel's constructor, since it imports numba.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from sparsae import cpu_budget

# What compiling takes (Zen 4, float32); what is not here takes `OTHERS`.
SECONDS = {
    "to_panels": 0.2, "pack": 0.3, "pack_weights": 0.3, "encode": 0.5, "encode_large": 0.7, "encode_relu": 0.4,
    "encode_jumprelu": 0.4, "transpose": 0.2, "round_weights": 0.3, "encode_topk": 1.0, "encode_screened": 1.7,
    "accumulate_topk": 1.3, "adam": 0.4,
}  # fmt: skip
OTHERS = 2.0
START = 1.0  # until the other process compiles
WORTH = 0.3  # seconds that it must save
SCRIPT = """
import os, sys
sys.path[:] = sys.argv[1].split(os.pathsep)
from sparsae_backends.numba.apart import compile_named
compile_named(*sys.argv[2:])
"""


def share(names: Sequence[str]) -> tuple[int, ...]:
    """Return the places of functions that another process had better compile: none, where that would save little."""
    weights = [SECONDS.get(name, OTHERS) for name in names]

    def seconds(others: tuple[int, ...]) -> float:
        apart = sum(weights[i] for i in others)
        return max(sum(weights) - apart, START + apart)

    choices = [others for size in range(1, len(names)) for others in combinations(range(len(names)), size)]
    best = min(choices, key=seconds, default=())
    return best if best and seconds(best) + WORTH <= sum(weights) else ()


def can_start() -> bool:
    """Whether a second process would run beside this one, and be Python."""
    frozen = getattr(sys, "frozen", False)
    return cpu_budget().granted >= 2 and not frozen and Path(sys.executable or "").stem.startswith("python")


@contextmanager
def compiled_apart(wanted: Sequence[tuple[Any, np.dtype[Any]]], dtype: np.dtype[Any]) -> Iterator[None]:
    """Start a process that compiles entry points; at the end wait for it, or end it when there was an error here.

    wanted are functions and the dtypes of the sums that they add to.
    """
    if not wanted:
        yield
        return
    names = [f"{function.py_func.__module__}:{function.py_func.__name__}:{sums.name}" for function, sums in wanted]
    command = [sys.executable, "-c", SCRIPT, os.pathsep.join(sys.path), dtype.name, *names]
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)  # noqa: S603 (a fixed script)
    except OSError:  # no memory or no process to be had
        yield
        return
    with process:
        try:
            yield
        except BaseException:
            process.kill()
            raise


def compile_named(dtype: str, *names: str) -> None:
    """Compile what the other process is given: modules, functions and dtypes of sums, with colons between them."""
    from sparsae_backends.numba.compilation import compile_for

    for name in names:
        module, function, sums = name.split(":")
        compile_for((getattr(import_module(module), function),), np.dtype(dtype), np.dtype(sums))
