"""Whether a scheduler answers at an address: asked before a client is made, which may wait there for ever.

`distributed.Client` has a time limit for the connection alone.  A service that takes it and says nothing, or something
else, holds the client up, and what is left of the client holds up the end of the process.
"""

from __future__ import annotations

import asyncio
from typing import Any

from sparsae._text import printable
from sparsae.errors import ClusterError


def check_scheduler(address: str, security: Any, seconds: float) -> None:
    """Raise `ClusterError` unless a scheduler answers within so many seconds.

    Parameters
    ----------
    address : str
    security : distributed.Security or None
        Dask's configuration where it is None.
    seconds : float
    """
    from distributed.utils import LoopRunner, sync

    from distributed import Security

    arguments = (security or Security()).get_connection_args("client")
    runner = LoopRunner(asynchronous=False)
    runner.start()
    try:
        kind = sync(runner.loop, _ask_kind, address, seconds, arguments)
    except Exception as error:  # whatever another service answers may be anything to Dask
        what = printable(error)[:200] or "something took the connection and said nothing"
        raise ClusterError(
            f"No scheduler answered at {address!r} within {seconds:g} s ({what}). "
            f"Start one with: dask scheduler --host 127.0.0.1, and workers with: dask worker ADDRESS."
        ) from error
    finally:
        runner.stop()
    if kind != "Scheduler":
        raise ClusterError(
            f"{address!r} is the address of a {printable(kind)[:40].lower()} of Dask; give that of the scheduler."
        )


async def _ask_kind(address: str, seconds: float, arguments: dict[str, Any]) -> str:
    """Return what a server of Dask says that it is."""

    async def ask() -> str:
        from distributed.comm import connect

        comm = await connect(address, timeout=seconds, **arguments)
        try:
            await comm.write({"op": "identity", "reply": True})
            return str((await comm.read())["type"])
        finally:
            comm.abort()

    return await asyncio.wait_for(ask(), seconds)
