"""Replay the question: every way in a pinned process of its own, checked, then timed in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from statistics import median
from typing import Any, NamedTuple

from sparsae.bench.probe import Probe, Sample, one_thread
from sparsae.bench.question.case import SIZE, make_case
from sparsae.bench.question.octave import WAYS, OctaveProbe, find_octave
from sparsae.bench.question.report import QuestionReport, Row
from sparsae.bench.question.variants import VARIANTS
from sparsae.bench.race import choose_cpus
from sparsae.bench.rounds import Timed, paired_ratio, take_turns
from sparsae.errors import ProbeError
from sparsae.machine.threads import cpu_budget
from sparsae.model import check_size
from sparsae.plugins.selection import DEFAULT_BACKEND, list_backends

_HERE = "sparsae.bench.question.tasks"
_OURS = ("fused", "numba", "dot")  # candidates for "our best", with the default backend
_SCRATCH = {"order": "made once", "empty": "np.empty in each call", "zeros": "np.zeros in each call"}
_ORDERS = ("CC", "CF", "FC", "FF")


class _Entry(NamedTuple):
    """One competitor: how to start it."""

    key: str
    label: str
    threads: int
    start: Callable[[], Probe | OctaveProbe]


def run_question(
    *,
    size: tuple[int, int, int] = SIZE,
    rounds: int = 8,
    launches: int = 2,
    seed: int = 0,
    octave: bool = True,
    progress: Callable[[str, float], None] = lambda what, share: None,
) -> QuestionReport:
    """Replay the question on this machine.

    Parameters
    ----------
    size : tuple of int
        Samples, visible units, hidden units; the question's own by default.
    rounds, launches : int
        Each launch starts every process afresh and makes that many rounds of turns.
    seed : int
        Of the numbers and of the order of turns.
    octave : bool
        Whether to run ``question.m`` where Octave is installed.
    progress : callable
        Called with what is being done and which share of the whole is done.

    Returns
    -------
    QuestionReport
        A way whose process fails, or whose result is wrong, is left out and says why.

    Raises
    ------
    ParameterError
        When a size or a count is not a positive integer.
    """
    size = (check_size("n_samples", size[0]), check_size("n_visible", size[1]), check_size("n_hidden", size[2]))
    rounds, launches = check_size("rounds", rounds), check_size("launches", launches)
    record = _Record()
    entries = [*_ways(size, seed), *_octave_entries(size, seed, record.left_out, wanted=octave), *_orders(size, seed)]
    interrupted = False
    try:
        for launch in range(launches):
            for turn in _launch(entries, rounds, seed + launch, record):
                progress(f"launch {launch + 1} of {launches}", (launch + turn / rounds) / launches)
    except KeyboardInterrupt:
        interrupted = True
    scratch = [entry._replace(label=_SCRATCH[entry.key]) for entry in entries if entry.key in _SCRATCH]
    return QuestionReport(
        size=size,
        ways=record.rows([e for e in entries if e.key not in ("empty", "zeros", *_ORDERS)], "asked"),
        scratch=record.rows(scratch, "order"),
        orders=record.rows([e for e in entries if e.key in _ORDERS], "CC"),
        left_out=record.left_out,
        facts=record.facts,
        rounds=rounds,
        launches=launches,
        seed=seed,
        interrupted=interrupted,
    )


class _Record:
    """What was measured so far, by key: samples round by round, errors, and why some are out."""

    def __init__(self) -> None:
        self.turns: list[dict[str, Sample]] = []
        self.errors: dict[str, tuple[float, float]] = {}
        self.left_out: dict[str, str] = {}
        self.facts: dict[str, str] = {}

    def rows(self, entries: list[_Entry], reference: str) -> tuple[Row, ...]:
        """Rows of those entries that were timed; ratios over the rounds that both finished."""
        made = []
        for entry in entries:
            both = [turn for turn in self.turns if entry.key in turn and reference in turn]
            if not both or entry.label in self.left_out:
                continue
            own = [turn[entry.key] for turn in both]
            before, after = self.errors[entry.key]
            made.append(
                Row(
                    key=entry.key,
                    label=entry.label,
                    threads=entry.threads,
                    seconds=median(sample.seconds for sample in own),
                    ratio=paired_ratio([turn[reference] for turn in both], own),
                    error_before=before,
                    error_after=after,
                )
            )
        return tuple(made)


def _launch(entries: list[_Entry], rounds: int, seed: int, record: _Record) -> Iterator[int]:
    """Start every process, check it, take turns, check it again; yield the number of each finished round."""
    labels = {entry.key: entry.label for entry in entries}
    with ExitStack() as running:
        probes: dict[str, Timed] = {}
        before: dict[str, float] = {}
        started = []
        for entry in entries:
            if entry.label not in record.left_out:
                started.append((entry, entry.start()))
                running.callback(started[-1][1].close)
        for entry, probe in started:
            try:
                record.facts |= _libraries(probe.ready())
                before[entry.key] = _checked(probe)
                probes[entry.key] = probe
            except ProbeError as error:
                record.left_out[entry.label] = _reason(error, entry.label)
        dropped: dict[str, str] = {}
        for number, turn in enumerate(take_turns(probes, rounds=rounds, seed=seed, dropped=dropped), start=1):
            record.turns.append(turn)
            for key in turn:
                record.errors.setdefault(key, (before[key], before[key]))
            yield number
        for key, timed in probes.items():
            try:
                assert isinstance(timed, Probe | OctaveProbe)
                first, last = record.errors[key]
                record.errors[key] = max(first, before[key]), max(last, _checked(timed))
            except ProbeError as error:
                dropped[key] = str(error)
        record.left_out.update({labels[key]: _reason(why, labels[key]) for key, why in dropped.items()})


def _libraries(ready: Mapping[str, Any]) -> dict[str, str]:
    """Say in words what a process that is ready tells about the libraries underneath."""
    if "blas" in ready:
        return {"Octave": f"{ready['version']}, BLAS {ready['blas']}"}
    blas = [pool for pool in ready["pools"] if pool["user_api"] == "blas"]
    words = (f"{pool['internal_api']} {pool['version']}, {pool['architecture']} kernels" for pool in blas)
    return {"BLAS of NumPy": "; ".join(dict.fromkeys(words)) or "not recognised"}


def _reason(error: object, label: str) -> str:
    """Return the message without the name that it starts with."""
    return str(error).removeprefix(f"{label}: ")


def _checked(probe: Probe | OctaveProbe) -> float:
    """Return the probe's error, or raise `ProbeError` where it is wrong."""
    error = probe.error()
    if not error <= 1:
        raise ProbeError(f"wrong result: {error:.3g} times the error that rounding explains")
    return error


def _ways(size: tuple[int, int, int], seed: int) -> list[_Entry]:
    """The ways in NumPy, on one thread as their time had them, then ours: on one thread, and on all CPUs."""
    settings: dict[str, Any] = {"size": size, "seed": seed}
    entries = [_entry(key, way.label, 1, "variant", {**settings, "name": key}) for key, way in VARIANTS.items()]
    ready = {record.name for record in list_backends() if record.state == "ready"}
    ours = [name for name in dict.fromkeys((DEFAULT_BACKEND, *_OURS)) if name in ready]
    for threads in dict.fromkeys((1, cpu_budget().granted)):
        for name in ours:
            label = f"sparsae.backprop, {name}, {threads} thread{'s' * (threads > 1)}"
            call = {**settings, "name": name, "threads": threads}
            entries.append(_entry(f"{name}-{threads}", label, threads, "backend", call))
    return entries


def _orders(size: tuple[int, int, int], seed: int) -> list[_Entry]:
    """The four combinations of memory orders."""
    settings: dict[str, Any] = {"size": size, "seed": seed}
    return [
        _entry(left + right, f"{left} times {right}", 1, "product", {**settings, "left": left, "right": right})
        for left in "CF"
        for right in "CF"
    ]


def _octave_entries(size: tuple[int, int, int], seed: int, left_out: dict[str, str], *, wanted: bool) -> list[_Entry]:
    """The ways of ``question.m``, or the reason why not."""
    command = find_octave()
    if not wanted or command is None:
        left_out["Octave"] = "octave-cli is not installed" if wanted else "not asked for"
        return []
    case = make_case(*size, seed=seed)
    found: str = command

    def starter(way: str) -> Callable[[], OctaveProbe]:
        return lambda: OctaveProbe(found, way, case, environment=one_thread(), cpus=choose_cpus(1))

    return [_Entry(f"octave-{way}", label, 1, starter(way)) for way, label in WAYS.items()]


def _entry(key: str, label: str, threads: int, function: str, settings: dict[str, Any]) -> _Entry:
    """Describe a probe of one of our tasks, pinned to as many CPUs as it may use threads."""
    environment = one_thread() if threads == 1 else dict.fromkeys(one_thread())  # row workers are threads of our own
    environment |= {"SPARSAE_THREADS": None, "SPARSAE_BACKEND": None}

    def start() -> Probe:
        return Probe(f"{_HERE}:{function}", settings, environment=environment, cpus=choose_cpus(threads), name=label)

    return _Entry(key, label, threads, start)
