"""What is raced: cells, heats, and the settings of a race, checked at the door."""

from __future__ import annotations

import difflib
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any, Literal, Self, final

from sparsae.bench.statistics import LEAST_FLOOR, QUICK_FLOOR
from sparsae.errors import BackendNotFoundError, ParameterError
from sparsae.machine.threads import cpu_budget
from sparsae.plugins.selection import list_backends

CASES = ("backprop", "objective", "train")
SIZES = {"question": (10_000, 64, 25), "mnist": (10_000, 784, 196), "small": (100, 8, 3)}
DTYPES = {"f8": "float64", "f4": "float32", "float64": "float64", "float32": "float32"}
Kind = Literal["backend", "twin", "peak"]
PEAK = "peak GEMM"


@final
@dataclass(frozen=True)
class Cell:
    """One contestant: a backend (or the second copy of the reference, or the peak product) at a number of threads."""

    label: str
    backend: str
    threads: int
    kind: Kind = "backend"

    @property
    def key(self) -> str:
        """Name within its heat."""
        return f"{self.label} x{self.threads}"


@final
@dataclass(frozen=True)
class Heat:
    """What the cells that race together have in common: case, size and dtype."""

    case: str
    size: tuple[int, int, int]
    dtype: str

    @property
    def key(self) -> str:
        """Name within the race."""
        return f"{self.case} {'x'.join(map(str, self.size))} {self.dtype}"

    @property
    def flop(self) -> float:
        """Useful floating-point operations in one call, for everyone: extra work is no credit."""
        m, n, p = self.size
        return {"backprop": 6.0, "objective": 10.0, "train": 10.0 * TRAIN_EVALUATIONS}[self.case] * m * n * p


TRAIN_EVALUATIONS = 20  # of the objective, in one timed training


@final
@dataclass(frozen=True, kw_only=True)
class Settings:
    """A race, ready to run; `Settings.checked` makes one from what a user wrote.

    Attributes
    ----------
    backends : tuple of str
        Names; a name given twice races against itself, as "dot" and "dot#2".
    threads, cases, sizes, dtypes : tuples
        Every heat is one case, size and dtype; within it every backend runs at every number of threads.
    reference : str
        The backend that the others are divided by, and whose second copy shows the noise floor.
    launches, rounds : int
        Starts of all processes, and visits to each cell in a launch.
    batch : float
        Seconds that a timed batch takes, about.
    preset : str
    seed : int
        Of the data and of the order of turns.
    timeout : float
        Seconds that an answer may take.
    sessions : int
        Independent repetitions of the whole.
    """

    backends: tuple[str, ...]
    threads: tuple[int, ...]
    cases: tuple[str, ...]
    sizes: tuple[tuple[int, int, int], ...]
    dtypes: tuple[str, ...]
    reference: str
    launches: int
    rounds: int
    batch: float = 0.02
    preset: str = "default"
    seed: int = 0
    timeout: float = 120.0
    sessions: int = 1

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
        batch: float | None = None,
        seed: int = 0,
        timeout: float = 120.0,
    ) -> Self:
        """Check what a user asked for; nothing given means every ready backend, at one thread and at the CPU budget.

        Raises
        ------
        ParameterError, BackendNotFoundError
            When something cannot be raced.
        """
        plan = PRESETS.get(preset)
        if plan is None:
            raise ParameterError(f"No preset {preset!r}; choose from {', '.join(PRESETS)}.")
        names = _check_backends(tuple(backends))
        budget = cpu_budget().granted
        counts = tuple(dict.fromkeys(threads)) or tuple(dict.fromkeys((1, budget)))
        _check_threads(counts)
        ref = reference or ("numpy" if "numpy" in names else names[0])
        if ref not in names:
            raise ParameterError(f"The reference {ref!r} does not race; choose from {', '.join(dict.fromkeys(names))}.")
        return cls(
            backends=names,
            threads=counts,
            cases=tuple(_choice("case", case, dict.fromkeys(CASES)) for case in dict.fromkeys(cases)),
            sizes=tuple(dict.fromkeys(parse_size(size) for size in sizes)),
            dtypes=tuple(dict.fromkeys(_choice("dtype", dtype, DTYPES) for dtype in dtypes)),
            reference=ref,
            launches=_at_least("launches", launches, 1, plan["launches"]),
            rounds=_at_least("rounds", rounds, 1, plan["rounds"]),
            batch=plan["batch"] if batch is None else batch,
            preset=preset,
            seed=seed,
            timeout=timeout,
            sessions=plan["sessions"],
        )

    def heats(self) -> tuple[Heat, ...]:
        """Return every case, size and dtype."""
        return tuple(Heat(*parts) for parts in product(self.cases, self.sizes, self.dtypes))

    def cells(self) -> tuple[Cell, ...]:
        """Return every contestant of a heat: backends, the twin of the reference, the peak product."""
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
        """Build settings from what `to_dict` gave, also after JSON."""
        lists = {name: tuple(values[name]) for name in ("backends", "threads", "cases", "dtypes")}
        return cls(**{**values, **lists, "sizes": tuple(tuple(size) for size in values["sizes"])})

    @property
    def least_floor(self) -> float:
        """No difference below this is called one."""
        return QUICK_FLOOR if self.preset == "quick" else LEAST_FLOOR

    def with_seed(self, seed: int) -> Self:
        """Return the same race in another order of turns."""
        return replace(self, seed=seed)


# Launches x rounds x batch: 5 x 6 x 20 ms for a first look; 5 x 100 x 20 ms = 10 s of timed batches a cell.
# Five launches, since identical code differs by 2 to 7 % from launch to launch: of quick A/A races with three,
# 3 in 10 were no tie (2 of them a win); by simulation 18 to 70 % with three are not, and 1 to 3 % with five.
PRESETS: dict[str, dict[str, Any]] = {
    "quick": {"launches": 5, "rounds": 6, "batch": 0.02, "sessions": 1},
    "default": {"launches": 5, "rounds": 100, "batch": 0.02, "sessions": 1},
    "publish": {"launches": 5, "rounds": 100, "batch": 0.02, "sessions": 2},
}


def parse_size(size: str | Sequence[int]) -> tuple[int, int, int]:
    """Turn "10000x64x25" or a name such as "mnist" into (samples, inputs, hidden units)."""
    if isinstance(size, str) and size in SIZES:
        return SIZES[size]
    words = size.replace("/", "x").lower().split("x") if isinstance(size, str) else [str(number) for number in size]
    if len(words) == 3 and all(word.isdigit() and int(word) > 0 for word in words):
        m, n, p = map(int, words)
        return m, n, p
    raise ParameterError(
        f"Size {size!r} cannot be read; write SAMPLESxINPUTSxHIDDEN such as 10000x64x25, or one of {', '.join(SIZES)}."
    )


def _check_backends(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names, or those of every ready backend; unknown ones are refused with the nearest name."""
    records = {record.name: record for record in list_backends()}
    ready = tuple(name for name, record in records.items() if record.state == "ready")
    for name in names:
        if name not in records:
            near = difflib.get_close_matches(name, records, 1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise BackendNotFoundError(f"No backend named {name!r}{hint} Available: {', '.join(ready)}.")
        if name not in ready:
            raise records[name].error or BackendNotFoundError(f"Backend {name!r} is {records[name].state}.")
    return names or ready


def _check_threads(counts: tuple[int, ...]) -> None:
    from sparsae.machine.resources import affinity_cpus

    cpus = affinity_cpus()
    for count in counts:
        if not 1 <= count <= cpus:
            raise ParameterError(
                f"threads={count} cannot be raced fairly: each thread gets a CPU of its own and this process may use "
                f"{cpus}; choose from 1 to {cpus}."
            )


def _choice(what: str, given: str, possible: Mapping[str, str | None]) -> str:
    if given not in possible:
        raise ParameterError(f"No {what} {given!r}; choose from {', '.join(possible)}.")
    return possible[given] or given


def _at_least(what: str, given: int | None, least: int, default: int) -> int:
    if given is None:
        return default
    if given < least or not math.isfinite(given):
        raise ParameterError(f"{what} must be at least {least}; given {given}.")
    return given
