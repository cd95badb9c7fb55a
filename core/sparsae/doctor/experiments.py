"""What a better setting would gain: the same work in child processes that differ in one variable, taking turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, final

from sparsae.bench.probe import Probe, Sample, one_thread
from sparsae.bench.race import choose_cpus
from sparsae.bench.rounds import BATCH_SECONDS, Ratio, Timed, paired_ratio, take_turns
from sparsae.errors import ProbeError

ROUNDS = 15
SURE = 0.8
_TASKS = "sparsae.doctor.tasks"
_SIZES = {"64/25": (500, 64, 25), "784/196": (512, 784, 196)}  # rows of a block, visible, hidden units


@final
@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A change of variables that might help.

    Attributes
    ----------
    key : str
        The finding that asks.
    change : mapping of str to str or None
        The variables as they should be; None: not set.
    work : {"products", "elementwise", "objective", "pool"}
        What is timed: products of the model's shapes on one thread, element-wise functions on one thread,
        a whole evaluation as `sparsae.Objective` does it with the threads it is given, or one large product
        with the BLAS pool as it is.
    """

    key: str
    change: Mapping[str, str | None]
    work: str


@final
@dataclass(frozen=True, kw_only=True)
class Gain:
    """What an experiment found.

    Attributes
    ----------
    ratios : mapping of str to Ratio
        For each size: how many times as fast it is with the change.
    architectures : tuple of str
        Kernel architectures of the BLAS pools with the change.
    failed : str
        Why there are no ratios.
    """

    ratios: Mapping[str, Ratio]
    architectures: tuple[str, ...] = ()
    failed: str = ""

    @property
    def best(self) -> float | None:
        """The largest gain that is above noise, at least 1; None where nothing was measured.

        Above noise: faster in four rounds of five, which chance does in two of a hundred with fifteen rounds.
        """
        if not self.ratios:
            return None
        return max((r.median for r in self.ratios.values() if r.wins >= SURE * r.rounds), default=1.0)

    def __str__(self) -> str:
        if self.failed:
            return f"could not be measured: {self.failed}"
        parts = [f"{r.median:.2f} [{r.low:.2f}, {r.high:.2f}] at {size}" for size, r in self.ratios.items()]
        busy = "" if all(r.clean for r in self.ratios.values()) else " (on a busy machine: most rounds were disturbed)"
        return f"measured: times as fast, with the 10th to 90th percentile: {', '.join(parts)}{busy}"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can take."""
        values = asdict(self)
        values["ratios"] = {size: ratio._asdict() for size, ratio in self.ratios.items()}
        return values


class _Arm(NamedTuple):
    """One child process: its experiment ("" is the setting as it is), work and size."""

    key: str
    work: str
    size: str


def run_experiments(
    experiments: tuple[Experiment, ...],
    *,
    cpus: list[int],
    rounds: int = ROUNDS,
    seed: int = 0,
    batch_seconds: float = BATCH_SECONDS,
    progress: Callable[[float], None] = lambda share: None,
) -> dict[str, Gain]:
    """Time every experiment against the setting as it is, all in turns, and return the gains by key.

    Parameters
    ----------
    experiments : tuple of Experiment
    cpus : list of int
        The CPUs that we may use; what runs on one thread is pinned to one of them.
    rounds, seed : int
    batch_seconds : float
        How long a turn is; under a quota it must span several of its periods of 0.1 s.
    progress : callable
        Called with the share that is done.
    """
    changes: dict[str, Mapping[str, str | None]] = {"": {}} | {e.key: e.change for e in experiments}
    arms = [_Arm(e.key, e.work, size) for e in experiments for size in _SIZES]
    arms += dict.fromkeys(_Arm("", arm.work, arm.size) for arm in arms)
    architectures: dict[str, tuple[str, ...]] = {}
    dropped: dict[str, str] = {}
    samples: dict[str, list[Sample]] = {}
    with ExitStack() as running:
        started = {_name(arm): running.enter_context(_start(arm, changes[arm.key], cpus)) for arm in arms}
        probes: dict[str, Timed] = {}
        for arm in arms:
            probe = started[_name(arm)]
            try:
                pools = probe.ready()["pools"]
                if not probe.error() <= 1:
                    raise ProbeError(f"{probe.name}: wrong result")
            except ProbeError as error:
                dropped[_name(arm)] = str(error)
                continue
            architectures[arm.key] = tuple(p["architecture"] for p in pools if p.get("architecture"))
            probes[_name(arm)] = probe
        turns = take_turns(probes, rounds=rounds, seed=seed, batch_seconds=batch_seconds, dropped=dropped)
        for done, turn in enumerate(turns, start=1):
            for name, value in turn.items():
                samples.setdefault(name, []).append(value)
            progress(done / rounds)
    return {e.key: _gain(e, samples, dropped, architectures.get(e.key, ())) for e in experiments}


def _gain(
    experiment: Experiment,
    samples: Mapping[str, list[Sample]],
    dropped: Mapping[str, str],
    architectures: tuple[str, ...],
) -> Gain:
    """Ratios of one experiment to the setting as it is."""
    ratios = {}
    for size in _SIZES:
        now, then = (_name(_Arm(key, experiment.work, size)) for key in ("", experiment.key))
        for name in (now, then):
            if name in dropped:
                return Gain(ratios={}, failed=dropped[name])
        ratios[size] = paired_ratio(samples[now], samples[then])
    return Gain(ratios=ratios, architectures=architectures)


def _start(arm: _Arm, change: Mapping[str, str | None], cpus: list[int]) -> Probe:
    """Start the child of an arm."""
    rows, n, p = _SIZES[arm.size]
    single = arm.work in ("products", "elementwise")
    environment = (one_thread() if single else {}) | dict(change)
    settings = {"rows": rows, "n_visible": n, "n_hidden": p}
    pinned = choose_cpus(1) if single else cpus
    return Probe(f"{_TASKS}:{arm.work}", settings, environment=environment, cpus=pinned, name=_name(arm), watch=single)


def _name(arm: _Arm) -> str:
    return f"{arm.work} at {arm.size}, {arm.key or 'as it is'}"
