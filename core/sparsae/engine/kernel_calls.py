"""Calls into a backend's code: whatever it raises, except KeyboardInterrupt, becomes a `BackendError`.

A kernel may raise anything, SystemExit and GeneratorExit included: passed on, those would end the program without a
word.  Every call of a kernel goes through `call_kernel`, or is converted with `backend_error`.
"""

from __future__ import annotations

from typing import Any

from sparsae._text import printable
from sparsae.errors import BackendBrokenError, BackendError, SparsaeError
from sparsae.plugins.contract import Backend, Kernel, Problem


def backend_error(
    error: BaseException, message: str, *, kind: type[BackendError] = BackendError, advice: str = ""
) -> BaseException:
    """Return what to raise for an exception that came out of a kernel.

    A KeyboardInterrupt and a `SparsaeError` stay as they are; anything else becomes one of `kind` with the message,
    the type and the text of the cause, which is chained.
    """
    if isinstance(error, (KeyboardInterrupt, SparsaeError)):
        return error
    converted = kind(f"{message}: {type(error).__name__}: {printable(error)}{advice}")
    converted.__cause__ = error
    return converted


def call_kernel(backend: str, kernel: Kernel, method: str, *arguments: object) -> Any:
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


def build_kernel(backend: Backend, problem: Problem) -> Kernel:
    """Make one kernel.

    Raises
    ------
    BackendBrokenError
        When that raises, a library that cannot be imported included, or gives no `Kernel`; the cause is chained.
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
    return kernel
