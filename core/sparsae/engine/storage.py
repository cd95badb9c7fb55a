"""Whether data is kept in memory for a fit: decided by its size alone, whatever container it comes in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np

from sparsae._text import plural
from sparsae.engine.sources import DataSource
from sparsae.errors import ParameterError
from sparsae.machine.resources import gibibytes, memory_limit

Passes = Literal["auto", 1, 2]
SHARE = 4  # prepared copies and kept activations may take one part in this many of the memory limit
MODEL_COPIES = 6  # parameters in both dtypes, gradient, and the sums of three segments, at least


@final
@dataclass(frozen=True)
class Storage:
    """Whether blocks are kept for the whole fit, and how often an evaluation reads them."""

    kept: bool
    passes: int


def choose_storage(
    sources: Sequence[DataSource],
    n_hidden: int,
    dtype: np.dtype[Any],
    passes: object,
    *,
    two_passes: bool = True,
    share: int | None = None,
) -> Storage:
    """Keep blocks where they and their activations fit the memory share; then two passes, else one, unless asked.

    Where the sparsity vector is known before the data is read (`two_passes` is False), one pass unless asked.

    Raises
    ------
    ParameterError
        When `passes` is not "auto", 1 or 2.
    """
    if passes not in ("auto", 1, 2) or isinstance(passes, bool):
        raise ParameterError(f'passes must be "auto", 1 or 2; given {passes!r}.')
    m = sources[0].shape[0]
    two_passes = two_passes or passes == 2
    columns = sum(source.shape[1] for source in sources) + (n_hidden if two_passes else 0)
    kept = m * columns * dtype.itemsize <= (memory_limit() // SHARE if share is None else share)
    if passes == "auto":
        return Storage(kept, 2 if kept and two_passes else 1)
    return Storage(kept, 2 if passes == 2 else 1)


def check_model_memory(n_visible: int, n_hidden: int) -> None:
    """Raise `ParameterError` when a model of that size cannot fit into memory; allocates nothing.

    Says what is needed, what is available, and the largest `n_hidden` that fits.
    """
    per_hidden = 8 * MODEL_COPIES * (2 * n_visible + 1)
    needed, available = per_hidden * n_hidden, memory_limit()
    if needed > available:
        largest = available // per_hidden
        what = f"the largest that fits is n_hidden={largest}" if largest else "no n_hidden fits"
        raise ParameterError(
            f"n_hidden={n_hidden} with {plural(n_visible, 'input')} needs at least {gibibytes(needed)} for parameters, "
            f"gradient and sums; this process may use {gibibytes(available)}, and {what}."
        )
