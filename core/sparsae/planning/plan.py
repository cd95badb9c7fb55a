"""`plan`: what an evaluation will cost on a cluster, and whether one is worth it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any, Unpack, final

import numpy as np
from numpy.typing import ArrayLike

from sparsae._facts import facts_text
from sparsae._text import plural
from sparsae._types import Array
from sparsae.distributed.connection import INLINE_BYTES, Connection
from sparsae.engine.sources import DataSource
from sparsae.machine.resources import gibibytes
from sparsae.machine.threads import cpu_budget
from sparsae.model import check_size
from sparsae.objective import Objective, ObjectiveOptions, check_option_names
from sparsae.planning.calibration import add_seconds, byte_seconds, process_bytes, row_seconds, scheduler_seconds
from sparsae.planning.cost_model import Constants, Prediction, Workload, best_workers, predict, rows_for_efficiency

SAMPLE_BYTES = 1 << 22  # of the first rows, which are repeated to make as many as calibration needs
LOCAL = "local:2"


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class Plan:
    """What was measured, and what follows for an evaluation.

    Attributes
    ----------
    workload : Workload
    constants : Constants
    cluster : Prediction
        For the workers that were asked for.
    here : float
        Seconds of an evaluation in this process, with its CPU budget, where the data fits.
    best : Prediction
        With the number of workers, up to those asked for, that is fastest.
    batch_rows : int
        Rows of a mini-batch in which workers compute for half of the time.
    calibrated_on : str
        Where times were measured.
    backend : str
    """

    workload: Workload
    constants: Constants
    cluster: Prediction
    here: float
    best: Prediction
    batch_rows: int
    calibrated_on: str
    backend: str

    @property
    def recommendation(self) -> str:
        """What to do, in a few sentences."""
        found, parts = self.cluster, []
        if self.here <= found.seconds:
            parts.append(
                f"Stay in one process while it has room for the data: an evaluation takes {_seconds(self.here)} there."
            )
        elif found.efficiency >= 0.5:
            parts.append(f"The cluster is worth it: {self.here / found.seconds:.1f} times as fast as this process.")
        else:
            parts.append(f"Workers compute for {found.efficiency:.0%} of the time only.")
        if self.best.workers < found.workers and self.best.seconds < 0.95 * found.seconds:
            parts.append(f"{plural(self.best.workers, 'worker')} are fastest: {_seconds(self.best.seconds)}.")
        if found.efficiency < 0.5:
            parts.append(f"With mini-batches take at least {self.batch_rows:,} rows in each.")
        limit = gibibytes(found.keeping_bytes)
        parts.append(f"Workers with a memory limit of {limit} keep their rows; others read them in each evaluation.")
        return " ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        predictions = {
            name: asdict(found) | {"seconds": found.seconds, "efficiency": found.efficiency}
            for name, found in (("cluster", self.cluster), ("best", self.best))
        }
        return {
            "workload": asdict(self.workload),
            "constants": asdict(self.constants),
            **predictions,
            "here_seconds": self.here,
            "batch_rows": self.batch_rows,
            "calibrated_on": self.calibrated_on,
            "backend": self.backend,
            "recommendation": self.recommendation,
        }

    def facts(self) -> dict[str, str]:
        """Return names and values, for a person."""
        found, work, constants = self.cluster, self.workload, self.constants
        return {
            "data": f"{work.n_samples:,} rows of {work.n_visible} inputs, {work.n_hidden} hidden units",
            "cluster": f"{plural(found.workers, 'worker')} with {plural(found.threads, 'thread')} each",
            "an evaluation": _seconds(found.seconds),
            "  compute": f"{_seconds(found.compute)} ({constants.row_seconds * 1e9:,.0f} ns a row and thread)",
            "  broadcast": f"{_seconds(found.broadcast)} ({work.parameter_bytes:,} bytes of parameters)",
            "  reduction": f"{_seconds(found.reduction)} (sums of {work.sums_bytes:,} bytes)",
            "  scheduler": f"{_seconds(found.scheduler)} ({constants.round_seconds * 1e3:.1f} ms a round, "
            f"{constants.task_seconds * 1e3:.2f} ms a task)",
            "workers compute": f"{found.efficiency:.0%} of the time",
            "in this process": f"{_seconds(self.here)}, {self.backend}",
            "memory of a worker": f"{gibibytes(found.least_bytes)} at least, {gibibytes(found.keeping_bytes)} to keep "
            f"{gibibytes(found.rows_bytes)} of rows",
            "measured on": self.calibrated_on,
            "recommendation": self.recommendation,
        }

    def __repr__(self) -> str:
        return facts_text("plan of a fit on a cluster", self.facts())


def plan(
    X: ArrayLike,
    n_hidden: int,
    *,
    workers: int,
    rows: int | None = None,
    **options: Unpack[ObjectiveOptions],
) -> Plan:
    """Predict the time of an evaluation on a cluster, from a few seconds of measurements.

    Parameters
    ----------
    X : array_like (n_samples, n_visible)
        Data like that of the fit; at most 4 MiB of its first rows are used.
    n_hidden : int
    workers : int
        Worker processes, each on a machine like this one, or like those of `cluster`.
    rows : int, optional
        Rows of the fit, where X is only a part of them.
    **options
        Those of `sparsae.Objective`, as they will be in the fit.  `threads` are those of each worker; when left out
        those of a worker of `cluster`, else the CPU budget of this process.  `cluster` is where to measure; when left
        out, two processes on this machine tell the times of the scheduler, and this process that of a row.

    Raises
    ------
    DataError, ParameterError, BackendError, ClusterError, MissingExtraError
        As `Objective` and `Connection.open`.
    """
    check_option_names(plan, options)
    options.setdefault("passes", 1)  # as on a cluster
    workers = check_size("workers", workers)
    sample = _Sample(DataSource(X, "X"), n_hidden, options)
    n_rows = sample.all_rows if rows is None else check_size("rows", rows)
    budget, threads, cluster = cpu_budget().granted, options.get("threads"), options.get("cluster")
    at_once = budget if threads is None else min(budget, check_size("threads", threads))
    local_row = row_seconds(lambda n: sample.objective(n, None, at_once), n_rows, at_once)
    made = sample.objective(sample.rows, None, 1)
    work = _workload(made, n_rows, separate_target=sample.target is not None, passes=options.get("passes"))
    with ExitStack() as stack:
        connection = Connection.open(LOCAL if cluster is None else cluster)
        if connection is not cluster:
            stack.callback(connection.close)
        constants = _constants(connection, local_row, calls=work.parameter_bytes <= INLINE_BYTES)
        shares = connection.shares()
        if cluster is not None:
            together = int(sum(shares.values()))
            remote_row = row_seconds(lambda n: sample.objective(n, connection, None), n_rows, together)
            constants = replace(constants, row_seconds=remote_row)
            threads = int(max(shares.values())) if threads is None else threads
    threads = budget if threads is None else threads
    most = best_workers(work, constants, threads, workers)
    return Plan(
        workload=work,
        constants=constants,
        cluster=predict(work, constants, workers, threads),
        here=n_rows * local_row / at_once,
        best=predict(work, constants, most, threads),
        batch_rows=rows_for_efficiency(work, constants, workers, threads, 0.5),
        calibrated_on="this machine" if cluster is None else f"{plural(len(shares), 'worker')} of the cluster",
        backend=made.backend.name,
    )


@final
class _Sample:
    """Objectives with any number of rows, made by repeating the first rows of the data."""

    def __init__(self, source: DataSource, n_hidden: int, options: ObjectiveOptions) -> None:
        self._n_hidden, self._options = n_hidden, options
        self.all_rows, columns = source.shape
        self.rows = max(1, min(self.all_rows, SAMPLE_BYTES // (source.dtype.itemsize * columns)))
        first, target = slice(0, self.rows), options.get("target")
        self.x = source.rows(first, source.dtype)
        self.target = None if target is None else DataSource(target, "target").rows(first, source.dtype)

    def objective(self, rows: int, where: Connection | None, threads: int | None) -> Objective:
        """Prepare an objective here or on a cluster."""
        repeat = _repeat if where is None else _repeat_on_cluster
        changed: ObjectiveOptions = {**self._options, "cluster": where, "threads": threads}
        if self.target is not None:
            changed["target"] = repeat(self.target, rows)
        return Objective(repeat(self.x, rows), self._n_hidden, **changed)


def _repeat(rows: Array, count: int) -> Array:
    return np.resize(rows, (count, rows.shape[1]))


def _repeat_on_cluster(rows: Array, count: int) -> Any:
    """Return a Dask array of repeated rows, which are sent once."""
    import dask.array as da

    part = da.from_array(rows, chunks=-1)
    return da.concatenate([part] * -(-count // len(rows)))[:count]


def _constants(connection: Connection, row: float, *, calls: bool) -> Constants:
    round_seconds, task_seconds = scheduler_seconds(connection, calls=calls)
    sent, received = byte_seconds(connection)
    return Constants(
        row_seconds=row,
        round_seconds=round_seconds,
        task_seconds=task_seconds,
        send_seconds=sent,
        receive_seconds=received,
        add_seconds=add_seconds(),
        process_bytes=process_bytes(connection),
    )


def _workload(made: Objective, n_rows: int, *, separate_target: bool, passes: object) -> Workload:
    known = made.cost.known_sparsity(made.random_parameters(0)) is not None
    two = passes == 2 and not known
    return Workload(
        n_samples=n_rows,
        n_visible=made.n_visible,
        n_hidden=made.n_hidden,
        itemsize=np.dtype(made.dtype).itemsize,
        block_rows=made.problem.block_rows,
        rounds=1 + two + (made.settings.activation == "batchtopk"),
        with_sparsity=not known and not two,
        separate_target=separate_target,
    )


def _seconds(value: float) -> str:
    """Return a time with its unit."""
    return f"{value * 1e3:,.1f} ms" if value < 1 else f"{value:,.2f} s"
