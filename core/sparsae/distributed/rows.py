"""Where the rows of a cluster fit come from: files that every worker opens, or arrays that live on the workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import plural
from sparsae._types import Array
from sparsae.distributed.connection import Connection
from sparsae.distributed.dask_data import ClusterRows
from sparsae.distributed.spilling import Spilling
from sparsae.distributed.tasks import Work
from sparsae.engine.partition import Partition
from sparsae.engine.row_file import RowFile
from sparsae.engine.row_reader import RowNumbers
from sparsae.engine.sources import DataSource
from sparsae.errors import ClusterWarning, DataError
from sparsae.machine.caller_warning import warn_caller
from sparsae.machine.resources import gibibytes

MEMORY_SHARE = 0.35  # of the workers' memory: prepared copies take a quarter, and Dask writes to disk from 60 % on
LARGE_BYTES = 1 << 26  # arrays in this process above this size are sent with a warning
SENT_BYTES = 1 << 20  # rows of a mini-batch that are in this process are sent with the tasks up to this size


@final
class RemoteRows:
    """Rows of a fit as the workers get them.

    Rows that are not read from files are cut at segments and live on the workers once they are asked for.

    Parameters
    ----------
    connection : Connection
    x, target : DataSource
    partition : Partition
        Of all rows.

    Attributes
    ----------
    spilling : Spilling
    containers : tuple
        What workers open for themselves, for x and where it is separate for the target; (None,) where rows travel.
    """

    def __init__(self, connection: Connection, x: DataSource, target: DataSource, partition: Partition) -> None:
        self._connection, self._partition = connection, partition
        self._sources = [x] if target is x else [x, target]
        self._pieces: list[list[Any]] = []  # for each array, the future of each segment
        self.spilling = Spilling()
        self._holders: list[list[str | None]] = []  # for each array, of each segment a worker that holds it
        containers = [source.container for source in self._sources]
        self._in_files = all(getattr(container, "opens_elsewhere", False) for container in containers)
        self._here = all(isinstance(container, np.ndarray) for container in containers)
        self.containers: tuple[Any, ...] = tuple(containers) if self._in_files else (None,)
        for container in () if self._in_files else containers:
            if isinstance(container, RowFile):
                raise DataError(_refusal(container))
        self._starts = np.array([partition.segment_rows(s)[0] for s in range(partition.n_segments)])

    def of(self, work: Work, worker: str) -> Any:
        """Return the rows of a task for a worker, as `tasks.Rows` with futures; None where it reads for itself."""
        if self._in_files:
            return None
        if work.batch is None:
            return [[(pieces[segment], None, slice(None)) for segment in work.segments] for pieces in self.futures()]
        numbers = np.concatenate([work.batch[segment] for segment in work.segments])
        if self._sends(work):
            return [[(source.take(numbers, source.dtype), None, slice(None))] for source in self._sources]
        return self._gathered(numbers, worker)

    def are_on(self, work: Work, worker: str) -> bool:
        """Whether that worker holds or reads all rows of a task, or is sent them from here: none come from others."""
        if self._in_files or (work.batch is not None and self._sends(work)):
            return True
        segments = work.segments
        if work.batch is not None:
            numbers = np.concatenate([work.batch[segment] for segment in segments])
            segments = [segment for segment, _ in self._by_segment(numbers)]
        return all(holders[segment] == worker for holders in self._known_holders() for segment in segments)

    def locations(self) -> list[str | None] | None:
        """Ask for each segment which worker holds its rows of x; None where workers read for themselves."""
        if self._in_files:
            return None
        pieces = self.futures()
        found = self._connection.ask_scheduler("who_has", keys=[future.key for futures in pieces for future in futures])
        self._holders = [[next(iter(found.get(future.key, ())), None) for future in futures] for futures in pieces]
        return self._holders[0]

    def move(self, placed: Mapping[str, Sequence[int]]) -> None:
        """Have each worker hold the rows of the segments that are placed there, once it is known where they are.

        What moves becomes a result of its own: a replica would be dropped by Dask's Active Memory Manager.
        """
        homes = {segment: worker for worker, segments in placed.items() for segment in segments}
        moved = []
        for futures, holders in zip(self._pieces, self._holders, strict=True):
            for segment, holder in enumerate(holders):
                if holder != homes[segment]:
                    futures[segment] = self._connection.client.submit(
                        same_rows, futures[segment], workers=[homes[segment]], allow_other_workers=True, pure=False
                    )
                    moved.append(futures[segment])
        if moved:
            self._connection.wait_for(moved)
            self.locations()

    def _known_holders(self) -> list[list[str | None]]:
        if not self._holders:
            self.locations()
        return self._holders

    def held(self, work: Work) -> Mapping[int, Mapping[str, int]] | None:
        """Return how many rows of each segment of a mini-batch each worker holds; None where any does as well."""
        if self._in_files or work.batch is None or self._sends(work):
            return None
        holders = self._known_holders()[0]
        found: dict[int, dict[str, int]] = {}
        for segment, numbers in work.batch.items():
            counts = found[segment] = {}
            for here, inside in self._by_segment(numbers):
                holder = holders[here]
                if holder is not None:
                    counts[holder] = counts.get(holder, 0) + inside.stop - inside.start
        return found

    def take(self, numbers: RowNumbers, dtype: np.dtype[Any]) -> list[Array]:
        """Return rows, given in ascending order, of x, and where it is separate of the target."""
        if self._in_files or self._here:
            return [source.take(numbers, dtype) for source in self._sources]
        taken = []
        for futures in self.futures():
            segments = list(self._by_segment(numbers))
            future = self._taken(futures, numbers, segments)
            taken.append(np.asarray(self._connection.results([future])[0], dtype=dtype))
        return taken

    def _sends(self, work: Work) -> bool:
        """Whether the rows of all tasks of this work are sent from here."""
        if not self._here:
            return False
        row = sum(source.shape[1] * source.dtype.itemsize for source in self._sources)
        return bool(work.partition.n_samples * row <= SENT_BYTES)

    def _gathered(self, numbers: RowNumbers, worker: str) -> list[list[tuple[Any, Any, Any]]]:
        """Return where the rows of a task are: in arrays of the worker itself, or taken from others by one task each.

        Segments of a holder that is not known are taken from wherever they are.
        """
        holders = self._known_holders()[0]
        apart: dict[str | None, list[tuple[int, slice]]] = {}
        for here, inside in self._by_segment(numbers):
            apart.setdefault(holders[here], []).append((here, inside))
        rows = []
        for futures in self.futures():
            pieces: list[tuple[Any, Any, Any]] = []
            for holder, segments in apart.items():
                if holder == worker:
                    pieces += [(futures[s], numbers[inside] - self._starts[s], inside) for s, inside in segments]
                else:
                    places = np.concatenate([np.arange(inside.start, inside.stop) for _, inside in segments])
                    pieces.append((self._taken(futures, numbers, segments), None, places))
            rows.append(pieces)
        return rows

    def _taken(self, futures: list[Any], numbers: RowNumbers, segments: list[tuple[int, slice]]) -> Any:
        """Return a future of the rows of some segments, which is computed where these are."""
        wanted = [numbers[inside] - self._starts[s] for s, inside in segments]
        return self._connection.client.submit(take_rows, [futures[s] for s, _ in segments], wanted, pure=False)

    def _by_segment(self, numbers: RowNumbers) -> list[tuple[int, slice]]:
        """Return the segments in which those rows are, each with the places of its rows."""
        bounds = [*np.searchsorted(numbers, self._starts), len(numbers)]
        return [(s, slice(a, b)) for s, (a, b) in enumerate(pairwise(bounds)) if a < b]

    def futures(self) -> list[list[Any]]:
        """Return for each array a future for the rows of each segment, once they are on the workers."""
        if not self._pieces:
            self._warn_of_memory()
            self._warn_of_sending()
            self._pieces = [self._on_workers(source.container) for source in self._sources]
            self._connection.wait_for([future for futures in self._pieces for future in futures])
        return self._pieces

    def _warn_of_memory(self) -> None:
        """Say when rows take more memory of the workers than Dask lets them have before it writes to disk."""
        limits = [info["memory_limit"] for info in self._connection.workers().values()]
        size = sum(source.shape[0] * source.shape[1] * source.dtype.itemsize for source in self._sources)
        if limits and all(limits) and size > MEMORY_SHARE * sum(limits):
            warn_caller(
                ClusterWarning(
                    f"The rows take {gibibytes(size)}, more than {MEMORY_SHARE:.0%} of the memory of "
                    f"{plural(len(limits), 'worker')} ({gibibytes(sum(limits))}): some are written to disk there, "
                    f"and read in each evaluation. Use more workers, or a file that each worker can open."
                )
            )

    def _warn_of_sending(self) -> None:
        """Say when large arrays of this process are sent."""
        sent = [source for source in self._sources if isinstance(source.container, np.ndarray)]
        size = sum(source.container.nbytes for source in sent)
        if size > LARGE_BYTES:
            names = " and ".join(source.name for source in sent)
            warn_caller(
                ClusterWarning(
                    f"{names} of {gibibytes(size)} in memory: sent to the workers through the scheduler, which keeps a "
                    f"copy. Save larger data where each worker can open it, and give sparsae.data.load(path, "
                    f"stay=True).X; or give a Dask array."
                )
            )

    def _on_workers(self, container: Any) -> list[Any]:
        """Return a future for the rows of each segment, which the scheduler can compute again when they are lost."""
        import dask.array as da

        partition, client = self._partition, self._connection.client
        bounds = [partition.segment_rows(segment) for segment in range(partition.n_segments)]
        if isinstance(container, np.ndarray):  # each by itself: a graph of them all would be hashed, and warned of
            return [client.submit(same_rows, container[start:stop], pure=False) for start, stop in bounds]
        sizes = tuple(stop - start for start, stop in bounds)
        array = container.checked() if isinstance(container, ClusterRows) else da.from_array(container, (sizes, -1))
        array = client.persist(array.rechunk((sizes, array.shape[1:])))
        return [array.dask[row[0]] for row in array.__dask_keys__()]


def same_rows(array: Array) -> Array:
    """Return the rows that are given; the worker that runs it holds them from then on."""
    return array


def take_rows(arrays: list[Array], numbers: list[NDArray[np.intp]]) -> Array:
    """Return some rows of each array, one after the other; run where the arrays are."""
    return np.concatenate([array[which] for array, which in zip(arrays, numbers, strict=True)])


def _refusal(rows: RowFile) -> str:
    """Say why the rows of a file cannot be used on a cluster."""
    if rows.opens_elsewhere:
        both = "give both as files, or both as arrays"
        return f"{rows.label} stays in its file, and the other of X and target is an array: {both}."
    return (
        f"{rows.label} cannot be opened by the workers of a cluster: load it with sparsae.data.load(..., stay=True), "
        f"or give a Dask array, such as dask.array.from_zarr(...)."
    )
