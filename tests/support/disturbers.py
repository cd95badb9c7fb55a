"""Kernels whose numbers are right and that disturb the process: its state, its output, its life."""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import io
import locale
import logging
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import threadpoolctl
from tests.support.kernels import WholeKernel

import sparsae
from sparsae.model import units

KEPT: list = []
LOCK = threading.Lock()


def make(action, *, when="accumulate", threading="none"):
    """A backend that calls the action in one of its methods."""

    class Disturber(WholeKernel):
        def __init__(self, problem):
            super().__init__(problem)
            if when == "__init__":
                action()

        def accumulate(self, *arguments):
            super().accumulate(*arguments)
            if when == "accumulate":
                action()

        def finish(self, *arguments):
            super().finish(*arguments)
            if when == "finish":
                action()

    return sparsae.Backend("disturber", Disturber, threading=threading)


def _limit_pools():
    now = [pool["num_threads"] for pool in threadpoolctl.threadpool_info()]
    KEPT.append(threadpoolctl.threadpool_limits(1 if max(now) > 1 else 2))


def _one_cpu_less():
    cpus = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cpus[1:] or cpus)


def _one_file_less():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft - 1, hard))


def _set(owner, name, value):
    return lambda: setattr(owner, name, value)


# what the verdict calls the state: what changes it
STATE = [
    ("NumPy's error state: under changed", lambda: np.seterr(under="print")),
    ("NumPy's error state: call", lambda: np.seterrcall(print)),
    ("NumPy's print options: precision", lambda: np.set_printoptions(precision=3)),
    ("warning filters", lambda: warnings.simplefilter("ignore")),
    ("Python's random state", random.random),
    ("NumPy's random state", lambda: np.random.seed(0)),  # noqa: NPY002
    ("environment variables: DISTURBED added", lambda: os.environ.update(DISTURBED="hunter2")),
    ("the working directory", lambda: os.chdir("/")),
    ("the umask", lambda: os.umask(0o047)),
    ("signal handlers: SIGUSR1", lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN)),
    ("signal handlers: blocked", lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])),
    ("signal handlers: timers", lambda: signal.setitimer(signal.ITIMER_REAL, 1000)),
    ("garbage collection: enabled", gc.disable),
    ("garbage collection: thresholds", lambda: gc.set_threshold(7)),
    ("limits of Python: recursion limit", lambda: sys.setrecursionlimit(5432)),
    ("limits of Python: switch interval", lambda: sys.setswitchinterval(0.123)),
    ("the locale", lambda: locale.setlocale(locale.LC_ALL, "C")),
    ("sys.path: /nowhere added", lambda: sys.path.append("/nowhere")),
    ("the standard streams: sys.stdout changed", lambda: setattr(sys, "stdout", io.StringIO())),
    ("the standard streams: sys.stdout is closed", lambda: sys.stdout.close()),
    ("the standard streams: file descriptor 1", lambda: os.close(1)),
    ("hooks: sys.excepthook", lambda: setattr(sys, "excepthook", print)),
    ("hooks: faulthandler", faulthandler.disable),
    ("logging: root level", lambda: logging.getLogger().setLevel(logging.DEBUG)),
    ("logging: root handlers", lambda: logging.getLogger().addHandler(logging.NullHandler())),
    ("thread limits", _limit_pools),
    ("the CPU affinity", _one_cpu_less),
    ("the priority", lambda: os.nice(1)),
    ("resource limits: RLIMIT_NOFILE", _one_file_less),
    ("threads left running", lambda: threading.Thread(target=time.sleep, args=(60,), daemon=True).start()),
    ("open files: descriptor", lambda: KEPT.append(open(__file__))),  # noqa: PTH123, SIM115
    ("child processes", lambda: KEPT.append(subprocess.Popen(["sleep", "60"]))),
    ("replaced functions: numpy.median", lambda: setattr(np, "median", np.mean)),
    ("replaced functions: sparsae.model.units.sigmoid", _set(units, "sigmoid", lambda z, out=None: z)),
]


def _raise(error):
    def action():
        raise error

    return action


def _forever():
    while True:
        pass


def _flood():
    while True:
        os.write(1, b"flood\n" * 1000)


FORKED = []


def _fork():
    if FORKED:
        return  # once in a process and its children: a fork in each call would double them each time
    FORKED.append(os.getpid())
    if os.fork() == 0:
        return  # the child goes on with the check
    os.wait()


def _deadlock():
    with LOCK, LOCK:
        pass


def _segfault():
    ctypes.string_at(0)


class UnreadableError(Exception):
    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


# what the verdict says: what the kernel does
ENDS = [
    ("it ended its process with exit code 0", lambda: os._exit(0)),
    ("it ended its process with exit code 3", lambda: os._exit(3)),
    ("SystemExit: 0", _raise(SystemExit(0))),
    ("KeyboardInterrupt", _raise(KeyboardInterrupt())),
    ("GeneratorExit", _raise(GeneratorExit())),
    ("UnreadableError: its text cannot be had", _raise(UnreadableError())),
    ("it was ended by SIGSEGV (in _segfault, ", _segfault),
    ("it was ended by SIGABRT", os.abort),
    ("it was ended by SIGKILL", lambda: os.kill(os.getpid(), signal.SIGKILL)),
    ("it was ended by SIGTERM", lambda: os.kill(os.getpid(), signal.SIGTERM)),
    ("MemoryError: Unable to allocate", lambda: np.ones(1 << 46)),
    ("it ended its process with exit code 1", lambda: os.closerange(3, 100)),
    ("it printed more than 1 MiB and was ended", _flood),
    ("it printed: hello from Python", lambda: print("hello from Python")),
    ("it printed: hello from C", lambda: ctypes.CDLL(None).puts(b"hello from C")),
    ("UserWarning: careful", lambda: warnings.warn("careful", stacklevel=1)),
]
HANGS = [("in _deadlock", _deadlock), ("in _forever", _forever), ("exceeded the time limit", lambda: time.sleep(60))]
