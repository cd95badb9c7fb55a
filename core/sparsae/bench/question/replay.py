"""Replay the question: every way in a pinned process of its own, checked, then timed in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from sparsae.bench.contest import Contest, Process
from sparsae.bench.inputs import make_backprop_inputs
from sparsae.bench.process import choose_cpus, thread_environment
from sparsae.bench.question.octave import WAYS, OctaveProcess, find_octave
from sparsae.bench.question.report import QuestionReport, QuestionRow
from sparsae.bench.question.variants import VARIANTS
from sparsae.bench.statistics import paired_ratio
from sparsae.bench.task_process import TaskProcess
from sparsae.bench.timing import TimedBatch
from sparsae.errors import BackendError
from sparsae.machine.threads import cpu_budget
from sparsae.model import check_size
from sparsae.plugins.selection import DEFAULT_BACKEND, select

SIZE = (10_000, 64, 25)  # samples, visible units, hidden units
_OURS = ("fused", "numba", "dot")  # timed with the default backend
_SCRATCH = {"order": "made once", "empty": "np.empty in each call", "zeros": "np.zeros in each call"}
_ORDERS = ("CC", "CF", "FC", "FF")


class Competitor(NamedTuple):
    """One way of computing it, and how to start its process."""

    key: str
    label: str
    threads: int
    start: Callable[[], Process]


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
        A way whose process fails, or whose result is wrong, is left out with the reason.

    Raises
    ------
    ParameterError
        When a size or a count is not a positive integer.
    """
    size = (check_size("n_samples", size[0]), check_size("n_visible", size[1]), check_size("n_hidden", size[2]))
    rounds, launches = check_size("rounds", rounds), check_size("launches", launches)
    results = QuestionResults()
    competitors = [*_ways(size, seed), *_octave_ways(size, seed, results.left_out, wanted=octave), *_orders(size, seed)]
    interrupted = False
    try:
        for launch in range(launches):

            def show(turn: int, launch: int = launch) -> None:
                progress(f"launch {launch + 1} of {launches}", (launch + turn / rounds) / launches)

            _run_launch(competitors, rounds, seed + launch, results, show)
    except KeyboardInterrupt:
        interrupted = True
    scratch = [one._replace(label=_SCRATCH[one.key]) for one in competitors if one.key in _SCRATCH]
    return QuestionReport(
        size=size,
        ways=results.rows([one for one in competitors if one.key not in ("empty", "zeros", *_ORDERS)], "asked"),
        scratch=results.rows(scratch, "order"),
        orders=results.rows([one for one in competitors if one.key in _ORDERS], "CC"),
        left_out=results.left_out,
        facts=results.facts,
        rounds=rounds,
        launches=launches,
        seed=seed,
        interrupted=interrupted,
    )


class QuestionResults:
    """What was measured so far, by key: batches round by round, errors before and after, reasons for leaving out."""

    def __init__(self) -> None:
        self.turns: list[dict[str, TimedBatch]] = []
        self.errors: dict[str, tuple[float, float]] = {}
        self.left_out: dict[str, str] = {}
        self.facts: dict[str, str] = {}

    def add(self, competitors: Iterable[Competitor], contest: Contest) -> None:
        """Add what the processes of a launch said: facts, the largest errors, reasons."""
        for facts in contest.facts.values():
            self.facts |= _libraries(facts)
        for key, (before, after) in contest.errors.items():
            old = self.errors.get(key, (0.0, 0.0))
            self.errors[key] = max(old[0], before), max(old[1], after)
        for one in competitors:
            if one.key in contest.dropped:
                self.left_out[one.label] = contest.dropped[one.key].removeprefix(f"{one.label}: ")

    def rows(self, competitors: Iterable[Competitor], reference: str) -> tuple[QuestionRow, ...]:
        """Rows of those that were timed; ratios over the rounds that both finished."""
        made = []
        for one in competitors:
            both = [turn for turn in self.turns if one.key in turn and reference in turn]
            if not both or one.label in self.left_out:
                continue
            own = [turn[one.key] for turn in both]
            before, after = self.errors[one.key]
            made.append(
                QuestionRow(
                    key=one.key,
                    label=one.label,
                    threads=one.threads,
                    seconds=median(batch.seconds for batch in own),
                    ratio=paired_ratio([turn[reference] for turn in both], own),
                    error_before=before,
                    error_after=after,
                )
            )
        return tuple(made)


def _run_launch(
    competitors: Sequence[Competitor],
    rounds: int,
    seed: int,
    results: QuestionResults,
    progress: Callable[[int], None] = lambda turn: None,
) -> None:
    """Let everybody that is not left out take turns; call `progress` with the number of each finished round."""
    taking_part = [one for one in competitors if one.label not in results.left_out]
    contest = Contest({one.key: one.start for one in taking_part})
    try:
        for number, turn in enumerate(contest.turns(rounds=rounds, seed=seed), start=1):
            results.turns.append(turn)
            progress(number)
    finally:
        results.add(taking_part, contest)


def _libraries(prepared: Mapping[str, Any]) -> dict[str, str]:
    """Describe the libraries underneath, from what a process says of itself."""
    if "octave_version" in prepared:
        return {"Octave": f"{prepared['octave_version']}, BLAS {prepared['octave_blas']}"}
    blas = [pool for pool in prepared["pools_after_call"] if pool["user_api"] == "blas"]
    words = (f"{pool['internal_api']} {pool['version']}, {pool['architecture']} kernels" for pool in blas)
    return {"BLAS of NumPy": "; ".join(dict.fromkeys(words)) or "not recognised"}


def _ways(size: tuple[int, int, int], seed: int) -> list[Competitor]:
    """The ways in NumPy, on one thread as in 2013, then those of sparsae: on one thread, and on all CPUs."""
    settings: dict[str, Any] = {"size": size, "seed": seed}
    found = [_competitor(key, way.label, 1, "variant_task", {**settings, "name": key}) for key, way in VARIANTS.items()]
    ours = [name for name in dict.fromkeys((DEFAULT_BACKEND, *_OURS)) if _is_ready(name)]
    for threads in dict.fromkeys((1, cpu_budget().granted)):
        for name in ours:
            label = f"sparsae.backprop, {name}, {threads} thread{'s' * (threads > 1)}"
            call = {**settings, "name": name, "threads": threads}
            found.append(_competitor(f"{name}-{threads}", label, threads, "backend_task", call))
    return found


def _is_ready(name: str) -> bool:
    try:
        select(name)
    except BackendError:
        return False
    return True


def _orders(size: tuple[int, int, int], seed: int) -> list[Competitor]:
    """The four combinations of memory orders."""
    settings: dict[str, Any] = {"size": size, "seed": seed}
    return [
        _competitor(
            left + right, f"{left} times {right}", 1, "product_task", {**settings, "left": left, "right": right}
        )
        for left in "CF"
        for right in "CF"
    ]


def _octave_ways(size: tuple[int, int, int], seed: int, left_out: dict[str, str], *, wanted: bool) -> list[Competitor]:
    """The ways of ``question.m``, or the reason why not."""
    command = find_octave()
    if not wanted or command is None:
        left_out["Octave"] = "octave-cli is not installed" if wanted else "not asked for"
        return []
    inputs = make_backprop_inputs(size, seed=seed)
    found: str = command

    def starter(way: str) -> Callable[[], OctaveProcess]:
        return lambda: OctaveProcess(found, way, inputs, environment=thread_environment(1), cpus=choose_cpus(1))

    return [Competitor(f"octave-{way}", label, 1, starter(way)) for way, label in WAYS.items()]


def _competitor(key: str, label: str, threads: int, factory: str, settings: dict[str, Any]) -> Competitor:
    """Describe the process of a task, pinned to as many CPUs as it may use threads.

    With more than one thread nothing limits the libraries: the threads are workers of sparsae.
    """
    environment = thread_environment(1)
    if threads > 1:
        environment = dict.fromkeys(environment)
        environment.pop("XLA_FLAGS", None)
    environment |= {"SPARSAE_THREADS": None, "SPARSAE_BACKEND": None}

    def start() -> TaskProcess:
        return TaskProcess(
            f"sparsae.bench.question.tasks:{factory}",
            settings,
            threads=threads,
            environment=environment,
            cpus=choose_cpus(threads),
            name=label,
        )

    return Competitor(key, label, threads, start)
