"""What the hidden units do at a point: what the learning curve is told beside the cost."""

from __future__ import annotations

from typing import NamedTuple, final

import numpy as np
from numpy.typing import NDArray


@final
class UnitActivity(NamedTuple):
    """Activity of the hidden units over the rows that a cost is of.

    Attributes
    ----------
    mean : ndarray (n_hidden,)
        Mean activations; the running mean for sigmoid units in mini-batches.
    density : ndarray (n_hidden,)
        Share of the rows in which each unit is active; zeros for sigmoid units, which always are.
    """

    mean: NDArray[np.float64]
    density: NDArray[np.float64]
