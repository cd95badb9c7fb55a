"""The plan of a race: workloads, cells, and the settings, checked before anything starts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, Literal, Self, final

from sparsae._types import Activation
from sparsae.bench.inputs import SPREAD, raced_options
from sparsae.bench.statistics import LEAST_FLOOR, QUICK_FLOOR
from sparsae.bench.timing import BATCH_SECONDS
from sparsae.bench.workload import ACTIVATIONS, CASES, DTYPES, RaceWorkload, parse_size, unit_words
from sparsae.errors import BackendNotFoundError, ParameterError
from sparsae.machine.resources import affinity_cpus
from sparsae.machine.threads import cpu_budget
from sparsae.model import check_size
from sparsae.model.checks import as_number, check_word
from sparsae.model.settings import Sizes, resolve_settings
from sparsae.plugins.selection import list_backends, select

PEAK = "peak GEMM"
CellKind = Literal["backend", "twin", "peak"]

# Launches x rounds x batch: 5 x 6 x 20 ms for a first look; 5 x 100 x 20 ms = 10 s of timed batches a cell.
# Five launches, since identical code differs by 2 to 7 % from launch to launch: of quick A/A races with three,
# 3 in 10 were no tie (2 of them a win); by simulation 18 to 70 % with three are not, and 1 to 3 % with five.
PRESETS: dict[str, dict[str, int]] = {
    "quick": {"launches": 5, "rounds": 6, "sessions": 1},
    "default": {"launches": 5, "rounds": 100, "sessions": 1},
    "publish": {"launches": 5, "rounds": 100, "sessions": 2},
}


@final
@dataclass(frozen=True)
class Cell:
    """One contestant: a backend (or the second copy of the reference, or the peak product) at a number of threads."""

    label: str
    backend: str
    threads: int
    kind: CellKind = "backend"

    @property
    def key(self) -> str:
        """Name within its workload."""
        return f"{self.label} x{self.threads}"


@final
@dataclass(frozen=True, kw_only=True)
class RacePlan:
    """A race, ready to run; `RacePlan.checked` makes one from what a user wrote.

    Every workload is one case, size and dtype; every backend runs it at every number of threads.
    """

    backends: tuple[str, ...]  # a name given twice races against itself, as "dot" and "dot#2"
    threads: tuple[int, ...]
    cases: tuple[str, ...]
    sizes: tuple[tuple[int, int, int], ...]
    dtypes: tuple[str, ...]
    reference: str  # the backend that the others are divided by, and whose second copy shows the noise floor
    launches: int  # starts of all processes
    rounds: int  # visits to each cell in a launch
    batch: float = BATCH_SECONDS  # that a timed batch takes, about
    preset: str = "default"
    seed: int = 0  # of the data and of the order of turns
    timeout: float = 120.0  # seconds that an answer may take
    sessions: int = 1  # independent repetitions of the whole
    activation: Activation = "sigmoid"
    k: int | None = None

    @classmethod
    def checked(
        cls,
        *,
        backends: Iterable[str] = (),
        threads: Iterable[int] = (),
        cases: Iterable[str] = ("objective",),
        sizes: Iterable[str | tuple[int, int, int]] = ("question",),
        dtypes: Iterable[str] = ("f8",),
        reference: str | None = None,
        preset: str = "default",
        launches: int | None = None,
        rounds: int | None = None,
        batch: float = BATCH_SECONDS,
        seed: int = 0,
        timeout: float = 120.0,
        activation: str = "sigmoid",
        k: int | None = None,
    ) -> Self:
        """Check what a user asked for; nothing given means every ready backend, at one thread and at the CPU budget.

        Backends that are named are loaded, and no others.

        Raises
        ------
        ParameterError, BackendError
            When something cannot be raced.
        """
        if preset not in PRESETS:
            raise ParameterError(f"No preset {preset!r}; choose from {', '.join(PRESETS)}.")
        defaults = PRESETS[preset]
        names = _check_backends(tuple(backends))
        counts = tuple(dict.fromkeys(threads)) or tuple(dict.fromkeys((1, cpu_budget().granted)))
        _check_threads(counts)
        chosen = reference or ("numpy" if "numpy" in names else names[0])
        if chosen not in names:
            known = ", ".join(dict.fromkeys(names))
            raise ParameterError(f"The reference {chosen!r} does not race; choose from {known}.")
        if not 0 < as_number("timeout", timeout) < math.inf:
            raise ParameterError(f"timeout must be a positive number of seconds; given {timeout}.")
        chosen_sizes = tuple(dict.fromkeys(parse_size(size) for size in sizes))
        return cls(
            backends=names,
            threads=counts,
            cases=tuple(_choose("case", case, dict.fromkeys(CASES)) for case in dict.fromkeys(cases)),
            sizes=chosen_sizes,
            dtypes=tuple(dict.fromkeys(_choose("dtype", dtype, DTYPES) for dtype in dtypes)),
            reference=chosen,
            launches=check_size("launches", defaults["launches"] if launches is None else launches),
            rounds=check_size("rounds", defaults["rounds"] if rounds is None else rounds),
            batch=batch,
            preset=preset,
            seed=seed,
            timeout=timeout,
            sessions=defaults["sessions"],
            activation=_check_unit(activation, k, chosen_sizes),
            k=k,
        )

    def workloads(self) -> tuple[RaceWorkload, ...]:
        """Return every case, size and dtype, with the hidden unit."""
        return tuple(
            RaceWorkload(*parts, self.activation, self.k) for parts in product(self.cases, self.sizes, self.dtypes)
        )

    def cells(self) -> tuple[Cell, ...]:
        """Return every contestant of a workload: backends, the second copy of the reference, the peak product."""
        seen: Counter[str] = Counter()
        labels = []
        for name in self.backends:
            seen[name] += 1
            labels.append((name if seen[name] == 1 else f"{name}#{seen[name]}", name))
        return tuple(
            cell
            for t in self.threads
            for cell in (
                *(Cell(label, name, t) for label, name in labels),
                Cell(f"{self.reference}'", self.reference, t, "twin"),
                Cell(PEAK, "", t, "peak"),
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as a dict that JSON can take."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Build a plan from what `to_dict` gave, also after JSON; `sparsae.bench.schema` has checked it."""
        lists = {name: tuple(values[name]) for name in ("backends", "threads", "cases", "dtypes")}
        return cls(**{**values, **lists, "sizes": tuple(tuple(size) for size in values["sizes"])})

    @property
    def unit(self) -> str:
        """The hidden unit in words."""
        return unit_words(self.activation, self.k)

    @property
    def least_floor(self) -> float:
        """The smallest noise floor: no difference below it is called one."""
        return QUICK_FLOOR if self.preset == "quick" else LEAST_FLOOR

    def with_seed(self, seed: int) -> Self:
        """Return the same race in another order of turns."""
        return replace(self, seed=seed)


def _check_backends(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names, each of which can be used, or those of every backend that can."""
    if names:
        for name in dict.fromkeys(names):
            select(name)
        return names
    ready = tuple(record.name for record in list_backends() if record.state == "ready")
    if not ready:
        raise BackendNotFoundError("No backend is ready; `sparsae backends` says why.")
    return ready


def _check_threads(counts: tuple[int, ...]) -> None:
    cpus = affinity_cpus()
    for count in counts:
        if not 1 <= count <= cpus:
            raise ParameterError(
                f"threads={count} cannot be raced fairly: each thread gets a CPU of its own and this process may use "
                f"{cpus}; choose from 1 to {cpus}."
            )


def _check_unit(activation: str, k: int | None, sizes: tuple[tuple[int, int, int], ...]) -> Activation:
    """Return the hidden unit, which all of these sizes can have."""
    if activation == "batchtopk":
        raise ParameterError(
            "batchtopk reaches backends as jumprelu with one threshold, so that the race has no case of its own for "
            "it; race activation='jumprelu'."
        )
    for _, n, p in sizes:
        resolve_settings(raced_options(activation, k), Sizes(n, p, lambda centred: SPREAD))
    return check_word("activation", activation, ACTIVATIONS)


def _choose(what: str, given: str, possible: Mapping[str, str | None]) -> str:
    if given not in possible:
        raise ParameterError(f"No {what} {given!r}; choose from {', '.join(possible)}.")
    return possible[given] or given
