"""What a record of a race may contain: every field that is read is checked before it is used."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sparsae.bench.plan import PRESETS, RacePlan
from sparsae.bench.standings import STATES
from sparsae.bench.timing import BATCH
from sparsae.bench.workload import ACTIVATIONS, CASES, DTYPES
from sparsae.errors import FileFormatError
from sparsae.training.schema import Count, Each, Null, Number, OneOf, Optional, Schema, check_schema

FORMAT, VERSION, OLDEST = "sparsae-race", 3, 2  # version 2 knew sigmoid units only
MOST_TABLES = 2000  # workloads x thread counts of a plan
LONGEST_NAME = 200  # of a backend


def check_events(name: object, events: Sequence[Mapping[str, Any]]) -> None:
    """Check events against the schema; a line of the file is one event.

    Raises
    ------
    FileFormatError
        With the line and the field that cannot be used.
    """
    workloads: Collection[str] = ()
    cells: Collection[str] = ()
    for line, event in enumerate(events, start=1):
        kind = event["kind"]
        where = f"{name} is no record of a race, or damaged: line {line}"
        if line == 1 or kind == "header":
            _check_version(name, event)
        try:
            check_event(event)
        except ValueError as error:
            raise FileFormatError(f"{where}: {error}.") from None
        if kind == "header":
            plan = RacePlan.from_dict(event["plan"])
            if len(plan.cases) * len(plan.sizes) * len(plan.dtypes) * len(plan.threads) > MOST_TABLES:
                raise FileFormatError(f"{where}: {kind} plans more than {MOST_TABLES} tables.")
            workloads, cells = {w.key for w in plan.workloads()}, {cell.key for cell in plan.cells()}
        if kind in _PLACED and event["workload"] not in workloads:
            raise FileFormatError(f"{where}: {kind} has a workload that its header does not plan.")
        if "cell" in event and (kind not in _OF_A_CELL or event["cell"] not in cells):
            raise FileFormatError(f"{where}: {kind} has a cell that its header does not plan.")


def check_event(event: Mapping[str, Any]) -> None:
    """Check the fields of one event; fields that are not read may be there too.

    Raises
    ------
    ValueError
        With the path of the first field that is missing or cannot be used.
    """
    kind = event["kind"]
    check_schema(event, _EVENTS.get(kind, {}), kind)
    if kind == "header":
        _check_plan(event["plan"])


def _check_version(name: object, event: Mapping[str, Any]) -> None:
    if event["kind"] != "header" or event.get("format") != FORMAT:
        raise FileFormatError(f"{name} is no record of a race: it does not begin with the header of one.")
    if event.get("version") not in range(OLDEST, VERSION + 1):
        raise FileFormatError(
            f"{name} was written in version {event.get('version')} of the format and this sparsae reads versions "
            f"{OLDEST} to {VERSION}; show it with the sparsae that wrote it."
        )


def _check_plan(plan: Mapping[str, Any]) -> None:
    """Check what the fields of a plan say together."""
    if unknown := sorted(plan.keys() - _PLAN.keys()):
        raise ValueError(f"header.plan has the unknown {unknown[0]!r}")
    if (plan.get("k") is not None) != (plan.get("activation") == "topk"):
        raise ValueError("header.plan has a k without topk, or topk without k")
    names = plan["backends"]
    if plan["reference"] not in names or not all(0 < len(name) < LONGEST_NAME for name in names):
        raise ValueError("header.plan has no usable names of backends")


_COUNT = Count(0, 10**9)
_AMOUNT = Number(0, 1e12)
_ERROR = Number(0, 1e300)
_WORDS = Each(str, dict)
_PLAN: Schema = {
    "backends": Each(str, list, 1, 100),
    "threads": Each(Count(1, 10**6), list, 1, 100),
    "cases": Each(OneOf(CASES), list, 1, 100),
    "sizes": Each(Each(Count(1, 10**12), list, 3, 3), list, 1, 100),
    "dtypes": Each(OneOf(tuple(DTYPES.values())), list, 1, 100),
    "reference": str,
    "launches": _COUNT,
    "rounds": _COUNT,
    "batch": Number(0, 1e9),
    "preset": OneOf(tuple(PRESETS)),
    "seed": int,
    "timeout": _AMOUNT,
    "sessions": _COUNT,
    "activation": Optional(OneOf(ACTIVATIONS), null=False),  # of version 3
    "k": Optional(Count(1, 10**12)),
}
_MACHINE: Schema = {
    **dict.fromkeys(("cpu", "machine", "system"), str),
    "cores": Null(_COUNT),
    "affinity_cpus": _COUNT,
    "cgroup_quota": Null(_AMOUNT),
    "caches": _WORDS,
    "variables": _WORDS,
}
_POOL: Schema = {
    **dict.fromkeys(("user_api", "internal_api", "library"), str),
    **dict.fromkeys(("version", "architecture"), Null(str)),
}
_PLACE: Schema = {"launch": _COUNT, "workload": str}
_CELL: Schema = {**_PLACE, "cell": str}
_EVENTS: Mapping[str, Schema] = {
    "header": {"plan": _PLAN, "mode": str, "started": str, "machine": _MACHINE},
    "launch": {**_PLACE, "busy": {"load": Null(_AMOUNT), "steal": Null(_AMOUNT)}},
    "worker": {
        **_CELL,
        "error": _ERROR,
        "threading": Optional(str, null=False),
        "variables": _WORDS,
        "versions": _WORDS,
        "pools_after_call": Each(_POOL, list, 0, 1000),
    },
    "after": {**_CELL, "error": _ERROR},
    "demand": {**_CELL, "cpus": Null(_AMOUNT), "used": _AMOUNT, "verdict": OneOf(("honoured", *STATES))},
    "loops": {**_CELL, "loops": BATCH["loops"]},
    "failure": {**_CELL, "state": OneOf(STATES), "why": str},
    "sample": {
        **_CELL,
        "round": _COUNT,
        "position": _COUNT,
        **BATCH,
        "cpu": _AMOUNT,
        "undisturbed": bool,
        "reason": str,
        "rate": Optional(Number(1, 1e18), null=False),
    },
    "end": {"finished": str},
}
_PLACED = frozenset(kind for kind, fields in _EVENTS.items() if "workload" in fields)
_OF_A_CELL = frozenset(kind for kind, fields in _EVENTS.items() if "cell" in fields)
