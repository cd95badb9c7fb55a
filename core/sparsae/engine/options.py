"""The options of `sparsae.Objective`, for the functions that pass them on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from numpy.typing import ArrayLike

from sparsae._text import nearest, suggest
from sparsae.engine.storage import Passes
from sparsae.errors import UnknownOptionError
from sparsae.model.settings import ModelOptions
from sparsae.plugins.contract import Backend


class ObjectiveOptions(ModelOptions, total=False):
    """Keyword options of `sparsae.Objective`, which `sparsae.train` and `sparsae.cost_and_gradient` take too.

    Those of `sparsae.ModelOptions`, which say what is trained, and these, which say on what and how.

    Attributes
    ----------
    target : array_like (n_samples, n_visible), optional
        What the output should equal; X itself when left out.
    dtype : float32 or float64, optional
        What the kernel computes in.  When left out: float32 for float32 and float16 data, else float64.
        Sums across blocks are float64.
    backend : str or Backend, optional
        Name of the backend; else `use_backend`, ``SPARSAE_BACKEND``, the default.
    threads : int, optional
        Thread budget; else `use_backend`, ``SPARSAE_THREADS``, the CPU budget.
    block_rows : int, optional
        Rows in a block; chosen by the backend, cache size or memory when left out.
    passes : {"auto", 1, 2}
        Passes over the data in an evaluation.
        "auto", the default: one where the penalty needs no mean activation; else two while activations fit the
        memory share.
    temporary_copy : bool
        Whether larger data that has to be decoded (Parquet, Zarr, compressed HDF5) is decoded once, into a temporary
        file without a name, and read from there; else in each evaluation.  Mini-batches need it.
        True when left out.
    cluster : distributed.Client, str or Connection, optional
        Where evaluations run; when left out, the cluster of X where that is of Dask and has one, else this process.
    """

    target: ArrayLike | None
    dtype: Any
    backend: str | Backend | None
    threads: int | None
    block_rows: int | None
    passes: Passes
    temporary_copy: bool
    cluster: Any


def check_option_names(
    function: Callable[..., object], options: Iterable[str], elsewhere: Callable[[], Mapping[str, str]] = dict
) -> None:
    """Refuse keywords that are neither options of `Objective` nor the function's own.

    Parameters
    ----------
    function : callable
        Its keywords are suggested too.
    options : iterable of str
        The keywords that it was given beside them.
    elsewhere : callable, optional
        Gives the options that are given in another way, and how; called when a keyword is refused.

    Raises
    ------
    UnknownOptionError
        A TypeError; names the nearest keyword.
    """
    for name in options:
        if name not in ObjectiveOptions.__annotations__:
            own = inspect.signature(function).parameters.values()
            keywords = [parameter.name for parameter in own if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
            known = sorted({*ObjectiveOptions.__annotations__, *keywords})
            hint = suggest(name, known)
            ways = elsewhere()
            meant = nearest(name, [*known, *ways])
            if meant is not None and meant in ways:
                hint = f"; write {ways[meant]}."
            raise UnknownOptionError(
                f"{function.__name__}() has no keyword {name!r}{hint} It takes {', '.join(known)}."
            )
