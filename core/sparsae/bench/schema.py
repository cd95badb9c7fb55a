"""What a record of a race may contain: every field that is read is checked before it is used."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sparsae.bench.plan import PRESETS, RacePlan
from sparsae.bench.standings import STATES
from sparsae.bench.workload import ACTIVATIONS, CASES, DTYPES
from sparsae.errors import FileFormatError

FORMAT, VERSION, OLDEST = "sparsae-race", 3, 2  # version 2 knew sigmoid units only
Check = Callable[[Any], bool]
MOST_TABLES = 2000  # workloads x thread counts of a plan


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
        fault = find_fault(event)
        if fault is not None:
            raise FileFormatError(f"{where} ({kind}) has no usable {fault!r}.")
        if kind == "header":
            plan = RacePlan.from_dict(event["plan"])
            if len(plan.cases) * len(plan.sizes) * len(plan.dtypes) * len(plan.threads) > MOST_TABLES:
                raise FileFormatError(f"{where} ({kind}) plans more than {MOST_TABLES} tables.")
            workloads, cells = {w.key for w in plan.workloads()}, {cell.key for cell in plan.cells()}
        if kind in _PLACED and event["workload"] not in workloads:
            raise FileFormatError(f"{where} ({kind}) has a workload that its header does not plan.")
        if "cell" in event and (kind not in _OF_A_CELL or event["cell"] not in cells):
            raise FileFormatError(f"{where} ({kind}) has a cell that its header does not plan.")


def find_fault(event: Mapping[str, Any]) -> str | None:
    """Return the first field of an event that is missing or cannot be used, with its path; None where there is none."""
    fields = _FIELDS.get(event["kind"], {})
    return next((path for path, check in fields.items() if not _matches(event, path.split("."), check)), None)


def _check_version(name: object, event: Mapping[str, Any]) -> None:
    if event["kind"] != "header" or event.get("format") != FORMAT:
        raise FileFormatError(f"{name} is no record of a race: it does not begin with the header of one.")
    if event.get("version") not in range(OLDEST, VERSION + 1):
        raise FileFormatError(
            f"{name} was written in version {event.get('version')} of the format and this sparsae reads versions "
            f"{OLDEST} to {VERSION}; show it with the sparsae that wrote it."
        )


def _matches(value: Any, path: Sequence[str], check: Check) -> bool:
    """Whether the value at a path passes; a "?" after a name means that it may be missing."""
    if not path:
        return check(value)
    key, optional = path[0].removesuffix("?"), path[0].endswith("?")
    if not isinstance(value, dict):
        return False
    return _matches(value[key], path[1:], check) if key in value else optional


def _number(low: float, high: float) -> Check:
    return lambda value: isinstance(value, (int, float)) and not isinstance(value, bool) and low <= value <= high


def _integer(low: int, high: int) -> Check:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _none_or(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _one_of(values: Collection[str]) -> Check:
    return lambda value: isinstance(value, str) and value in values


def _list_of(check: Check, *, low: int = 0, high: int = 100) -> Check:
    return lambda value: isinstance(value, list) and low <= len(value) <= high and all(map(check, value))


def _dict_of(check: Check) -> Check:
    return lambda value: isinstance(value, dict) and all(map(check, value.values()))


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _name(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) < 200


def _boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _pool(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(_text(value.get(key)) for key in ("user_api", "internal_api", "library"))
        and all(_none_or(_text)(value.get(key, 0)) for key in ("version", "architecture"))
    )


def _plan(value: Any) -> bool:
    """Whether the fields of a plan are all there, no others, and each can be used; a missing unit is sigmoid."""
    if not (isinstance(value, dict) and value.keys() | _UNIT.keys() == _PLAN.keys()):
        return False
    plan = _UNIT | value
    topk = plan["activation"] == "topk"
    return (
        all(check(plan[name]) for name, check in _PLAN.items())
        and (plan["k"] is not None) == topk
        and plan["reference"] in plan["backends"]
    )


_COUNT = _integer(0, 10**9)
_SECONDS = _number(1e-12, 1e9)  # so that no ratio overflows
_AMOUNT = _number(0, 1e12)
_PLAN: dict[str, Check] = {
    "backends": _list_of(_name, low=1),
    "threads": _list_of(_integer(1, 10**6), low=1),
    "cases": _list_of(_one_of(CASES), low=1),
    "sizes": _list_of(_list_of(_integer(1, 10**12), low=3, high=3), low=1),
    "dtypes": _list_of(_one_of(set(DTYPES.values())), low=1),
    "reference": _name,
    "launches": _COUNT,
    "rounds": _COUNT,
    "batch": _number(0, 1e9),
    "preset": _one_of(PRESETS),
    "seed": _integer(-(2**63), 2**64),
    "timeout": _number(0, 1e12),
    "sessions": _COUNT,
    "activation": _one_of(ACTIVATIONS),
    "k": _none_or(_integer(1, 10**12)),
}
_UNIT: dict[str, Any] = {"activation": "sigmoid", "k": None}
_HEADER: dict[str, Check] = {
    "plan": _plan,
    "mode": _text,
    "started": _text,
    "machine.cpu": _text,
    "machine.machine": _text,
    "machine.system": _text,
    "machine.cores": _none_or(_COUNT),
    "machine.affinity_cpus": _COUNT,
    "machine.cgroup_quota": _none_or(_AMOUNT),
    "machine.caches": _dict_of(_text),
    "machine.variables": _dict_of(_text),
}
_PLACE: dict[str, Check] = {"launch": _COUNT, "workload": _text}
_CELL: dict[str, Check] = {**_PLACE, "cell": _text}
_FIELDS: dict[str, dict[str, Check]] = {
    "header": _HEADER,
    "launch": {**_PLACE, "busy.load": _none_or(_AMOUNT), "busy.steal": _none_or(_AMOUNT)},
    "worker": {
        **_CELL,
        "error": _number(0, 1e300),
        "threading?": _text,
        "variables": _dict_of(_text),
        "versions": _dict_of(_text),
        "pools_after_call": _list_of(_pool, high=1000),
    },
    "after": {**_CELL, "error": _number(0, 1e300)},
    "demand": {**_CELL, "cpus": _none_or(_AMOUNT), "used": _AMOUNT, "verdict": _one_of(("honoured", *STATES))},
    "loops": {**_CELL, "loops": _integer(1, 10**12)},
    "failure": {**_CELL, "state": _one_of(STATES), "why": _text},
    "sample": {
        **_CELL,
        "round": _COUNT,
        "position": _COUNT,
        "loops": _integer(1, 10**12),
        "wall": _SECONDS,
        "cpu": _AMOUNT,
        "delay": _none_or(_AMOUNT),
        "undisturbed": _boolean,
        "reason": _text,
        "rate?": _number(1, 1e18),
    },
    "end": {"finished": _text},
}
_PLACED = frozenset(kind for kind, fields in _FIELDS.items() if "workload" in fields)
_OF_A_CELL = frozenset(kind for kind, fields in _FIELDS.items() if "cell" in fields)
