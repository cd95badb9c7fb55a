"""Calls into a backend's code: whatever it raises, except KeyboardInterrupt, becomes a `BackendError`.

A kernel may raise anything, SystemExit and GeneratorExit included: passed on, those would end the program without a
word.  Kernels are made by `make_kernel`; every call of one goes through `call_kernel`, or is converted with
`backend_error`.
"""

from __future__ import annotations

import sys
import traceback
from typing import Any

import numpy as np

from sparsae._text import printable
from sparsae.errors import BackendBrokenError, BackendError, SparsaeError
from sparsae.plugins.contract import AnyKernel, Backend, Kernel, Problem

# Frames of these packages are never the author's.
OTHER_PACKAGES = sys.stdlib_module_names - {"__main__"} | {"sparsae", "numpy", "threadpoolctl"}


def backend_error(
    error: BaseException, message: str, *, kind: type[BackendError] = BackendError, advice: str = ""
) -> BaseException:
    """Return what to raise for an exception that came out of a kernel.

    A KeyboardInterrupt and a `SparsaeError` stay as they are; anything else becomes one of `kind` with the message,
    the type, the text and the author's line of the cause, which is chained.
    """
    if isinstance(error, (KeyboardInterrupt, SparsaeError)):
        return error
    converted = kind(f"{message}: {describe_exception(error)}{advice}")
    converted.__cause__ = error
    return converted


def silent_products() -> np.errstate:
    """Within the block NumPy does not speak of invalid values.

    Small products of OpenBLAS raise the processor's flag now and then although operands and result are finite (seen in
    float32).  What is not finite is found in the sums.
    """
    return np.errstate(invalid="ignore")


def call_kernel(backend: str, kernel: AnyKernel, method: str, *arguments: object) -> Any:
    """Return what a method of a kernel returns.

    Raises
    ------
    BackendError
        When it raises anything but a KeyboardInterrupt or a `SparsaeError`; names backend and method.
    """
    try:
        return getattr(kernel, method)(*arguments)
    except BaseException as error:  # noqa: BLE001 (see above)
        raised = backend_error(error, f"Backend {backend!r} failed in {method}")
    raise raised


def make_kernel(backend: Backend, problem: Problem) -> AnyKernel:
    """Make one kernel of a backend: the only place where kernels are made.

    Raises
    ------
    BackendBrokenError
        When the constructor raises (a library that cannot be imported included) or returns no `Kernel`.
        The cause is chained.
    """
    try:
        kernel: object = backend.kernel(problem)
    except BaseException as error:  # noqa: BLE001 (see above)
        message = f"Backend {backend.name!r} cannot make a kernel"
        advice = ". Name another backend, such as 'numpy'."
        kernel = backend_error(error, message, kind=BackendBrokenError, advice=advice)
    if isinstance(kernel, BaseException):
        raise kernel
    if not isinstance(kernel, Kernel):
        raise BackendBrokenError(
            f"Backend {backend.name!r} made a {type(kernel).__name__} where a sparsae.Kernel is needed."
        )
    if not hasattr(kernel, "problem"):
        raise BackendBrokenError(
            f"Backend {backend.name!r} made a kernel without a problem: its __init__ must call "
            f"super().__init__(problem)."
        )
    return kernel


def describe_exception(error: BaseException) -> str:
    """Kind, text and place of an exception, in one line: "ValueError: no such axis (mine.py, line 12)"."""
    try:
        text = printable(error).removesuffix(".")
    except Exception:  # noqa: BLE001 (a kernel's exception may be anything, also one that has no text)
        text = "its text cannot be had"
    frame = author_frame(error)
    place = f" ({frame.filename}, line {frame.lineno})" if frame is not None else ""
    return f"{type(error).__name__}: {text}{place}"


def author_frame(error: BaseException) -> traceback.FrameSummary | None:
    """Return the last frame in the plugin author's package on the way to an exception; None where there is none.

    The author's package is that of the first frame which belongs neither to sparsae nor to NumPy nor to Python:
    the kernel's method.  Deeper frames, such as NumPy's, say what failed but not where the mistake is.
    """
    found = None
    package = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        top = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if not package and top not in OTHER_PACKAGES:
            package = top
        if package and top == package:
            code = frame.f_code
            found = traceback.FrameSummary(code.co_filename, line, code.co_name, lookup_line=False)
    return found
