"""Kernels that are right at first, or on little data, or that leave something behind which is not state."""

from __future__ import annotations

import time
from contextlib import contextmanager

import numpy as np
import threadpoolctl
from tests.support.kernels import WholeKernel

KEPT: list = []


class RightForFortyCalls(WholeKernel):
    def __init__(self, problem):
        super().__init__(problem)
        self.count = 0

    def backprop(self, *arrays):
        self.count += 1
        sums = super().backprop(*arrays)
        return sums._replace(b1=sums.b1 * (1 if self.count < 40 else 1.01))


class RightForSmallBlocks(WholeKernel):
    def backprop(self, a1, *arrays):
        sums = super().backprop(a1, *arrays)
        return sums._replace(b1=sums.b1 * (1 if len(a1) <= 1000 else 1.01))


class SleepsWhenDeleted(WholeKernel):
    def __del__(self):
        time.sleep(60)


class TakesAllMemory(WholeKernel):
    def accumulate(self, *arguments):
        super().accumulate(*arguments)
        KEPT.append(np.ones(1 << 24))


class CannotBeCompared(WholeKernel):
    """Right, and raises in every method that a report might call on it."""

    def __eq__(self, other):
        raise RuntimeError("no ==")

    __hash__ = None

    def __repr__(self):
        raise RuntimeError("no repr")

    __str__ = __repr__

    def __bool__(self):
        raise RuntimeError("no bool")


@contextmanager
def leaking_limit(n):
    """A limit that is not given back after an exception."""
    limits = threadpoolctl.threadpool_limits(n)
    yield
    limits.restore_original_limits()


@contextmanager
def lending_limit(n):
    """The correct twin of it."""
    with threadpoolctl.threadpool_limits(n):
        yield
