"""Backends with faults of which few checks of the kit speak, each beside the correct twin in `mutants`."""

from __future__ import annotations

import itertools
import os
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.support.mutants import Twin

from sparsae import Kernel, SimpleKernel

KEPT: list = []
LOCKS = threading.Lock(), threading.Lock()
NUMBERS = itertools.count()
QUIET = 18  # calls of `accumulate`: the check makes 17 before its last six


class MakesTwins:
    """A factory: another one after pickling."""

    def __call__(self, problem):
        return Twin(problem)


class FiveArrays(Twin):
    def backprop(self, *arrays):
        return (*super().backprop(*arrays), arrays[0])


class WaitsForTheOther(Twin):
    """Takes two locks, and another kernel takes them in the other order."""

    def __init__(self, problem):
        super().__init__(problem)
        self.number = next(NUMBERS) % 2

    def accumulate(self, *arguments):
        first, second = LOCKS[self.number], LOCKS[1 - self.number]
        with first:
            time.sleep(0.01)
            with second:
                super().accumulate(*arguments)


class OpensFilesLate(Twin):
    """One in each call, after many that opened none."""

    calls = itertools.count()

    def accumulate(self, *arguments):
        super().accumulate(*arguments)
        if next(self.calls) >= QUIET:
            KEPT.append(Path(os.devnull).open())  # noqa: SIM115


class StartsThreadsLate(Twin):
    """One in each call, after many that started none."""

    calls = itertools.count()

    def accumulate(self, *arguments):
        super().accumulate(*arguments)
        if next(self.calls) >= QUIET:
            threading.Thread(target=time.sleep, args=(60,), daemon=True).start()


class TurnsTheSearchPath(Twin):
    def accumulate(self, *arguments):
        super().accumulate(*arguments)
        sys.path.reverse()


class RemovesItsFolder(Twin):
    def accumulate(self, *arguments):
        super().accumulate(*arguments)
        folder = tempfile.mkdtemp()
        os.chdir(folder)
        Path(folder).rmdir()


class ClosesEveryFile(Twin):
    def accumulate(self, *arguments):
        os.closerange(3, 4096)
        time.sleep(60)


class NoBackprop(Kernel):
    """A kernel without the optional method."""

    prepare, begin, encode, accumulate, finish = (
        getattr(SimpleKernel, name) for name in ("prepare", "begin", "encode", "accumulate", "finish")
    )


@contextmanager
def swallowing_limit(n):
    """A limit that ends an exception."""
    with suppress(Exception):
        yield


@contextmanager
def passing_limit(n):
    """The correct twin of it."""
    yield
