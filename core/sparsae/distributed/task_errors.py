"""What the error of a task means: raised again, or ignored where workers were lost, since others are asked then."""

from __future__ import annotations

from sparsae._text import printable
from sparsae.errors import ClusterError, DataError, SparsaeError


def raise_task_error(error: BaseException) -> None:
    """Raise what a worker raised on purpose; what a lost worker leaves behind is asked for again.

    Raises
    ------
    SparsaeError
        As on the worker.
    ClusterError
        When a task failed in another way.
    """
    if not _is_loss(error):
        raise ClusterError(f"A worker failed: {_describe(error)}.") from error


def raise_rows_error(error: BaseException) -> None:
    """Raise what the computation of rows ended with; nothing where workers were lost.

    Raises
    ------
    SparsaeError
        As on the worker.
    DataError
        When it failed in another way.
    """
    if not _is_loss(error):
        raise DataError(f"Rows cannot be computed on the cluster: {_describe(error)}.") from error


def _is_loss(error: BaseException) -> bool:
    """Whether workers have died in the task; raises an error of sparsae."""
    from distributed import KilledWorker

    if isinstance(error, SparsaeError):
        raise error
    return isinstance(error, KilledWorker)


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {printable(error)[:200]}"
