"""`Metrics`: what a model does to data, as numbers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, final

import numpy as np
from numpy.typing import NDArray

BINS_PER_DECADE = 4


class DensityHistogram(NamedTuple):
    """How many units have a density between two edges; the edges are equal steps on a logarithmic axis.

    Attributes
    ----------
    edges : ndarray (n_bins + 1,)
        Ascending densities; the last is 1.
    counts : ndarray (n_bins,) of int
        Units with ``edges[i] <= density < edges[i + 1]``; the last bin has those of density 1 too.
    dead : int
        Units of density 0, which no logarithmic axis has.
    """

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    dead: int


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Metrics:
    """What a model does to data.  x is a row, t its target (x itself, unless another one is given), a3 the output.

    The samples are those that the model sees: transformed, where it has a transform.

    Attributes
    ----------
    rows : int
        Number of rows, m.
    explained_variance : float
        ``1 - sum |t - a3|^2 / sum |t - mean(t)|^2``: sums over all rows and columns, the mean is that of each column.
        Predicting the mean gives 0, the exact target 1; a constant shift of the output lowers it.
    fvu : float
        Fraction of variance unexplained: ``1 - explained_variance``.
    nmse : float
        ``sum |t - a3|^2 / sum |t|^2``.
    mse : float
        ``sum |t - a3|^2 / (m n)``.
    cosine : float
        Mean over rows of ``t . a3 / (|t| |a3|)``; rows with t = 0 are left out, a3 = 0 counts as 0.
    l0 : float
        Mean number of active units in a row: ``sum fired / m``.
    l1 : float
        Mean over rows of ``sum_j |a2_j|``.
    fired : ndarray (n_hidden,) of int
        Number of rows in which each unit is active.
    active_above : float
        A unit is active where its activation is above this: 0, or 0.1 for sigmoid units, which are never 0.
    """

    rows: int
    explained_variance: float
    nmse: float
    mse: float
    cosine: float
    l0: float
    l1: float
    fired: NDArray[np.int64]
    active_above: float

    @property
    def fvu(self) -> float:
        """Fraction of variance unexplained."""
        return 1 - self.explained_variance

    @cached_property
    def density(self) -> NDArray[np.float64]:
        """Share of the rows in which each unit is active (n_hidden,): ``fired / m``."""
        share: NDArray[np.float64] = self.fired / self.rows
        return share

    @cached_property
    def dead(self) -> NDArray[np.intp]:
        """Numbers of the units that are active in no row, ascending."""
        return np.flatnonzero(self.fired == 0)

    @property
    def dead_share(self) -> float:
        """Share of the units that are active in no row."""
        return len(self.dead) / len(self.fired)

    def histogram(self, *, bins_per_decade: int = BINS_PER_DECADE) -> DensityHistogram:
        """Count units by density, on a logarithmic axis from the decade of one row in m up to 1."""
        decades = max(1, int(np.ceil(np.log10(self.rows))))
        edges = np.logspace(-decades, 0, decades * bins_per_decade + 1)
        alive = self.density[self.fired > 0]
        place = np.clip(np.searchsorted(edges, alive, side="right") - 1, 0, len(edges) - 2)
        return DensityHistogram(edges, np.bincount(place, minlength=len(edges) - 1), len(self.dead))

    def to_dict(self) -> dict[str, Any]:
        """Return plain numbers and lists, for JSON."""
        histogram = self.histogram()
        names = ("rows", "explained_variance", "fvu", "nmse", "mse", "cosine", "l0", "l1", "dead_share", "active_above")
        return {
            **{name: getattr(self, name) for name in names},
            "dead": self.dead.tolist(),
            "density": self.density.tolist(),
            "histogram": {"edges": histogram.edges.tolist(), "counts": histogram.counts.tolist()},
        }
