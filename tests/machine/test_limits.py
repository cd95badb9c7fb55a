"""Limits of threads in the child after a fork."""

import json
import os
import subprocess
import sys

import pytest

FORK = """
import os, threading, warnings, numpy, sparsae
from sparsae.machine.limits import limit, pools
warnings.simplefilter("ignore")

def threads():
    return [pool["num_threads"] for pool in pools() if pool["user_api"] == "blas"]

def hold(inside, leave):
    with limit(1):
        inside.set()
        leave.wait()

with limit(2):
    print(threads(), flush=True)
inside, leave = threading.Event(), threading.Event()
other = threading.Thread(target=hold, args=(inside, leave))
other.start()
inside.wait()
if (pid := os.fork()) == 0:
    with limit(2):
        print(threads(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
with limit(2):
    print(threads(), flush=True)
leave.set()
other.join()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_limit_of_another_thread_ends_with_a_fork():
    """The thread is not in the child, and would never release it; in the parent the limit is in force."""
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=60, env=environment)
    assert done.stderr == ""
    alone, child, parent = map(json.loads, done.stdout.splitlines())
    assert child == alone
    assert parent == [1] * len(alone)
