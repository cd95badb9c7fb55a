"""The table of checks, and one check run to its outcome, whatever the kernel raises."""

from __future__ import annotations

import sysconfig
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

import sparsae
from sparsae._types import ACTIVATIONS, Activation
from sparsae.engine.kernel_calls import describe_exception
from sparsae.plugins.contract import Backend
from sparsae.testing import activity, behaviour, closed_forms, correctness, inputs, sums, thread_limits
from sparsae.testing.global_state import global_state, ignored_state
from sparsae.testing.harness import CannotVerify, CheckFailed, Harness, Loading, NotOffered, declared
from sparsae.testing.hints import find_mistake
from sparsae.testing.snapshot import differences, snapshot
from sparsae.testing.verdicts import Outcome

DTYPES = ("float64", "float32")
CHECKS: dict[str, Callable[[Harness], None]] = {
    function.__name__: function
    for function in (
        global_state,  # first: it sees the process as it was before the backend was loaded
        behaviour.registration,
        behaviour.light_discovery,
        correctness.reference,
        correctness.small_shapes,
        correctness.gradient,
        closed_forms.closed_forms,
        correctness.invariants,
        activity.activity,
        correctness.backprop,
        sums.one_block,
        sums.direct_sums,
        inputs.memory_layouts,
        inputs.inputs_untouched,
        inputs.saturated,
        inputs.not_finite,
        behaviour.same_bits,
        behaviour.aliasing,
        behaviour.shared_pieces,
        behaviour.two_threads,
        behaviour.workers,
        thread_limits.thread_limit,
        behaviour.clean_exit,
    )
}
WITHOUT_KERNEL = {"light_discovery"}
WHOLE_BACKEND = {
    "global_state",
    "registration",
    "light_discovery",
    "thread_limit",
    "clean_exit",
}  # one verdict for all units
NUMBERS = (activity, closed_forms, correctness, inputs, sums)  # modules whose checks compare numbers
OWN_FOLDER = str(Path(sparsae.__file__).parent)
LIBRARIES = tuple(sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))


@final
@dataclass(frozen=True)
class CheckResult:
    """Outcome of one check in one dtype, as `Verdict` has it."""

    outcome: Outcome
    message: str
    kernel_calls: int
    seconds: float


@final
class Checker:
    """Runs checks on one backend in this process.

    Parameters
    ----------
    backend : Backend
    activations : sequence of str
        Hidden units that are asked about.
    quick : bool
        Fewer shapes and repetitions.
    time_limit : float
        Seconds for one check, which whoever started this process watches over.
    loading : Loading, optional
        What loading the backend's module did; None where the `Backend` was given as an object.
    isolated : bool
        Whether this process runs nothing but checks: a KeyboardInterrupt is the kernel's then.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        activations: Sequence[Activation] = ACTIVATIONS,
        quick: bool,
        time_limit: float,
        loading: Loading | None = None,
        isolated: bool = True,
    ) -> None:
        self.backend, self.isolated, self._activations = backend, isolated, tuple(activations)
        self._quick, self._time_limit, self._loading = quick, time_limit, loading

    def run(self, name: str, dtype: str, activation: Activation | None = None) -> CheckResult:
        """Run one check in one dtype with one hidden unit, or None: of the whole backend; exceptions are outcomes."""
        if name != "registration" or not self._declines_everything():
            if dtype not in self.backend.dtypes:
                return CheckResult("declined", f"it supports {', '.join(self.backend.dtypes) or 'no dtype'}", 0, 0.0)
            asked = self._activations if activation is None else (activation,)
            if not set(asked) & set(declared(self.backend)):
                return CheckResult("declined", f"it supports {', '.join(self.backend.activations)}", 0, 0.0)
        kit = Harness(
            self.backend,
            np.dtype(dtype),
            activations=self._activations if activation is None else (activation,),
            quick=self._quick,
            time_limit=self._time_limit,
            loading=self._loading,
        )
        before, begun = snapshot(), time.perf_counter()
        outcome, message = self._outcome(name, kit)
        seconds, calls = time.perf_counter() - begun, sum(kit.calls.values())
        changed = differences(before, snapshot(), ignore=ignored_state(self.backend))
        if changed and outcome != "fail":
            outcome, message = "fail", f"{'; '.join(changed)} (after this check). Input: {kit.label}"
        return CheckResult(outcome, message, calls, seconds)

    def _declines_everything(self) -> bool:
        """Whether no dtype or no unit is supported: that fails, or all would be declined and nothing would fail."""
        return not (set(DTYPES) & set(self.backend.dtypes) and declared(self.backend))

    def _outcome(self, name: str, kit: Harness) -> tuple[Outcome, str]:
        function = CHECKS[name]
        try:
            function(kit)
            if name not in WITHOUT_KERNEL and not sum(kit.calls.values()):
                kit.fail("the check never called the kernel")
        except CannotVerify as why:
            return "unverified", str(why)
        except NotOffered as what:
            return "declined", str(what)
        except CheckFailed as error:
            return "fail", f"{error}{self._hint(name, kit)}. Input: {kit.label}"
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt) and not self.isolated:
                raise
            return "fail", f"{describe_root_cause(error)}. Input: {kit.label}"
        return "pass", (function.__doc__ or name).strip().partition("\n")[0]

    def _hint(self, name: str, kit: Harness) -> str:
        """Name the mistake that explains wrong numbers, where it is a known one."""
        if CHECKS[name].__module__ not in {module.__name__ for module in NUMBERS}:
            return ""
        try:
            hint = find_mistake(Harness(kit.original, kit.dtype, activations=(kit.activation,)))
        except BaseException as error:  # the failure itself is reported; this was an addition
            if isinstance(error, KeyboardInterrupt) and not self.isolated:
                raise
            return ""
        return f". It looks as if {hint}" if hint else ""


def describe_root_cause(error: BaseException) -> str:
    """Return kind, message, and the last line of the author's code that ran."""
    root = error
    while root.__cause__ is not None:
        root = root.__cause__
    return describe_exception(root)


def is_author_file(filename: str) -> bool:
    """Whether code is neither sparsae's, nor NumPy's, nor Python's."""
    if filename.startswith((OWN_FOLDER + "/", "<frozen")):
        return False
    if "site-packages" in filename or "dist-packages" in filename:
        return "/numpy/" not in filename and "/scipy/" not in filename
    return not filename.startswith(LIBRARIES)
