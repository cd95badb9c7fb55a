"""The backend contract, version 1: `Backend`, `Problem`, `SimpleKernel`, `Kernel`, `Sums`.

A backend author writes one kernel class and registers one `Backend`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar, final

from sparsae._text import suggest
from sparsae._types import THREADINGS, Threading
from sparsae.errors import ParameterError, UnknownOptionError
from sparsae.plugins.adam import AdamStep as AdamStep
from sparsae.plugins.kernel import AnyKernel as AnyKernel
from sparsae.plugins.kernel import Kernel as Kernel
from sparsae.plugins.kernel import SimpleKernel as SimpleKernel
from sparsae.plugins.kernel import check_kernel_class
from sparsae.plugins.kernel_checks import check_arguments
from sparsae.plugins.problem import Problem as Problem
from sparsae.plugins.sums import Sums as Sums

CONTRACT = 1
OLDEST_CONTRACT = 1


T = TypeVar("T")
_EXAMPLES = {"activations": ("relu",), "outputs": ("linear",), "dtypes": ("float64",), "requires": ("numexpr",)}


def _refusing_unknown_keywords(cls: type[T]) -> type[T]:
    """Let the constructor of a dataclass name the nearest keyword where it is given one that it does not have."""
    construct: Any = cls.__init__
    known = list(inspect.signature(construct).parameters)[1:]

    @wraps(construct)
    def checked(self: T, *arguments: Any, **options: Any) -> None:
        for name in options.keys() - set(known):
            raise UnknownOptionError(
                f"{cls.__name__}() has no keyword {name!r}{suggest(name, known)} It takes {', '.join(known)}."
            )
        construct(self, *arguments, **options)

    setattr(cls, "__init__", checked)  # noqa: B010  mypy knows no assignment to it
    return cls


@final
@_refusing_unknown_keywords
@dataclass(frozen=True)
class Backend:
    """One backend: what a plugin's hook returns.

    Attributes
    ----------
    name : str
        An identifier; the same as the entry-point name.
    kernel : callable
        ``kernel(problem)`` returns a `Kernel`; usually the class.
    summary : str
        One line for ``sparsae backends``.
    contract : int
        The version of the contract that it was written for.
    threading : {"workers", "blas", "own", "none"}
        How a thread budget of T is spent.
        "workers": T worker threads over row segments, one kernel instance each, BLAS held at one thread;
        the same bits at any T.
        "blas": one instance, the largest block that memory allows, the BLAS pool gets T.
        "own": like "blas", with the backend's own pool through `limit_threads`.
        "none": one thread, whatever T.
    limit_threads : callable or None
        ``limit_threads(n)`` returns a context manager that holds a pool of the backend's own at n threads;
        only for "own".
    activations, outputs, dtypes : tuples of str
        What the kernel can do; the core declines the rest with a reason.
    block_rows : callable or None
        ``block_rows(problem)`` returns the number of rows of a block, given a problem with all rows in one;
        None: chosen by cache size.
    requires : tuple of str
        Importable names of the libraries that the kernel needs; where one is missing the backend is "not installed".
    install : str
        The command that installs them, for the message.

    Raises
    ------
    ParameterError
        When an argument cannot be used; names the field.
    UnknownOptionError
        When it has no such field; names the nearest.
    BackendBrokenError
        When `kernel` is a class that lacks methods; see `Kernel`.
    """

    name: str
    kernel: Callable[[Problem], AnyKernel]
    summary: str = ""
    contract: int = CONTRACT
    threading: Threading = "none"
    limit_threads: Callable[[int], AbstractContextManager[Any]] | None = None
    activations: tuple[str, ...] = ("sigmoid",)
    outputs: tuple[str, ...] = ("sigmoid",)
    dtypes: tuple[str, ...] = ("float32", "float64")
    block_rows: Callable[[Problem], int] | None = None
    requires: tuple[str, ...] = ()
    install: str = ""

    def __post_init__(self) -> None:
        name: object = self.name
        if not (isinstance(name, str) and name.isidentifier()):
            raise ParameterError(f"name must be an identifier such as 'mine'; given {self.name!r}.")
        if not callable(self.kernel):
            raise ParameterError(f"kernel must be callable: kernel(problem) returns a Kernel; given {self.kernel!r}.")
        if self.threading not in THREADINGS:
            raise ParameterError(f"threading must be one of {', '.join(THREADINGS)}; given {self.threading!r}.")
        for field in ("summary", "install"):
            if not isinstance(getattr(self, field), str):
                raise ParameterError(f"{field} must be a str; given {getattr(self, field)!r}.")
        for field in ("limit_threads", "block_rows"):
            if not (getattr(self, field) is None or callable(getattr(self, field))):
                raise ParameterError(f"{field} must be a function or None; given {getattr(self, field)!r}.")
        if self.limit_threads is not None and self.threading != "own":
            raise ParameterError(f"limit_threads goes with threading='own' only; threading is {self.threading!r}.")
        for field in _EXAMPLES:
            words = getattr(self, field)
            if not (isinstance(words, tuple) and all(isinstance(word, str) for word in words)):
                raise ParameterError(f"{field} must be a tuple of str, such as {_EXAMPLES[field]}; given {words!r}.")
        if isinstance(self.kernel, type):
            check_kernel_class(self.kernel)
            check_arguments(self.kernel, Kernel.__init__)

    def declines(self, problem: Problem) -> str | None:
        """Why this backend cannot take the problem, or None when it can."""
        for what, value, able in (
            ("activation", problem.activation, self.activations),
            ("output", problem.output, self.outputs),
            ("dtype", str(problem.dtype), self.dtypes),
        ):
            if value not in able:
                return f"{what} is {value!r} and backend {self.name!r} supports {', '.join(able) or 'none'}"
        return None
