"""One round of an evaluation on the workers: every subtree is done at least once, whatever happens to a worker.

A worker that has the rows of its part is called; what does not come back from a call, and the parts of other workers,
are tasks, which take longer and which the scheduler runs elsewhere when a worker dies.  A worker that is stopped or cut
off is not noticed by the scheduler for minutes: when its heartbeat is older than `patience` seconds it is given up, and
what it was asked for is asked of others.  The first answer for a subtree counts; all answers have the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import replace
from typing import Any, final

from sparsae._text import plural
from sparsae.distributed.connection import Connection
from sparsae.distributed.placement import Subtree
from sparsae.distributed.process import run_work
from sparsae.distributed.rows import RemoteRows
from sparsae.distributed.task_errors import raise_task_error
from sparsae.distributed.tasks import Work
from sparsae.errors import ClusterError, SparsaeError
from sparsae.model import Parameters

TICK = 0.5  # seconds between looks at what has come back
MOST_DEATHS = 3  # tasks of a round that Dask has ended since workers died in each again and again


@final
class Round:
    """One round: tasks sent, results collected, missing ones sent again.

    Parameters
    ----------
    connection : Connection
    fit : str
        Name of the fit.
    description : bytes
        `FitDescription`, pickled.
    rows : RemoteRows
    work : Work
        Without its subtrees.
    parameters : Parameters or future
        As `Connection.share` returned them.
    """

    def __init__(
        self,
        connection: Connection,
        fit: str,
        description: bytes,
        rows: RemoteRows,
        work: Work,
        parameters: Any,
    ) -> None:
        self._connection, self._rows, self._work = connection, rows, work
        self._fit, self._description, self._parameters = fit, description, parameters
        self._calls: dict[Any, tuple[str, Work]] = {}  # future: the worker that was asked, and for what
        self._tasks: dict[Any, tuple[str, Work]] = {}
        self._results: dict[Subtree, Any] = {}
        self._given_up: set[str] = set()
        self._sent = self._deaths = 0

    def run(self, placement: Mapping[str, tuple[Subtree, ...]]) -> dict[Subtree, Any]:
        """Return the result of each subtree.

        Raises
        ------
        ClusterError
            When nothing has come back for `deadline` seconds, workers die again and again, or there is none.
        SparsaeError
            What a worker raised on purpose.
        """
        wanted = {subtree for subtrees in placement.values() for subtree in subtrees}
        may_call = isinstance(self._parameters, Parameters) and self._connection.calls.allowed()
        try:
            for worker, subtrees in placement.items():
                self._ask(worker, subtrees, may_call=may_call)
            self._wait_for(wanted)
        finally:
            for future in [*self._calls, *self._tasks]:  # nobody needs them any more
                future.cancel()
        self._rows.spilling.look(self._connection.last_seen)
        return self._results

    def _wait_for(self, wanted: set[Subtree]) -> None:
        """Collect results until there is one of each subtree, and ask again for what is lost."""
        progress = time.monotonic()
        while missing := wanted - self._results.keys():
            if self._collect_calls() if self._calls else self._collect_tasks():
                progress = time.monotonic()
            elif (left := progress + self._connection.deadline - time.monotonic()) < 0:
                raise ClusterError(
                    f"{plural(len(missing), 'part')} of an evaluation did not come back from the cluster within "
                    f"{self._connection.deadline:g} s; {plural(len(self._connection.workers()), 'worker')} connected."
                )
            else:
                self._replace_lost(missing, left)

    def _ask(self, worker: str, subtrees: tuple[Subtree, ...], *, may_call: bool) -> None:
        """Ask a worker for the sums of some subtrees: by a call where that may be, else by a task."""
        work = replace(self._work, subtrees=subtrees)
        if work.batch is not None:
            work = replace(work, batch={segment: work.batch[segment] for segment in work.segments})
        if may_call and self._rows.are_on(work, worker):
            rows = self._rows.of(work, worker)
            call = self._connection.calls.start(worker, self._fit, self._description, work, self._parameters, rows)
            self._calls[call] = worker, work
            return
        self._sent += 1
        task = self._connection.client.submit(
            run_work,
            self._fit,
            self._description,
            work,
            self._parameters,
            self._rows.of(work, worker),
            key=f"sparsae-{self._fit}-{work.evaluation}-{work.round}-{self._sent}",
            workers=[worker],
            allow_other_workers=True,
            pure=False,
        )
        self._tasks[task] = worker, work

    def _replace_lost(self, missing: set[Subtree], seconds: float) -> None:
        """Ask others for what nobody is asked for any more: by tasks, which find another worker by themselves.

        Where there is no worker, one is waited for, at most so many seconds.
        """
        asked = [*self._calls.items(), *self._tasks.items()]
        self._given_up |= self._connection.give_up_silent({worker for _, (worker, _) in asked} - self._given_up)
        kept = {s for _, (worker, work) in asked if worker not in self._given_up for s in work.subtrees}
        for call, (worker, _) in [*self._calls.items()]:
            if worker in self._given_up:
                call.cancel()
                del self._calls[call]
        ordered = sorted(missing - kept)
        if not ordered:
            return
        self._rows.locations()  # what they held is somewhere else from now on
        workers = sorted(self._connection.shares(seconds))
        for i, worker in enumerate(workers):
            if subtrees := tuple(ordered[i :: len(workers)]):
                self._ask(worker, subtrees, may_call=False)

    def _collect_calls(self) -> bool:
        """Wait a moment for calls; take in what has come back; return whether there was a result."""
        done, _ = wait(self._calls, TICK, FIRST_COMPLETED)
        before = len(self._results)
        for call in done:
            _, work = self._calls.pop(call)
            found = None if call.cancelled() or call.exception() else call.result()
            if found is not None:
                self._take(work, found)
        return len(self._results) > before

    def _collect_tasks(self) -> bool:
        """Wait a moment for tasks; as `_collect_calls`."""
        if not self._tasks:
            time.sleep(TICK)
            return False
        if not self._connection.wait(self._tasks, TICK):
            self._connection.check()
        done = {future: work for future, (_, work) in self._tasks.items() if future.done()}
        finished = [future for future in done if future.status == "finished"]
        results = self._connection.gather(finished)
        for future, work in done.items():
            if future in results:
                self._take(work, results[future])
            elif future.status == "error":
                raise_task_error(error := future.exception(timeout=self._connection.patience))
                self._count_death(error)
            elif future in finished:  # the worker that holds it does not send it: it may be gone or stopped
                continue
            del self._tasks[future]
        return bool(results)

    def _count_death(self, error: BaseException) -> None:
        """Raise `ClusterError` when workers have died in one task after the other."""
        self._deaths += 1
        if self._deaths == MOST_DEATHS:
            raise ClusterError(
                f"Workers died again and again while they evaluated rows ({error}). Their logs may say why; one that "
                f"needs more memory than its limit is ended by its nanny."
            ) from error

    def _take(self, work: Work, parts: list[Any] | SparsaeError) -> None:
        """Take in what a worker has answered: a result a subtree, or what it raised on purpose."""
        if isinstance(parts, SparsaeError):
            raise parts
        for subtree, part in zip(work.subtrees, parts, strict=True):
            self._results.setdefault(subtree, part)
