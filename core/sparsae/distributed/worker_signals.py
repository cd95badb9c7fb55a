"""What each worker process of "local:N" does when it starts, as Dask calls it: it ignores Ctrl-C.

A terminal sends Ctrl-C to all of its processes.  The main process ends the fit when an iteration is done, for which it
needs the workers.
"""

from __future__ import annotations

import signal


def dask_setup(worker: object) -> None:
    """Ignore SIGINT; called in the main thread of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
