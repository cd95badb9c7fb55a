"""Checks of what a backend author wrote: arguments of methods, and what `backprop` returns."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from sparsae.errors import BackendBrokenError, BackendWrongError
from sparsae.model import Parameters

if TYPE_CHECKING:
    from sparsae.plugins.kernel import AnyKernel


def check_arguments(kernel: type, contract: Callable[..., Any]) -> None:
    """Refuse a class whose method of that name cannot be called with the arguments that the contract's takes.

    Raises
    ------
    BackendBrokenError
        With the arguments that the method takes, those that the contract gives it, and its place.
    """
    name, expected = contract.__name__, inspect.signature(contract).parameters  # self is the first
    method = getattr(kernel, name)
    if not inspect.isfunction(method):  # compiled, or a descriptor of the author's own
        return
    signature = inspect.signature(method)
    try:
        signature.bind(*expected)
    except TypeError:
        raise BackendBrokenError(
            f"{kernel.__name__}.{name}({', '.join(signature.parameters)}) cannot be called as "
            f"{name}({', '.join(expected)}){_place(method)}."
        ) from None


def check_gradient_sums(kernel: AnyKernel, sums: object) -> Parameters:
    """Return what `backprop` returned, if it is four arrays of the right shapes.

    Raises
    ------
    BackendWrongError
        Says what was returned and what is expected.
    """
    n, p = kernel.problem.n_visible, kernel.problem.n_hidden
    shapes = ((p, n), (p,), (n, p), (n,))
    if isinstance(sums, tuple) and tuple([getattr(part, "shape", None) for part in sums]) == shapes:
        return sums if isinstance(sums, Parameters) else Parameters(*sums)
    given = f"a {type(sums).__name__}"
    if isinstance(sums, (tuple, list)):
        given = "arrays of shapes " + ", ".join(str(np.shape(part)) for part in sums)
    raise BackendWrongError(
        f"{type(kernel).__name__}.backprop returned {given}; expected sparsae.Parameters(W1, b1, W2, b2) of shapes "
        f"{', '.join(map(str, shapes))} for {n} inputs and {p} hidden units{_place(type(kernel).backprop)}."
    )


def _place(function: Callable[..., Any]) -> str:
    """Return " (file, line 12)" where a function was written; nothing for a compiled one."""
    code = getattr(inspect.unwrap(function), "__code__", None)
    return f" ({code.co_filename}, line {code.co_firstlineno})" if code is not None else ""
