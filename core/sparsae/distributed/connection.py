"""A connection to a Dask cluster: which workers there are, how they are asked, and how long they are waited for."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, Self, final

from sparsae._text import plural
from sparsae.distributed.calls import Calls
from sparsae.distributed.local_cluster import close_local, start_local
from sparsae.distributed.scheduler_check import check_scheduler
from sparsae.distributed.security import check_security, warn_if_plain
from sparsae.distributed.task_errors import raise_rows_error, raise_task_error
from sparsae.errors import ClusterError, MissingExtraError, ParameterError
from sparsae.model import Parameters, check_size
from sparsae.model.checks import as_number

CONNECT_SECONDS = 9.0
PATIENCE = 30.0
WORKER_SECONDS = 60.0
DEADLINE = 600.0
BROADCAST_SECONDS = 5.0
SCHEDULER_SECONDS = 60.0  # for an answer of a scheduler to which the connection still stands: it may be busy
SHARES_SECONDS = 1.0  # between two looks at which workers there are
INLINE_BYTES = 1 << 20  # larger parameters are one future an evaluation, so that the scheduler carries them once


@final
class Connection:
    """A client of a Dask cluster, and the settings of fits on it.

    Parameters
    ----------
    client : distributed.Client
    threads : int, optional
        Of each worker; its number of Dask threads when left out.
    patience : float
        Seconds without a heartbeat after which a worker is given up and its part is asked of others.
    deadline : float
        Seconds without any progress after which an evaluation fails.
    bits : {"same", "strict"}
        "strict" refuses workers whose BLAS kernels differ from the client's; otherwise the receipt says so.
    """

    def __init__(
        self,
        client: Any,
        *,
        threads: int | None = None,
        patience: float = PATIENCE,
        deadline: float = DEADLINE,
        bits: str = "same",
        owned: Any = None,
    ) -> None:
        self.client, self.calls = client, Calls(client)
        self.threads = None if threads is None else check_size("threads", threads)
        for name, seconds in (("patience", patience), ("deadline", deadline)):
            if not as_number(name, seconds) > 0:
                raise ParameterError(f"{name} must be a positive number of seconds; given {seconds!r}.")
        self.patience, self.deadline = float(patience), float(deadline)
        if bits not in ("same", "strict"):
            raise ParameterError(f'bits must be "same" or "strict"; given {bits!r}.')
        self.strict = bits == "strict"
        self._owned = owned
        self.last_seen: dict[str, dict[str, Any]] = {}  # what `workers` returned last
        self._shares: dict[str, float] = {}
        self._asked = float("-inf")  # when the scheduler was asked for them

    @classmethod
    def open(cls, cluster: Any, *, security: Any = None, **settings: Any) -> Self:
        """Connect to what a user names.

        Parameters
        ----------
        cluster : distributed.Client, Connection or str
            A client; an address such as "tls://host:8786"; or "local:N" for N worker processes on this machine.
        security : distributed.Security, optional
            Certificates for an address with "tls://", Dask's configuration when left out; for "local:N" those of its
            processes, which are not encrypted when it is left out.
        **settings
            Of a `Connection`.

        Raises
        ------
        ClusterError
            When no scheduler answers within 10 seconds, or the client is closed.
        MissingExtraError
            When Dask is not installed.
        """
        if isinstance(cluster, cls):
            return cluster
        try:
            from distributed import Client
        except ImportError as error:
            raise MissingExtraError("A cluster needs Dask: pip install 'sparsae[dask]'.") from error
        if isinstance(cluster, Client):
            if cluster.asynchronous:
                raise ParameterError(
                    "cluster is a client that was made with asynchronous=True; give one without, or its address."
                )
            connection = cls(cluster, **settings)
            connection.check()
            warn_if_plain(cluster.scheduler.address)
            return connection
        if not isinstance(cluster, str):
            raise ParameterError(
                f'cluster must be a distributed.Client, an address such as "tls://host:8786", or "local:N"; '
                f"given {cluster!r}."
            )
        if cluster.partition(":")[0] == "local":
            processes = start_local(cluster, security)
            return cls(Client(processes, set_as_default=False), owned=processes, **settings)
        check_security(cluster, security)
        warn_if_plain(cluster)
        check_scheduler(cluster, security, CONNECT_SECONDS)
        try:
            client = Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False, security=security)
        except (OSError, TimeoutError, ValueError) as error:
            raise ClusterError(f"The scheduler at {cluster!r} refuses this client ({error}).") from error
        return cls(client, owned=client, **settings)

    def close(self) -> None:
        """Close what this connection has started."""
        if self._owned is not None:
            close_local(self.client, self._owned)

    def check(self) -> None:
        """Raise `ClusterError` when the scheduler is gone or the client closed."""
        if self.client.status != "running":
            state = "lost" if self.client.status == "connecting" else self.client.status
            raise ClusterError(f"The connection to the scheduler is {state}: it ended, or the client was closed.")

    def workers(self) -> dict[str, dict[str, Any]]:
        """Return what the scheduler knows of each worker."""
        self.last_seen = self.ask_scheduler("identity", n_workers=-1)["workers"]
        return self.last_seen

    def ask_scheduler(self, what: str, **arguments: Any) -> Any:
        """Call a function of the scheduler.

        Raises
        ------
        ClusterError
            When the scheduler is gone, the client closed, or no answer came within 60 seconds, or the deadline where
            that is shorter.
        """
        self.check()
        try:
            seconds = min(SCHEDULER_SECONDS, self.deadline)
            return self.client.sync(getattr(self.client.scheduler, what), callback_timeout=seconds, **arguments)
        except (OSError, TimeoutError) as error:
            self.check()
            raise ClusterError(f"The scheduler does not answer ({type(error).__name__}: {error}).") from error

    def recent_shares(self) -> dict[str, float]:
        """Return `shares`, at most a second old: asking the scheduler in each evaluation would take milliseconds."""
        self.check()
        if time.monotonic() - self._asked > SHARES_SECONDS:
            return self.shares()
        return self._shares

    def shares(self, within: float = WORKER_SECONDS) -> dict[str, float]:
        """Return the workers that take part, each with its number of threads; waits for the first one.

        Raises
        ------
        ClusterError
            When there is none within so many seconds, or 60, or the deadline where that is shorter.
        """
        started, seconds = time.monotonic(), min(within, WORKER_SECONDS, self.deadline)
        while not (workers := self.workers()):
            if time.monotonic() - started > seconds:
                raise ClusterError(
                    f"The cluster has no workers; waited {seconds:.3g} s for one. "
                    f"Start one with: dask worker {self.client.scheduler.address}."
                )
            time.sleep(0.2)
        shares = {worker: float(self.threads or info["nthreads"]) for worker, info in sorted(workers.items())}
        silent = self._silent(workers)
        self._shares = {worker: share for worker, share in shares.items() if worker not in silent} or shares
        self._asked = time.monotonic()
        return self._shares

    def give_up_silent(self, asked: Collection[str]) -> set[str]:
        """Return those of the workers asked that are gone, silent or paused; the scheduler drops the silent ones.

        The scheduler would do so itself after its ``worker-ttl``, five minutes.  What they held is computed again
        elsewhere; one that goes on later registers again.
        """
        workers = self.workers()
        silent = self._silent(workers)
        for worker in silent.intersection(asked):
            if workers[worker].get("status") != "paused":
                self.ask_scheduler("unregister", address=worker, stimulus_id=f"sparsae-silent-{time.time()}")
        return set(asked) & (silent | (set(asked) - workers.keys()))

    def _silent(self, workers: Mapping[str, Mapping[str, Any]]) -> set[str]:
        """Return the workers whose last heartbeat is older than `patience`, and those that are paused."""
        newest = max((info["last_seen"] for info in workers.values()), default=0.0)
        return {
            worker
            for worker, info in workers.items()
            if newest - info["last_seen"] > self.patience or info.get("status") == "paused"
        }

    def share(self, parameters: Parameters, name: str) -> Any:
        """Return parameters as a task takes them: as they are, or where they are large as a future of their own."""
        if 2 * parameters.W1.nbytes <= INLINE_BYTES:
            return parameters
        return self.client.submit(_as_is, parameters, key=f"sparsae-parameters-{name}", pure=False)

    def wait(self, futures: Iterable[Any], seconds: float) -> bool:
        """Wait until all futures are done, or so many seconds; return whether they are.

        `distributed.wait` needs `Client.as_current`, which sets Dask's configuration of the whole process, and of two
        threads that enter and leave it in turn one leaves it set for good.
        """
        from distributed.client import _wait

        with suppress(TimeoutError):
            self.client.sync(_wait, list(futures), timeout=seconds)
            return True
        return False

    def gather(self, futures: Sequence[Any]) -> dict[Any, Any]:
        """Return the results of futures that are finished, in one request; nothing when they do not come soon."""

        async def gather() -> list[Any]:
            found: list[Any] = await self.client.gather(futures, asynchronous=True)
            return found

        try:
            found = self.client.sync(gather, callback_timeout=self.patience) if futures else []
        except (OSError, TimeoutError, CancelledError):
            return {}
        return dict(zip(futures, found, strict=True))

    def wait_for(self, futures: Collection[Any]) -> None:
        """Wait until rows are on the workers.

        Raises
        ------
        ClusterError
            When they are not within the deadline, or cannot be computed.
        """
        started, waiting = time.monotonic(), set(futures)
        while waiting:
            self.wait(waiting, min(self.patience, 1.0))
            self.check()
            for future in futures:
                if future.status == "error":
                    error = future.exception(timeout=self.patience)
                    raise_rows_error(error)
                    raise ClusterError(
                        f"Workers died again and again while they computed rows ({error}). Their logs may say why."
                    ) from error
            waiting = {future for future in waiting if not future.done()}
            if waiting:
                self.give_up_silent(self.workers())  # the scheduler asks others for what these were asked for
            if waiting and time.monotonic() - started > self.deadline:
                raise ClusterError(
                    f"{plural(len(waiting), 'part')} of the data did not reach the workers, or were not read by them, "
                    f"within {self.deadline:g} s."
                )

    def results(self, futures: Sequence[Any]) -> list[Any]:
        """Return the results of futures; as `wait_for`.

        One whose worker is lost before it was sent is computed again by another.
        """
        started = time.monotonic()
        while time.monotonic() - started < self.deadline:
            self.wait_for(futures)
            found = self.gather(futures)
            if len(found) == len(futures):
                return list(found.values())
            self.give_up_silent(self.workers())
        raise ClusterError(f"The workers did not send {plural(len(futures), 'result')} within {self.deadline:g} s.")

    def broadcast(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function on every worker that answers soon; failures are ignored."""
        try:
            self.client.sync(
                self.client._run, function, *arguments, on_error="ignore", callback_timeout=BROADCAST_SECONDS
            )
        except (OSError, TimeoutError, RuntimeError, ValueError):
            return

    def ask(self, function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
        """Call a function on every worker; return what those say that answer.

        Raises
        ------
        ClusterError
            When none does.
        SparsaeError
            What the function raised on purpose.
        """
        names = {
            self.client.submit(function, *arguments, workers=[worker], pure=False, priority=10): worker
            for worker in self.shares()
        }
        started, waiting = time.monotonic(), set(names)
        while waiting and time.monotonic() - started < self.deadline:
            self.wait(waiting, 1.0)
            gone = self.give_up_silent({names[future] for future in waiting})
            waiting = {future for future in waiting if not future.done() and names[future] not in gone}
        for future in names:
            if future.status == "error":
                raise_task_error(future.exception(timeout=self.patience))
        answers = {}
        for future, worker in names.items():
            if future.status == "finished" and future not in waiting:
                with suppress(TimeoutError):
                    answers[worker] = future.result(timeout=self.patience)
        for future in waiting:
            future.cancel()
        if not answers:
            raise ClusterError(f"None of {plural(len(names), 'worker')} answered within {self.deadline:g} s.")
        return answers


def _as_is(parameters: Parameters) -> Parameters:
    return parameters
