"""Rows that workers write to disk, which Dask does where they exceed a share of a worker's memory: said, once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, final

from sparsae._text import listed
from sparsae.errors import ClusterWarning
from sparsae.machine.caller_warning import warn_caller
from sparsae.machine.resources import gibibytes


@final
class Spilling:
    """What workers have written to disk since the first look.

    Attributes
    ----------
    notes : list of str
        For the receipt.
    """

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._before: dict[str, int] | None = None

    def look(self, workers: Mapping[str, Mapping[str, Any]]) -> None:
        """Warn the first time that one has written more than at the first look.

        Parameters
        ----------
        workers : mapping of str to mapping
            As the scheduler describes them; what they have written is as old as their last heartbeat.

        Warns
        -----
        ClusterWarning
            Names the workers; a program that turns warnings into errors has the note alone.
        """
        now = {name: _on_disk(worker) for name, worker in workers.items()}
        if self._before is None:
            self._before = now
        written = {name: more for name, size in now.items() if (more := size - self._before.get(name, 0)) > 0}
        if self.notes or not written:
            return
        names = listed([f"{name} {gibibytes(size)}" for name, size in sorted(written.items())])
        warning = ClusterWarning(
            f"Memory of the workers was short, so that Dask has written rows to disk ({names}) and reads them in each "
            f"evaluation. Use more workers, workers with more memory, or a file that each worker can open."
        )
        self.notes.append(str(warning))
        with suppress(Warning):
            warn_caller(warning)


def _on_disk(worker: Mapping[str, Any]) -> int:
    return int(worker.get("metrics", {}).get("spilled_bytes", {}).get("disk", 0))
