"""Where the rows of a cluster fit come from: files that every worker opens, or arrays that live on the workers."""

from __future__ import annotations

from typing import Any, final

from sparsae.distributed.connection import Connection
from sparsae.distributed.dask_data import ClusterRows
from sparsae.distributed.tasks import Work
from sparsae.engine.binary_file import BinaryFile
from sparsae.engine.partition import Partition
from sparsae.engine.row_file import RowFile
from sparsae.engine.sources import DataSource
from sparsae.errors import DataError


@final
class RemoteRows:
    """Rows of a fit as the workers get them.

    Parameters
    ----------
    connection : Connection
    x, target : DataSource
    partition : Partition

    Attributes
    ----------
    containers : tuple
        What workers open for themselves, for x and where it is separate for the target; (None,) where rows travel.
    """

    def __init__(self, connection: Connection, x: DataSource, target: DataSource, partition: Partition) -> None:
        self._connection = connection
        self._arrays: list[Any] = []
        self._pieces: list[list[Any]] = []  # for each array, the future of each segment
        sources = [x] if target is x else [x, target]
        containers = [source.container for source in sources]
        if all(isinstance(container, BinaryFile) for container in containers):
            self.containers: tuple[Any, ...] = tuple(containers)
            return
        for container in containers:
            if isinstance(container, RowFile):
                raise DataError(
                    f"{container.label} cannot be opened by the workers of a cluster in this version: give a Dask "
                    f"array, such as dask.array.from_zarr(...), or a .npy file."
                )
        self.containers = (None,)
        for container in containers:
            self._pieces.append(self._on_workers(container, partition))

    def of(self, work: Work) -> dict[int, list[Any]] | None:
        """Return the futures of the rows of a task, by segment; None where workers read for themselves."""
        if not self._pieces:
            return None
        if work.batch is None:
            return {segment: [pieces[segment] for pieces in self._pieces] for segment in work.segments}
        compute = self._connection.client.compute
        return {segment: [compute(array[numbers]) for array in self._arrays] for segment, numbers in work.batch.items()}

    def locations(self) -> list[str | None] | None:
        """Return for each segment a worker that holds its rows of x; None where workers read for themselves."""
        if not self._pieces:
            return None
        holders = self._connection.ask_scheduler("who_has", keys=[future.key for future in self._pieces[0]])
        return [next(iter(holders.get(future.key, ())), None) for future in self._pieces[0]]

    def _on_workers(self, container: Any, partition: Partition) -> list[Any]:
        """Return a future for the rows of each segment, which the scheduler can compute again when they are lost."""
        import dask.array as da

        bounds = [partition.segment_rows(segment) for segment in range(partition.n_segments)]
        sizes = tuple(stop - start for start, stop in bounds)
        array = container.array if isinstance(container, ClusterRows) else da.from_array(container, chunks=(sizes, -1))
        array = self._connection.client.persist(array.rechunk((sizes, array.shape[1:])))
        self._arrays.append(array)
        return [array.dask[row[0]] for row in array.__dask_keys__()]
