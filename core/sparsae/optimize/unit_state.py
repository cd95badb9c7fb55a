"""What training carries from mini-batch to mini-batch: which hidden units are dead, and batch top-k's threshold."""

from __future__ import annotations

from typing import NamedTuple, Self, final

import numpy as np
from numpy.typing import NDArray

from sparsae.model.settings import ModelSettings

RATE = 0.01  # of the running mean of the smallest pre-activation that batch top-k keeps
MOST_ROWS = 10_000_000  # a unit that is silent for so many rows is dead by default, or for a tenth of the fit's


@final
class UnitState(NamedTuple):
    """State of the hidden units between two mini-batches.

    Attributes
    ----------
    silent : ndarray (p,) of int64
        Rows since each unit was last active.
    threshold : float
        Running mean, started at 0, of the smallest pre-activation that is kept.
    updates : int
        How often it was updated.
    """

    silent: NDArray[np.int64]
    threshold: float
    updates: int

    @classmethod
    def start(cls, n_hidden: int) -> Self:
        """Return the state before the first mini-batch."""
        return cls(np.zeros(n_hidden, np.int64), 0.0, 0)

    @property
    def corrected_threshold(self) -> float:
        """The running mean, corrected for its start at 0."""
        return self.threshold / (1 - (1 - RATE) ** self.updates) if self.updates else 0.0

    def after(self, rows: int, fired: NDArray[np.float64] | None, smallest_kept: float) -> Self:
        """Return the state after a mini-batch of so many rows, in which units were active in so many of them.

        None: units that are never silent, of which `silent` has nothing to say.
        """
        silent = self.silent if fired is None else np.where(fired > 0, 0, self.silent + rows)
        return type(self)(silent, self.threshold + RATE * (smallest_kept - self.threshold), self.updates + 1)


def rows_until_dead(settings: ModelSettings, rows_of_fit: int) -> int | None:
    """Return after how many rows without activity a unit is dead; None where no unit is revived."""
    if not settings.aux:
        return None
    return settings.dead_after or max(1, min(MOST_ROWS, rows_of_fit // 10))
