"""Freed memory stays with the process."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

STEPS = """
import resource, sys
import numpy as np
from sparsae.machine.allocator import keep_freed_memory
def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
def step():
    for block in [np.empty(1 << 20, np.uint8) for _ in range(8)]:
        block[:] = 1
if sys.argv[1] == "keep":
    keep_freed_memory()
step()
before = faults()
for _ in range(5):
    step()
print((faults() - before) / 5)
"""


def environment() -> dict[str, str]:
    """Return this process's, without settings of the C library, such as Dask's nannies make."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_"))}


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another")
def test_arrays_of_the_next_step_are_not_mapped_anew() -> None:
    """Eight blocks of 1 MB, freed and allocated again: no page of the 2,048 has to be asked for."""
    kept, plain = (
        float(subprocess.check_output([sys.executable, "-c", STEPS, how], text=True, env=environment()))
        for how in ("keep", "plain")
    )
    assert kept < 100
    assert plain > 1000


GIVE_BACK = """
from pathlib import Path
import numpy as np
from sparsae.machine.allocator import give_back_freed_memory, keep_freed_memory
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
keep_freed_memory()
blocks = [np.ones(1 << 20, np.uint8) for _ in range(24)]
del blocks
before = resident()
give_back_freed_memory()
print(before - resident())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another")
def test_what_stayed_is_given_back() -> None:
    """Of 24 MB that were freed, 16 at least had stayed and are gone."""
    assert int(subprocess.check_output([sys.executable, "-c", GIVE_BACK], text=True, env=environment())) > 16 << 20
