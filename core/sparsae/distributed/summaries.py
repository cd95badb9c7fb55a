"""Digest and variance of the data, computed where the rows are: equal to those of one process.

A page of `engine.summary` is summarised by one worker: one that reads files itself, or the one that holds the segment
in which the page begins, to which the rows of the page in later segments are sent.
"""

from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import numpy as np

from sparsae._types import Array
from sparsae.distributed.connection import Connection
from sparsae.distributed.process import open_pickled
from sparsae.distributed.rows import RemoteRows, take_rows
from sparsae.engine.partition import Partition
from sparsae.engine.sources import DataSource
from sparsae.engine.summary import DataSummary, Pages, PageSummary, cut_pages, join_pages, summarise_page

FILE_PARTS = 4  # tasks a worker, so that a slow one does less


def summarise(connection: Connection, rows: RemoteRows, partition: Partition, sources: list[DataSource]) -> Any:
    """Return the summary of each source.

    Raises
    ------
    DataError
        When rows cannot be read.
    ClusterError
        When there is no worker left, or they do not answer within the deadline.
    """
    return [_summarise(connection, rows, partition, source, i) for i, source in enumerate(sources)]


def _summarise(
    connection: Connection, rows: RemoteRows, partition: Partition, source: DataSource, number: int
) -> DataSummary:
    pages, submit = cut_pages(source.shape), connection.client.submit
    if rows.containers[0] is not None:
        parts = min(pages.n_pages, FILE_PARTS * len(connection.shares()))
        bounds = [part * pages.n_pages // parts for part in range(parts + 1)]
        container = pickle.dumps(
            rows.containers[number]
        )  # the scheduler, which unpickles the rest, may not see the file
        futures = [submit(summarise_file, container, source.name, pages, a, b, pure=False) for a, b in pairwise(bounds)]
    elif isinstance(source.container, np.ndarray):  # the rows are here
        return source.summary()
    else:
        futures = _segment_tasks(connection, rows.futures()[number], partition, pages)
    found: list[list[PageSummary]] = connection.results(futures)
    return join_pages(source.shape, source.dtype, (page for part in found for page in part))


def _segment_tasks(connection: Connection, segments: list[Any], partition: Partition, pages: Pages) -> list[Any]:
    """Return a future for the pages that begin in each segment in which one does."""
    submit = connection.client.submit
    bounds = [partition.segment_rows(segment) for segment in range(partition.n_segments)]
    futures = []
    for segment, (start, stop) in enumerate(bounds):
        first, last = (-(-row // pages.page_rows) for row in (start, stop))
        if first == last:
            continue
        end = pages.rows(last - 1).stop
        later = [(s, a, min(b, end)) for s, (a, b) in enumerate(bounds) if a >= stop and a < end]
        tail = None
        if later:
            which = [np.arange(b - a) for _, a, b in later]
            tail = submit(take_rows, [segments[s] for s, _, _ in later], which, pure=False)
        futures.append(submit(summarise_arrays, segments[segment], tail, start, pages, first, last, pure=False))
    return futures


def summarise_file(container: bytes, name: str, pages: Pages, first: int, last: int) -> list[PageSummary]:
    """Summarise pages of a file that this process opens."""
    source = DataSource(open_pickled(container), name)
    return [
        summarise_page(pages, page, lambda where: source.rows(where, source.dtype, scratch=True))
        for page in range(first, last)
    ]


def summarise_arrays(
    array: Array, tail: Array | None, start: int, pages: Pages, first: int, last: int
) -> list[PageSummary]:
    """Summarise pages whose rows are those of an array, which begin with number `start`, and of the one after it."""

    def read(where: slice) -> Array:
        a, b = where.start - start, where.stop - start
        parts = [array[a:b]]
        if b > len(array) and tail is not None:
            parts.append(tail[max(a - len(array), 0) : b - len(array)])
        return np.ascontiguousarray(np.concatenate(parts))

    return [summarise_page(pages, page, read) for page in range(first, last)]
