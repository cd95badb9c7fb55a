"""The options of `sparsae.Objective`, for the functions that pass them on."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypedDict

from numpy.typing import ArrayLike

from sparsae._text import suggest
from sparsae._types import Activation, Output
from sparsae.engine.storage import Passes
from sparsae.errors import UnknownOptionError
from sparsae.plugins.contract import Backend


class ObjectiveOptions(TypedDict, total=False):
    """Keyword options of `sparsae.Objective`, which `sparsae.train` and `sparsae.cost_and_gradient` take too.

    Attributes
    ----------
    target : array_like (n_samples, n_visible), optional
        What the output should equal; X itself when left out.
    activation : {"sigmoid", "relu", "topk", "batchtopk", "jumprelu"}
        Hidden unit.  Default "sigmoid".
    k : int, optional
        Number of activations kept in a row; required for topk and batchtopk.
    rho : float
        Sparsity target of sigmoid units, in (0, 1).  Default 0.01.
    beta : float
        Weight of the sparsity term of sigmoid units, at least 0.  Default 3.
    l1 : float
        Weight of the mean absolute activation of relu units, at least 0.  Default 0.
    l1_weighted : bool
        Whether each activation is weighted by the length of its unit's column of W2.  Default True.
    l0 : float
        Weight of the number of active jumprelu units in a row, at least 0.  Default 0.
    bandwidth : float, optional
        Width of the rectangle in which the gradient of a jumprelu threshold is estimated.
    weight_decay : float
        Weight of the weight decay, at least 0.  Default 1e-4.
    pre_bias : bool
        Whether b2 is subtracted from the input.  Default False.
    output : {"sigmoid", "linear"}
        Output unit; a sigmoid needs targets in [0, 1].  Default "sigmoid".
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
        "auto", the default: two while activations fit the memory share, else one.
    """

    target: ArrayLike | None
    activation: Activation
    k: int | None
    rho: float
    beta: float
    l1: float
    l1_weighted: bool
    l0: float
    bandwidth: float | None
    weight_decay: float
    pre_bias: bool
    output: Output
    dtype: Any
    backend: str | Backend | None
    threads: int | None
    block_rows: int | None
    passes: Passes


def check_option_names(function: Callable[..., object], options: Iterable[str]) -> None:
    """Refuse keywords that are neither options of `Objective` nor the function's own.

    Parameters
    ----------
    function : callable
        Its keywords are suggested too.
    options : iterable of str
        The keywords that it was given beside them.

    Raises
    ------
    UnknownOptionError
        A TypeError; names the nearest keyword.
    """
    for name in options:
        if name not in ObjectiveOptions.__annotations__:
            own = inspect.signature(function).parameters.values()
            keywords = [parameter.name for parameter in own if parameter.kind is inspect.Parameter.KEYWORD_ONLY]
            known = sorted([*ObjectiveOptions.__annotations__, *keywords])
            raise UnknownOptionError(
                f"{function.__name__}() has no keyword {name!r}{suggest(name, known)} It takes {', '.join(known)}."
            )
