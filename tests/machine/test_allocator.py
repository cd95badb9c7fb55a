"""Freed memory stays with the process."""

from __future__ import annotations

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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is another")
def test_arrays_of_the_next_step_are_not_mapped_anew() -> None:
    """Eight blocks of 1 MB, freed and allocated again: no page of the 2,048 has to be asked for."""
    kept, plain = (
        float(subprocess.check_output([sys.executable, "-c", STEPS, how], text=True)) for how in ("keep", "plain")
    )
    assert kept < 100
    assert plain > 1000
