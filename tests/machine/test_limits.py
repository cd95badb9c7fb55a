"""Limits of threads in the child after a fork."""

import json
import os
import subprocess
import sys

import pytest

from sparsae.machine import limits

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
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=300, env=environment)
    assert done.stderr == ""
    alone, child, parent = map(json.loads, done.stdout.splitlines())
    assert child == alone
    assert parent == [1] * len(alone)


@pytest.mark.parametrize("name", ["__enter__", "__exit__"])
def test_an_interrupt_where_a_limit_begins_or_ends_leaves_none(name):
    """Python runs signal handlers where functions begin: there nothing can be deferred yet."""
    code, before = getattr(limits.limit, name).__code__, limits.pools()

    def interrupt(frame, event, argument):
        if event == "call" and frame.f_code is code:
            sys.settrace(None)
            raise KeyboardInterrupt

    tracing, interrupted = sys.gettrace(), False
    try:
        sys.settrace(interrupt)
        with limits.limit(1):
            pass
    except KeyboardInterrupt:  # a traceback that is kept, as by pytest.raises, would keep the limit
        interrupted = True
    finally:
        sys.settrace(tracing)
    assert interrupted
    assert limits.pools() == before
    assert not limits._REGISTRY._active
