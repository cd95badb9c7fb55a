"""Data and its cluster: `connect`, and `ClusterRows`, rows of Dask that the workers of a cluster compute."""

from __future__ import annotations

import pickle
import weakref
from concurrent.futures import CancelledError
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import printable
from sparsae.distributed.connection import Connection
from sparsae.distributed.process import open_pickled
from sparsae.engine.containers import check_matrix
from sparsae.engine.dask_rows import as_dask_array, client_of, is_dask
from sparsae.engine.map_file import file_of_map
from sparsae.engine.row_file import RowFile
from sparsae.errors import ClusterError, DataError, SparsaeError


@final
class ClusterRows:
    """Rows of a Dask array; those that this process asks for are computed on the cluster and sent here.

    Parameters
    ----------
    connection : Connection
    array : dask.array.Array
        With all columns in one chunk.
    name : str
        How messages call it: "X" or "target".

    Attributes
    ----------
    array : dask.array.Array
    shape : (int, int)
    dtype : numpy.dtype
    """

    def __init__(self, connection: Connection, array: Any, name: str) -> None:
        self._connection, self._name = connection, name
        self.array = array
        self.shape: tuple[int, ...] = tuple(array.shape)
        self.dtype = np.dtype(array.dtype)

    def __getitem__(self, which: Any) -> NDArray[Any]:
        """Return rows: of a slice, or of a vector of row numbers.

        Raises
        ------
        DataError
            When computing them fails.
        ClusterError
            When the cluster is lost, or does not answer within the deadline.
        """
        rows: NDArray[Any] = compute(self._connection, self.array[which], f"Rows of {self._name}")
        return rows

    def checked(self) -> Any:
        """Return the array with the shape of each chunk compared with what the array says, when it is computed."""
        return self.array.map_blocks(check_chunk, self._name, dtype=self.array.dtype, meta=self.array._meta)


def check_chunk(chunk: Any, name: str, block_info: Any = None) -> Any:
    """Return a chunk.

    Raises
    ------
    DataError
        When it has another shape than the Dask array says: a function given to `map_blocks` may do that.
    """
    if block_info:  # Dask calls it without, to see what it returns
        (first, stop), (_, columns) = block_info[0]["array-location"]
        if chunk.shape != (stop - first, columns):
            raise DataError(
                f"Rows {first} to {stop - 1} of {name} (counted from 0) are a chunk of shape {chunk.shape}, and the "
                f"Dask array says {(stop - first, columns)}: give map_blocks the chunks that its function returns."
            )
    return chunk


def compute(connection: Connection, collection: Any, what: str) -> Any:
    """Return the values of a collection of Dask, computed on the cluster.

    Its own `compute` needs `Client.as_current`, which sets Dask's configuration of the whole process: see
    `Connection.wait`.

    Raises
    ------
    DataError
        When computing them fails.
    ClusterError
        When the cluster is lost, or does not answer within the deadline.
    """
    connection.check()
    future = connection.client.compute(collection)
    try:
        return future.result(timeout=connection.deadline)
    except SparsaeError:
        raise
    except TimeoutError as error:
        future.cancel()
        raise ClusterError(f"{what} did not come within {connection.deadline:g} s.") from error
    except (Exception, CancelledError) as error:
        connection.check()
        reason = f"{type(error).__name__}: {printable(error)[:200]}"
        raise DataError(f"{what} cannot be computed on the cluster: {reason}.") from error


def connect(owner: object, cluster: Any, X: Any, target: Any) -> tuple[Connection | None, Any, Any]:
    """Connect to what a user names, else to the cluster that X belongs to where it is of Dask.

    Parameters
    ----------
    owner : object
        A connection that is made here is closed when it is dropped.
    cluster : distributed.Client, Connection, str or None
    X, target : array_like, or of Dask

    Returns
    -------
    connection : Connection or None
        None without a cluster.
    X, target
        `ClusterRows` where they are of Dask and there is a cluster; the file of a memory map where the workers see it.

    Raises
    ------
    ClusterError, ParameterError, MissingExtraError
        As `Connection.open`.
    DataError
        When they are no matrices of numbers of known length.
    """
    cluster = client_of(X) if cluster is None else cluster
    if cluster is None:
        return None, X, target
    connection = Connection.open(cluster)
    if connection is not cluster:
        weakref.finalize(owner, connection.close)
    if target is None or target is X:
        rows = _rows_of_map(connection, X) if isinstance(X, np.memmap) else _rows_of_dask(connection, X, "X")
        return connection, rows, target if target is None else rows
    files = [_rows_of_map(connection, data) if isinstance(data, np.memmap) else data for data in (X, target)]
    if all(isinstance(rows, RowFile) for rows in files):  # both from files, or neither
        return connection, *files
    return connection, _rows_of_dask(connection, X, "X"), _rows_of_dask(connection, target, "target")


def _rows_of_dask(connection: Connection, data: Any, name: str) -> Any:
    if not is_dask(data):
        return data

    def count(frame: Any) -> list[int]:
        return [int(rows) for rows in compute(connection, frame.map_partitions(len), f"The number of rows of {name}")]

    array = as_dask_array(data, name, lengths=count)
    check_matrix(array, name)
    return ClusterRows(connection, array, name)


def _rows_of_map(connection: Connection, data: Any) -> Any:
    """Return the rows of a memory map as those of its file, where every worker finds the same file; else the map."""
    file = file_of_map(data)
    if file is None:
        return data
    pickled, here = pickle.dumps(file), _ends(file)
    there = connection.ask(_first_and_last, pickled)
    return file if all(ends == here for ends in there.values()) else data


def _first_and_last(pickled: bytes) -> bytes | None:
    """Return the first and the last row of a file, as a worker finds it; None where it does not."""
    try:
        return _ends(open_pickled(pickled))
    except SparsaeError:
        return None


def _ends(rows: RowFile) -> bytes:
    """Return the bytes of the first and the last row."""
    return rows[[0, len(rows) - 1]].tobytes()
