"""Data of Dask and its cluster: `connect`, and `ClusterRows`, which the workers of a cluster compute."""

from __future__ import annotations

import weakref
from concurrent.futures import CancelledError
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import printable
from sparsae.distributed.connection import Connection
from sparsae.engine.containers import check_matrix
from sparsae.engine.dask_rows import as_dask_array, client_of, is_dask
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
        self._connection.check()
        future = self._connection.client.compute(self.array[which])
        try:
            rows: NDArray[Any] = future.result(timeout=self._connection.deadline)
        except SparsaeError:
            raise
        except TimeoutError as error:
            future.cancel()
            raise ClusterError(f"Rows of {self._name} did not come within {self._connection.deadline:g} s.") from error
        except (Exception, CancelledError) as error:
            self._connection.check()
            what = f"{type(error).__name__}: {printable(error)[:200]}"
            raise DataError(f"Rows of {self._name} cannot be computed on the cluster: {what}.") from error
        return rows


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
        `ClusterRows` where they are of Dask and there is a cluster.

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
    rows = _rows(connection, X, "X")
    return connection, rows, rows if target is X else _rows(connection, target, "target")


def _rows(connection: Connection, data: Any, name: str) -> Any:
    if not is_dask(data):
        return data
    with connection.client.as_current():  # which counts the rows of a frame
        array = as_dask_array(data, name)
    check_matrix(array, name)
    return ClusterRows(connection, array, name)
