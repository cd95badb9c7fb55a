"""Backends in the child after a fork."""

import os
import subprocess
import sys

import pytest

FORK = """
import os, signal, threading, warnings, sparsae
from sparsae.plugins import registry
warnings.simplefilter("ignore")
sparsae.get_backend("loop")

def hold(inside, leave):
    with registry._LOCK, registry._REGISTRY._lock:
        inside.set()
        leave.wait()

inside, leave = threading.Event(), threading.Event()
other = threading.Thread(target=hold, args=(inside, leave))
other.start()
inside.wait()
if (pid := os.fork()) == 0:
    signal.alarm(20)
    os._exit(0 if sparsae.get_backend("numpy").name == "numpy" else 1)
status = os.waitpid(pid, 0)[1]
leave.set()
other.join()
print(status)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_fork_while_another_thread_loads_a_plugin_does_not_hang():
    """The locks of the registry are held by a thread that the child does not have."""
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=300)
    assert (done.stdout, done.stderr) == ("0\n", "")
