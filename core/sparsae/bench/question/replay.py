"""Replay the question: every way in a pinned process of its own, checked, then timed in turns."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from statistics import median
from typing import Any, NamedTuple

from sparsae._text import plural
from sparsae.bench.contest import Contest, ContestResults, Process, Progress, part_of
from sparsae.bench.inputs import make_backprop_inputs
from sparsae.bench.process import choose_cpus, thread_environment
from sparsae.bench.question.octave import WAYS, OctaveProcess, find_octave
from sparsae.bench.question.report import QuestionReport, QuestionRow
from sparsae.bench.question.variants import VARIANTS
from sparsae.bench.statistics import paired_ratio
from sparsae.bench.task_process import TaskProcess
from sparsae.errors import BackendError
from sparsae.machine.threads import cpu_budget
from sparsae.model import check_size
from sparsae.plugins.selection import default_backend, select

Size = tuple[int, int, int]
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
    size: Size = SIZE,
    rounds: int = 8,
    launches: int = 2,
    seed: int = 0,
    octave: bool = True,
    progress: Progress = lambda what, share: None,
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
    octave_ways = _octave_ways(size, seed) if octave and find_octave() else []
    competitors = [*_ways(size, seed), *octave_ways, *_orders(size, seed)]
    left_out = {} if octave_ways else {"Octave": "octave-cli is not installed" if octave else "not asked for"}
    found: list[ContestResults] = []
    interrupted = False
    try:
        for launch in range(launches):
            found.append(ContestResults())
            part = part_of(progress, launch, launches, f"launch {launch + 1} of {launches}: ")
            _run_launch(competitors, found, rounds, random.Random(seed + launch), part)  # noqa: S311  an order
    except KeyboardInterrupt:
        interrupted = True
    facts: dict[str, str] = {}
    for said in (said for results in found for said in results.facts.values()):
        facts |= _libraries(said)
    scratch = [one._replace(label=_SCRATCH[one.key]) for one in competitors if one.key in _SCRATCH]
    ways = [one for one in competitors if one.key not in ("empty", "zeros", *_ORDERS)]
    return QuestionReport(
        size=size,
        ways=_rows(ways, "asked", found),
        scratch=_rows(scratch, "order", found),
        orders=_rows([one for one in competitors if one.key in _ORDERS], "CC", found),
        left_out=left_out | {one.label: why for one in competitors if (why := _why_dropped(one, found))},
        facts=facts,
        rounds=rounds,
        launches=launches,
        seed=seed,
        interrupted=interrupted,
    )


def _run_launch(
    competitors: Iterable[Competitor],
    found: Sequence[ContestResults],
    rounds: int,
    rng: random.Random,
    progress: Progress,
) -> None:
    """Let everybody that was not dropped take turns; the results go into the last one of those found."""
    start = {one.key: one.start for one in competitors if not _why_dropped(one, found)}
    with closing(Contest(start, found[-1], rng=rng)) as contest:
        contest.run(rounds, progress)


def _why_dropped(one: Competitor, found: Iterable[ContestResults]) -> str:
    """Why a competitor takes no part any more; empty where it does."""
    return next((results.dropped[one.key] for results in found if one.key in results.dropped), "")


def _rows(
    competitors: Iterable[Competitor], reference: str, found: Sequence[ContestResults]
) -> tuple[QuestionRow, ...]:
    """Rows of those that were timed; ratios over the rounds that both finished."""
    made = []
    for one in competitors:
        pairs = [pair for results in found for pair in results.pairs(reference, one.key)]
        if not pairs or _why_dropped(one, found):
            continue
        errors = [results.errors[one.key] for results in found if one.key in results.errors]
        row = QuestionRow(
            key=one.key,
            label=one.label,
            threads=one.threads,
            seconds=median(own.seconds for _, own in pairs),
            ratio=paired_ratio(pairs),
            error_before=max(before for before, *_ in errors),
            error_after=max(after for *_, after in errors),
        )
        made.append(row)
    return tuple(made)


def _libraries(prepared: Mapping[str, Any]) -> dict[str, str]:
    """Describe the libraries underneath, from what a process says of itself."""
    if "octave_version" in prepared:
        return {"Octave": f"{prepared['octave_version']}, BLAS {prepared['octave_blas']}"}
    blas = [pool for pool in prepared["pools_after_call"] if pool["user_api"] == "blas"]
    words = (f"{pool['internal_api']} {pool['version']}, {pool['architecture']} kernels" for pool in blas)
    return {"BLAS of NumPy": "; ".join(dict.fromkeys(words)) or "not recognised"}


def _ways(size: Size, seed: int) -> Iterator[Competitor]:
    """The ways in NumPy, on one thread as in 2013, then those of sparsae: on one thread, and on all CPUs."""
    for key, way in VARIANTS.items():
        yield _competitor(key, way.label, 1, "variant_task", size=size, seed=seed, name=key)
    ours = [name for name in dict.fromkeys((default_backend(), *_OURS)) if _is_ready(name)]
    for threads in dict.fromkeys((1, cpu_budget().granted)):
        for name in ours:
            label = f"sparsae.backprop, {name}, {plural(threads, 'thread')}"
            settings = {"size": size, "seed": seed, "name": name, "threads": threads}
            yield _competitor(f"{name}-{threads}", label, threads, "backend_task", **settings)


def _is_ready(name: str) -> bool:
    try:
        select(name)
    except BackendError:
        return False
    return True


def _orders(size: Size, seed: int) -> Iterator[Competitor]:
    """The four combinations of memory orders."""
    for key in _ORDERS:
        settings = {"size": size, "seed": seed, "left": key[0], "right": key[1]}
        yield _competitor(key, " times ".join(key), 1, "product_task", **settings)


def _octave_ways(size: Size, seed: int) -> list[Competitor]:
    """The ways of ``question.m``."""
    inputs = make_backprop_inputs(size, seed=seed)
    return [Competitor(f"octave-{way}", label, 1, partial(OctaveProcess, way, inputs)) for way, label in WAYS.items()]


def _competitor(key: str, label: str, threads: int, factory: str, /, **settings: object) -> Competitor:
    """Describe the process of a task, pinned to as many CPUs as it may use threads.

    With more than one thread nothing limits the libraries: the threads are workers of sparsae.
    """
    environment = thread_environment(1)
    if threads > 1:
        environment = dict.fromkeys(environment)
        environment.pop("XLA_FLAGS", None)
    environment |= {"SPARSAE_THREADS": None, "SPARSAE_BACKEND": None}
    start = partial(
        TaskProcess,
        f"sparsae.bench.question.tasks:{factory}",
        settings,
        threads=threads,
        environment=environment,
        cpus=choose_cpus(threads),
        name=label,
    )
    return Competitor(key, label, threads, start)
