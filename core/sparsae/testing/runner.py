"""Runs the checks and gives verdicts; works without pytest."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

import numpy as np

from sparsae.errors import ParameterError
from sparsae.plugins.contract import Backend
from sparsae.plugins.selection import select
from sparsae.testing import behaviour, correctness, inputs, thread_limits
from sparsae.testing.harness import Subject, Unverified
from sparsae.version import __version__

Outcome = Literal["pass", "fail", "unverified", "declined"]
DTYPES = ("float64", "float32")
CHECKS: dict[str, Callable[[Subject], None]] = {
    function.__name__: function
    for function in (
        behaviour.registration,
        behaviour.light_discovery,
        correctness.reference,
        correctness.small_shapes,
        correctness.gradient,
        correctness.closed_forms,
        correctness.invariants,
        correctness.backprop,
        correctness.one_block,
        inputs.memory_layouts,
        inputs.inputs_untouched,
        inputs.saturated,
        behaviour.same_bits,
        behaviour.aliasing,
        behaviour.shared_pieces,
        behaviour.two_threads,
        behaviour.workers,
        behaviour.global_state,
        thread_limits.thread_limit,
    )
}
WITHOUT_KERNEL = {"registration", "light_discovery"}


@final
@dataclass(frozen=True)
class Verdict:
    """What one check found.

    Attributes
    ----------
    check, dtype : str
    outcome : {"pass", "fail", "unverified", "declined"}
        "unverified": could not be checked here; "declined": the backend does not support the dtype.
    message : str
        What failed, by how much, on which input; or what was checked.
    reproduce : str
        The command that does it again.
    kernel_calls : int
        How often the kernel was called.
    seconds : float
    """

    check: str
    dtype: str
    outcome: Outcome
    message: str
    reproduce: str
    kernel_calls: int
    seconds: float


@final
@dataclass(frozen=True)
class Report:
    """All verdicts on one backend."""

    backend: str
    distribution: str
    version: str
    verdicts: tuple[Verdict, ...]

    @property
    def passed(self) -> bool:
        """Whether something was checked and nothing failed."""
        outcomes = {verdict.outcome for verdict in self.verdicts}
        return "fail" not in outcomes and "pass" in outcomes

    def to_dict(self) -> dict[str, Any]:
        """Return what JSON can take."""
        return {
            "sparsae": __version__,
            "numpy": np.__version__,
            "backend": self.backend,
            "distribution": self.distribution,
            "version": self.version,
            "passed": self.passed,
            "verdicts": [asdict(verdict) for verdict in self.verdicts],
        }


def check(
    backend: str | Backend,
    *,
    quick: bool = False,
    only: Iterable[str] = (),
    dtypes: Iterable[str] = DTYPES,
    seen: Callable[[Verdict], object] | None = None,
) -> Report:
    """Run the conformance kit on a backend.

    Parameters
    ----------
    backend : str or Backend
    quick : bool
        Fewer shapes and repetitions: for while you write.
    only : iterable of str
        Names of checks; all when empty.
    dtypes : iterable of str
        float64, float32.
    seen : callable, optional
        Is given each `Verdict` as it comes.

    Raises
    ------
    BackendError
        When the backend cannot be loaded.
    ParameterError
        When there is no such check or dtype.
    """
    chosen, wanted = list(only) or list(CHECKS), list(dtypes)
    for what, names, known in (("check", chosen, tuple(CHECKS)), ("dtype", wanted, DTYPES)):
        for name in names:
            if name not in known:
                raise ParameterError(f"No {what} named {name!r}; there are: {', '.join(known)}.")
    record = select(backend).record
    verdicts = []
    for name in chosen:
        for dtype in wanted:
            verdicts.append(run_one(backend, name, dtype, quick=quick))
            if seen is not None:
                seen(verdicts[-1])
    return Report(record.name, record.distribution, record.version, tuple(verdicts))


def run_one(backend: str | Backend, name: str, dtype: str, *, quick: bool = False) -> Verdict:
    """Run one check in one dtype; whatever it raises is a verdict."""
    found = select(backend).backend
    subject = Subject(found, np.dtype(dtype), quick=quick, registered=isinstance(backend, str))
    reproduce = f"sparsae check {found.name} --only {name} --dtype {dtype}" + " --quick" * quick
    if not subject.registered:
        reproduce = f"sparsae.testing.check(backend, only=[{name!r}], dtypes=[{dtype!r}], quick={quick})"
    outcome: Outcome = "pass"
    function, begun = CHECKS[name], time.perf_counter()
    message = (function.__doc__ or name).strip().partition("\n")[0]
    if dtype not in found.dtypes:
        outcome, message = "declined", f"it supports {', '.join(found.dtypes)}"
    else:
        try:
            function(subject)
            if name not in WITHOUT_KERNEL and not subject.calls["accumulate"] + subject.calls["backprop"]:
                subject.fail("the check never called the kernel")
        except Unverified as why:
            outcome, message = "unverified", str(why)
        except AssertionError as error:
            outcome, message = "fail", f"{error}. Input: {subject.label}"
        except Exception as error:  # noqa: BLE001 (whatever a kernel raises is a verdict)
            outcome, message = "fail", f"{_describe(error)}. Input: {subject.label}"
    calls = sum(subject.calls.values())
    return Verdict(name, dtype, outcome, message, reproduce, calls, time.perf_counter() - begun)


def _describe(error: BaseException) -> str:
    """Return kind, message and the place in which it was raised."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    frames = traceback.extract_tb(root.__traceback__)
    place = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"{type(root).__name__}: {root}{place}"
