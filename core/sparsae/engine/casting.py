"""Parameters in the dtype that kernels compute in."""

from __future__ import annotations

from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array, RunTasks
from sparsae.cost import PIECE
from sparsae.model import Parameters


@final
class ParameterCast:
    """Casts flat parameters, piece by piece on all threads, into memory that is used again.

    New memory for each cast would take longer than the cast.

    Parameters
    ----------
    n_visible, n_hidden : int
    dtype : float32 or float64
    again : bool
        Whether memory is used again: not where parameters are sent, since a task may hold them longer.
    """

    def __init__(self, n_visible: int, n_hidden: int, dtype: np.dtype[Any], *, again: bool) -> None:
        self._sizes, self._dtype, self._again = (n_visible, n_hidden), dtype, again
        self._room: Array = np.empty(0, dtype)
        self._views: Parameters | None = None  # of the room

    def __call__(self, flat: NDArray[np.float64], run_tasks: RunTasks) -> Parameters:
        """Return the parameters; where memory is used again, they are valid until the next call."""
        if self._views is None or self._room.size != flat.size or not self._again:
            self._room = np.empty(flat.size, self._dtype)
            self._views = Parameters.from_flat(self._room, *self._sizes)
        room = self._room
        if flat.size <= PIECE:
            room[:] = flat
            return self._views

        def work(index: int) -> None:
            piece = slice(index * PIECE, (index + 1) * PIECE)
            room[piece] = flat[piece]

        run_tasks(work, -(-flat.size // PIECE))
        return self._views
