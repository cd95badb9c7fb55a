"""Rows of x and target by number; those of the next mini-batch are read while the present one is computed."""

from __future__ import annotations

import os
import threading
import weakref
from queue import SimpleQueue
from typing import final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.engine.sources import DataSource
from sparsae.plugins.contract import Problem

RowNumbers = NDArray[np.intp]


@final
class RowReader:
    """Reads rows; where that may wait for a disk or a decoder, those that `read_ahead` names in a thread of its own.

    Rows of arrays in memory are copied by the workers that need them: a thread beside them would take their time.

    Parameters
    ----------
    x, target : DataSource
        The same object when there is no separate target.
    problem : Problem
        Its dtype is what rows are converted to; its output unit decides what values a target may have.
    """

    def __init__(self, x: DataSource, target: DataSource, problem: Problem) -> None:
        self._x, self._target, self._problem = x, target, problem
        for source in (x, target):
            source.prepare_taking()
        self.waits = x.may_wait or target.may_wait
        self._plain = x.plain_rows(problem.dtype) if target is x else None
        self._ahead: _Request | None = None
        self._requests: SimpleQueue[_Request | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._pid = os.getpid()
        weakref.finalize(self, self._requests.put, None)

    def take(self, rows: RowNumbers) -> tuple[Array, Array]:
        """Return those rows, given in ascending order: new arrays; the same one where there is no separate target.

        Raises
        ------
        DataError
            When they cannot be read, or hold values that cannot be used.
        """
        if self._plain is not None:
            taken: Array = self._plain.take(rows, axis=0)
            return taken, taken
        return _read(rows, self._x, self._target, self._problem)

    def read_ahead(self, rows: RowNumbers) -> None:
        """Begin to read the rows that `take_ahead` will be asked for next; does nothing for arrays in memory."""
        if not self.waits:
            return
        if self._pid != os.getpid():  # after a fork the thread is in the parent only
            self._pid, self._thread, self._requests = os.getpid(), None, SimpleQueue()
            weakref.finalize(self, self._requests.put, None)
        if self._thread is None:
            # Nothing of the thread refers to this object, so that dropping it ends the thread.
            arguments = (self._requests, self._x, self._target, self._problem)
            self._thread = threading.Thread(target=_serve, args=arguments, name="sparsae-reader", daemon=True)
            self._thread.start()
        self._ahead = _Request(rows)
        self._requests.put(self._ahead)

    def take_ahead(self, rows: RowNumbers) -> tuple[Array, Array]:
        """Return those rows as `take` does, from the thread where they are those that were asked for before."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or self._pid != os.getpid() or not np.array_equal(ahead.rows, rows):
            return self.take(rows)
        return ahead.result()

    def close(self) -> None:
        """End the thread."""
        thread, self._thread = self._thread, None
        if thread is not None and self._pid == os.getpid():
            self._requests.put(None)
            thread.join()


@final
class _Request:
    """Rows to read, and the result: the rows or an error."""

    def __init__(self, rows: RowNumbers) -> None:
        self.rows = rows
        self._answer: SimpleQueue[tuple[Array, Array] | BaseException] = SimpleQueue()

    def read(self, x: DataSource, target: DataSource, problem: Problem) -> None:
        """Read them; what goes wrong is raised by `result`."""
        try:
            self._answer.put(_read(self.rows, x, target, problem))
        except BaseException as error:  # noqa: BLE001 (raised in the thread that asks for the result)
            self._answer.put(error)

    def result(self) -> tuple[Array, Array]:
        """Wait for the rows."""
        answer = self._answer.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer


def _read(rows: RowNumbers, x: DataSource, target: DataSource, problem: Problem) -> tuple[Array, Array]:
    """Read rows and check the values of those that were not checked when the data was handed in."""
    taken = []
    for source in (x, target)[: 1 if target is x else 2]:
        taken.append(source.take(rows, problem.dtype))
        if not source.checked:
            source.check_taken(taken[-1], unit_range=problem.output == "sigmoid" and source is target)
    return taken[0], taken[-1]


def _serve(requests: SimpleQueue[_Request | None], x: DataSource, target: DataSource, problem: Problem) -> None:
    """Read until told to end."""
    while (request := requests.get()) is not None:
        request.read(x, target, problem)
        del request  # while it waits for the next, it keeps no rows alive
