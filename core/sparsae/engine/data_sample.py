"""A sample of the rows of some data: its mean and its scale, which starting parameters and defaults follow."""

from __future__ import annotations

from functools import cached_property
from typing import final

import numpy as np
from numpy.typing import NDArray

from sparsae.engine.sources import DataSource
from sparsae.errors import DataError
from sparsae.model import Parameters
from sparsae.model.settings import START_THRESHOLD, ModelSettings

ROWS = 4096


@final
class DataSample:
    """At most 4,096 rows, evenly spaced; read when they are first needed.

    Parameters
    ----------
    source : DataSource
    """

    def __init__(self, source: DataSource) -> None:
        self._source = source

    @cached_property
    def mean(self) -> NDArray[np.float64]:
        """Mean of each column (n_visible,)."""
        return self._moments[0]

    def scale(self, centred: bool) -> float:
        """Root mean square of all values, about the mean of their column where `centred`.

        Raises
        ------
        DataError
            When values are not finite.
        """
        mean, variance = self._moments
        squares = variance if centred else variance + np.square(mean)
        return float(np.sqrt(squares.mean()))

    @cached_property
    def _moments(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        m, _ = self._source.shape
        which = np.linspace(0, m - 1, min(m, ROWS)).astype(np.intp)
        rows = self._source.take(which, np.dtype(np.float64))
        with np.errstate(over="ignore", invalid="ignore"):
            mean = rows.mean(axis=0)
            variance = np.square(rows - mean).mean(axis=0)
            finite = np.isfinite(variance + np.square(mean)).all()
        if not finite:
            self._source.check(dtype=np.dtype(np.float64), unit_range=False)
            raise DataError(f"The squares of {self._source.name} overflow: scale the data.")
        return mean, variance


def random_parameters(
    settings: ModelSettings, sample: DataSample, n_visible: int, n_hidden: int, seed: int | np.random.Generator
) -> Parameters:
    """Return starting parameters as `Objective.random_parameters` describes them."""
    made = Parameters.random(n_visible, n_hidden, seed=seed, init=settings.init)
    if settings.pre_bias:
        made = made._replace(b2=sample.mean)
    if settings.unit_norm:
        made = made._replace(W2=made.W2 / np.linalg.norm(made.W2, axis=0))
    if settings.activation == "jumprelu":
        made = made._replace(threshold=np.full(n_hidden, START_THRESHOLD * sample.scale(settings.pre_bias)))
    return made
