"""One round of an evaluation on the workers: every subtree is done at least once, whatever happens to a worker.

The scheduler runs the task of a worker that died on another one.  A worker that is stopped or cut off is not noticed by
the scheduler for minutes: when its heartbeat is older than `patience` seconds it is given up, and what it was asked for
is asked of others.  The first answer for a subtree counts; all answers have the same bits.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, final

from sparsae._text import plural
from sparsae.distributed.connection import Connection
from sparsae.distributed.placement import Subtree
from sparsae.distributed.process import run_work
from sparsae.distributed.rows import RemoteRows
from sparsae.distributed.tasks import Work
from sparsae.errors import ClusterError

TICK = 0.5  # seconds between looks at what has come back


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
        self._pending: dict[Any, tuple[str, Work]] = {}  # future: the worker that was asked, and for what
        self._results: dict[Subtree, Any] = {}
        self._given_up: set[str] = set()
        self._sent = 0

    def run(self, placement: Mapping[str, tuple[Subtree, ...]]) -> dict[Subtree, Any]:
        """Return the result of each subtree.

        Raises
        ------
        ClusterError
            When nothing has come back for `deadline` seconds, or there is no worker.
        SparsaeError
            What a worker raised on purpose.
        """
        wanted = {subtree for subtrees in placement.values() for subtree in subtrees}
        for worker, subtrees in placement.items():
            self._submit(subtrees, worker)
        progress = time.monotonic()
        while missing := wanted - self._results.keys():
            if self._collect():
                progress = time.monotonic()
            elif time.monotonic() - progress > self._connection.deadline:
                raise ClusterError(
                    f"{plural(len(missing), 'part')} of an evaluation did not come back from the cluster within "
                    f"{self._connection.deadline:g} s; {plural(len(self._connection.workers()), 'worker')} connected."
                )
            else:
                self._replace_lost(missing)
        self._release()
        return self._results

    def _submit(self, subtrees: tuple[Subtree, ...], worker: str) -> None:
        if not subtrees:
            return
        self._sent += 1
        work = replace(self._work, subtrees=subtrees)
        if work.batch is not None:
            work = replace(work, batch={segment: work.batch[segment] for segment in work.segments})
        future = self._connection.client.submit(
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
        self._pending[future] = worker, work

    def _replace_lost(self, missing: set[Subtree]) -> None:
        """Ask others for what workers that are gone, silent or paused were asked for."""
        asked = {worker for worker, _ in self._pending.values()} - self._given_up
        lost = self._connection.give_up_silent(asked)
        if not lost and self._pending:
            return
        self._given_up |= lost
        self._rows.locations()  # what they held is somewhere else from now on
        workers = sorted(self._connection.shares())
        kept = {s for worker, work in self._pending.values() if worker not in self._given_up for s in work.subtrees}
        ordered = sorted(missing - kept)
        for i, worker in enumerate(workers):
            self._submit(tuple(ordered[i :: len(workers)]), worker)

    def _collect(self) -> bool:
        """Wait a moment; take in what has come back; return whether there was a result."""
        if not self._pending:
            time.sleep(TICK)
            return False
        if not self._connection.wait(self._pending, TICK):
            self._connection.check()
        done = {future: work for future, (_, work) in self._pending.items() if future.done()}
        finished = [future for future in done if future.status == "finished"]
        results = self._connection.gather(finished)
        for future, work in done.items():
            if future in results:
                for subtree, part in zip(work.subtrees, results[future], strict=True):
                    self._results.setdefault(subtree, part)
            elif future.status == "error":
                self._connection.raise_or_ignore(future.exception(timeout=self._connection.patience))
            elif future in finished:  # the worker that holds it does not send it: it may be gone or stopped
                continue
            del self._pending[future]
        return bool(results)

    def _release(self) -> None:
        """Cancel what nobody needs any more."""
        for future in self._pending:
            future.cancel()
        self._pending.clear()
