"""Runs the checks in a child process and gives verdicts; works without pytest."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterable
from itertools import product
from types import TracebackType
from typing import Any, Self, final

import sparsae.errors
from sparsae._text import printable
from sparsae._types import ACTIVATIONS
from sparsae.errors import BackendBrokenError, BackendError, ParameterError, SparsaeWarning
from sparsae.model.checks import as_number
from sparsae.plugins.contract import Backend
from sparsae.testing.checks import CHECKS, DTYPES, WHOLE_BACKEND
from sparsae.testing.harness import TIME_LIMIT
from sparsae.testing.process import START_LIMIT, Answer, Child, ChildProcess, InProcess, can_fork, shown
from sparsae.testing.verdicts import Outcome, Report, Verdict

MOST_HANGS = 3  # checks that exceed the time limit before the rest is not run


@final
class CheckSession:
    """Runs checks on one backend, in a child process that is replaced when a check ends it.

    Parameters
    ----------
    backend : str or Backend
    activations : iterable of str
    quick : bool
    time_limit : float
        As in `check`.

    Attributes
    ----------
    facts : dict
        backend, distribution, version.
    """

    def __init__(
        self,
        backend: str | Backend,
        *,
        activations: Iterable[str] = ACTIVATIONS,
        quick: bool = False,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        if not isinstance(backend, (str, Backend)):
            raise ParameterError(f"backend must be the name of a backend or a sparsae.Backend; given {backend!r}.")
        if not as_number("time_limit", time_limit) > 0:
            raise ParameterError(f"time_limit must be a positive number of seconds; given {time_limit!r}.")
        self.activations = tuple(activations)
        for activation in self.activations:
            _known("hidden unit", activation, ACTIVATIONS)
        self._backend, self._quick, self._time_limit = backend, quick, float(time_limit)
        self._child: Child | None = None
        self._fresh = False
        self._hangs = 0
        self.facts = {
            "backend": backend if isinstance(backend, str) else backend.name,
            "distribution": "",
            "version": "",
        }

    def __enter__(self) -> Self:
        """Return the session."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child process."""
        self.close()

    def close(self) -> None:
        """End the child process; the session may go on, with another one."""
        child, self._child = self._child, None
        if child is not None:
            child.close()

    def start(self) -> None:
        """Start a child process that has loaded the backend.

        Raises
        ------
        BackendError
            When the backend cannot be loaded.
        """
        self.close()
        self._child, self._fresh = self._make_child(), True
        answer = self._child.start(max(START_LIMIT, self._time_limit))
        if answer.reply is None:
            self.close()
            raise BackendBrokenError(
                f"Backend {self.facts['backend']!r} cannot be loaded: {answer.ended} when it was imported."
                + (f" It printed: {shown(answer.output)}" if answer.output else "")
            )
        if "error" in answer.reply:
            self.close()
            raise _error_of(**answer.reply)
        self.facts |= answer.reply["loaded"]
        self._printed = answer.output

    def _make_child(self) -> Child:
        options: dict[str, Any] = {"quick": self._quick, "time_limit": self._time_limit}
        options["activations"] = self.activations
        if isinstance(self._backend, str):
            return ChildProcess(self._backend, **options)
        if can_fork():
            return ChildProcess(self._backend, **options)
        warnings.warn(
            f"Backend {self._backend.name!r} is given as an object, and this process cannot fork: its checks run in "
            f"this process, which a crash ends and which no time limit watches. Give the name of an installed backend.",
            SparsaeWarning,
            stacklevel=4,
        )
        return InProcess(self._backend, **options)

    def units_of(self, name: str) -> tuple[str, ...]:
        """Return the hidden units that a check is made for one by one; an empty name for the whole backend."""
        return ("",) if name in WHOLE_BACKEND else self.activations

    def run(self, name: str, dtype: str, activation: str = "") -> Verdict:
        """Run one check in one dtype; whatever the kernel does is a verdict.

        Parameters
        ----------
        name, dtype : str
        activation : str
            The hidden unit; not looked at in a check of the whole backend, and the first one when left out.

        Raises
        ------
        BackendError
            When the backend cannot be loaded.
        ParameterError
            When there is no such check, dtype or hidden unit.
        """
        _known("check", name, tuple(CHECKS))
        _known("dtype", dtype, DTYPES)
        activation = "" if name in WHOLE_BACKEND else activation or self.activations[0]
        if activation:
            _known("hidden unit", activation, ACTIVATIONS)
        begun = time.perf_counter()
        if self._hangs >= MOST_HANGS:
            outcome: Outcome = "unverified"
            message, calls = f"not run: {MOST_HANGS} checks before it exceeded the time limit", 0
        else:
            outcome, message, calls = self._outcome(name, dtype, activation)
        return Verdict(
            check=name,
            dtype=dtype,
            activation=activation,
            outcome=outcome,
            message=printable(message),
            reproduce=self._reproduce(name, dtype, activation),
            kernel_calls=calls,
            seconds=time.perf_counter() - begun,
        )

    def _outcome(self, name: str, dtype: str, activation: str) -> tuple[Outcome, str, int]:
        if self._child is None or (name == "global_state" and not self._fresh):
            self.start()
        assert self._child is not None
        request = {"name": name, "dtype": dtype, "activation": activation or None}
        limit = self._time_limit * (1 if activation else len(self.activations))  # the whole backend: each unit in turn
        answer, self._fresh = self._child.ask(request, limit), False
        self._hangs += answer.hung
        printed, self._printed = self._printed + answer.output, ""
        outcome, message, calls = _read(name, answer)
        if name == "clean_exit" and outcome == "pass":
            answer = self._child.finish(self._time_limit)
            printed += answer.output
            if answer.ended:
                outcome, message = "fail", answer.ended
        if answer.reply is None or name == "clean_exit":
            self.close()
        if printed and outcome == "pass":
            return "fail", f"it printed: {shown(printed)}. A kernel prints nothing", calls
        if printed and outcome == "fail":
            message = f"{message}. It printed: {shown(printed)}"
        return outcome, message, calls

    def _reproduce(self, name: str, dtype: str, activation: str) -> str:
        if isinstance(self._backend, str):
            unit = f" --activation {activation}" if activation else ""
            words = f"sparsae check {self.facts['backend']} --only {name} --dtype {dtype}{unit}"
            return words + " --quick" * self._quick
        unit = f" activations=[{activation!r}]," if activation else ""
        return f"sparsae.testing.check(backend, only=[{name!r}], dtypes=[{dtype!r}],{unit} quick={self._quick})"


def check(
    backend: str | Backend,
    *,
    quick: bool = False,
    only: Iterable[str] = (),
    dtypes: Iterable[str] = DTYPES,
    activations: Iterable[str] = ACTIVATIONS,
    time_limit: float = TIME_LIMIT,
    seen: Callable[[Verdict], object] | None = None,
) -> Report:
    """Run the conformance kit on a backend, in a child process.

    A kernel that ends its process, crashes, hangs or prints fails the check at hand; the others go on in another child.
    The name of an installed backend is loaded in a fresh interpreter; a `Backend` object is checked in a fork of this
    process (where it cannot fork, in this process, with a warning).

    Parameters
    ----------
    backend : str or Backend
    quick : bool
        Fewer shapes and repetitions: for while you write.
    only : iterable of str
        Names of checks; all when empty.
    dtypes : iterable of str
        float64, float32.
    activations : iterable of str
        Hidden units: sigmoid, relu, topk, batchtopk, jumprelu.  Those that the backend does not declare are declined.
    time_limit : float
        Seconds for each check; one that takes longer fails.
    seen : callable, optional
        Is given each `Verdict` as it comes.

    Raises
    ------
    BackendError
        When the backend cannot be loaded.
    ParameterError
        When there is no such check, dtype or hidden unit, or the time limit is not positive.
    """
    chosen, wanted = list(only) or list(CHECKS), list(dtypes)
    for what, names, known in (("check", chosen, tuple(CHECKS)), ("dtype", wanted, DTYPES)):
        for name in names:
            _known(what, name, known)
    verdicts = []
    with CheckSession(backend, activations=activations, quick=quick, time_limit=time_limit) as session:
        for name in chosen:
            for dtype, activation in product(wanted, session.units_of(name)):
                verdicts.append(session.run(name, dtype, activation))
                if seen is not None:
                    seen(verdicts[-1])
    return Report(verdicts=tuple(verdicts), unit_checks=len(set(CHECKS) - WHOLE_BACKEND), **session.facts)


def _known(what: str, name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        raise ParameterError(f"No {what} named {name!r}; there are: {', '.join(known)}.")


def _read(name: str, answer: Answer) -> tuple[Outcome, str, int]:
    """Return outcome, message and kernel calls of an answer."""
    if answer.reply is None:
        return "fail", f"{answer.ended} during the check {name}", 0
    return answer.reply["outcome"], answer.reply["message"], answer.reply["kernel_calls"]


def _error_of(error: str, message: str) -> BackendError:
    """Make the error again that the child reported."""
    kind = getattr(sparsae.errors, error, BackendError)
    made: BackendError = kind(message)
    return made
