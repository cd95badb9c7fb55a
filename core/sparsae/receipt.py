"""Receipt: what ran, with what, where.  Every result carries one."""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self, final

import numpy as np

from sparsae._facts import details_html, facts_html, facts_text, table_html
from sparsae._text import plural
from sparsae.version import __version__


@final
@dataclass(frozen=True, kw_only=True, repr=False)
class Receipt:
    """What produced a result; plain numbers and strings, so that it survives JSON.

    Attributes
    ----------
    backend, distribution, distribution_version : str
        The backend that ran, and the installed distribution that registered it.
    contract : int
        Version of the backend contract.
    threading : str
        How the backend spends threads: workers, blas, own, none.
    threads_requested : int or None
        What was asked for (argument, `use_backend` or ``SPARSAE_THREADS``); None: nothing was.
    threads_granted : int
        What the fit was given.
    workers : int
        Row workers that evaluated all rows; how mini-batches ran stands in `notes`.
    pools : tuple of dict
        Every BLAS and OpenMP pool loaded, as read back while the limits were in force:
        user_api, internal_api, version, architecture, threading_layer, num_threads, library.
    passes : int
        1 or 2 passes over the data in an evaluation.
    block_rows, n_blocks, n_segments : int
        How rows were cut; this and the passes decide the last bits.
    storage : str
        Where blocks came from: "kept" (prepared once) or "streamed" (read and prepared in each evaluation).
    dtype : str
        What the kernel computed in; sums across blocks are float64.
    n_samples, n_visible, n_hidden : int
        Sizes.
    data_digest : str
        SHA-256 of shape, dtype and values of the data (and target).
    seed : int or None
        Of the starting parameters, where one was used.
    versions : dict
        Python, sparsae, numpy, scipy and what the backend needs.
    cluster : tuple of dict
        Where evaluations ran on a cluster, each worker: address, host, versions, pools, CPU budget; empty otherwise.
    choices : dict
        Choices of the kernel's own on which the last bits depend; made again when the fit is resumed.
    notes : tuple of str
        What the user should know: reproducibility, clamped threads, backends rejected by ``auto`` and why.
    """

    backend: str
    distribution: str
    distribution_version: str
    contract: int
    threading: str
    threads_requested: int | None
    threads_granted: int
    workers: int
    passes: int
    block_rows: int
    n_blocks: int
    n_segments: int
    storage: str
    dtype: str
    n_samples: int
    n_visible: int
    n_hidden: int
    data_digest: str
    seed: int | None = None
    pools: tuple[Mapping[str, Any], ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)
    cluster: tuple[Mapping[str, Any], ...] = ()
    choices: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return facts_text(self._title, self._facts())

    def _repr_html_(self) -> str:
        headings = ("library", "threads", "version")
        pools = [[pool.get("library"), pool.get("num_threads"), pool.get("version")] for pool in self.pools]
        below = details_html("thread pools", table_html(headings, pools)) if pools else ""
        return facts_html(self._title, self._facts(), below=below)

    @property
    def _title(self) -> str:
        return f"Receipt of {plural(self.n_samples, 'sample')}, {self.n_visible} x {self.n_hidden} weights"

    def _facts(self) -> dict[str, str]:
        """Return what a person wants to know first."""
        return {
            "backend": f"{self.backend} of {self.distribution} {self.distribution_version}",
            "threads": f"{describe_threads(self)}, threading {self.threading!r}",
            "computed in": f"{self.dtype}, {self.passes} pass{'es' * (self.passes > 1)} over data that is "
            f"{self.storage}, {plural(self.n_blocks, 'block')} of {plural(self.block_rows, 'row')}",
            "data": f"SHA-256 {self.data_digest[:16]}...",
            "seed": "none" if self.seed is None else str(self.seed),
            "versions": ", ".join(f"{name} {version}" for name, version in self.versions.items()),
            **{f"note {number}": note for number, note in enumerate(self.notes, 1)},
        }

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that JSON can take."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a receipt from what `to_dict` gave, also after JSON; unknown fields are dropped."""
        known = {f.name for f in fields(cls)}
        taken = {name: value for name, value in values.items() if name in known}
        for name in ("pools", "cluster", "notes"):
            taken[name] = tuple(taken.get(name, ()))
        return cls(**taken)


def describe_threads(receipt: Receipt) -> str:
    """Return what ran: workers over rows, or threads of a library, and what was granted where less was used."""
    granted = plural(receipt.threads_granted, "thread")
    if receipt.threading != "workers":
        return granted
    workers = plural(receipt.workers, "worker")
    return workers if receipt.workers == receipt.threads_granted else f"{workers} ({granted} granted)"


def versions(libraries: Iterable[str]) -> dict[str, str]:
    """Versions of Python, sparsae, numpy, and of scipy and `libraries` where they are loaded."""
    found = {"python": platform.python_version(), "numpy": np.__version__, "sparsae": __version__}
    for name in ("scipy", *libraries):
        version = getattr(sys.modules.get(name), "__version__", None)
        if version is not None:
            found[name] = str(version)
    return found
