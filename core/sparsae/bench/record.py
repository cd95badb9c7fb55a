"""The record of a race: JSON lines, written while it runs, nothing deleted; and how it is read back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from io import BufferedWriter, TextIOWrapper
from pathlib import Path
from typing import IO, Any, Self, final

from sparsae.bench.plan import RacePlan
from sparsae.bench.schema import check_events
from sparsae.bench.standings import Standings, compute_standings
from sparsae.errors import FileAccessError, FileFormatError, ParameterError
from sparsae.files import atomic_write_text, check_readable, check_writable, resolve_output, stream_number
from sparsae.files.opening import duplicate
from sparsae.machine.facts import cpu_name

Event = dict[str, Any]
LARGEST = 1 << 28  # bytes of a record; a race of a day writes a tenth of that
# Variables that say how long idle threads spin before they sleep.
WAIT_POLICY = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OPENBLAS_THREAD_TIMEOUT")


@final
@dataclass(frozen=True)
class RaceSession:
    """One session of a race: its events, from the header on."""

    events: tuple[Event, ...]
    notes: tuple[str, ...] = ()  # faults of the record, such as an end in the middle of a line

    @property
    def header(self) -> Event:
        """The first event."""
        return self.events[0]

    @property
    def plan(self) -> RacePlan:
        """What was raced."""
        return RacePlan.from_dict(self.header["plan"])

    @property
    def complete(self) -> bool:
        """Whether the race ran to its end."""
        return self.events[-1].get("finished") == "complete"

    def standings(self) -> tuple[Standings, ...]:
        """Rank the cells of each workload at each number of threads."""
        return compute_standings(self.events)


@final
class RaceRecorder:
    """Keeps the events, and writes each to a file when it happens; a context manager.

    A record that exists is kept until something was measured: with the first sample the new one takes its place, whole,
    and grows from there.  Without a sample the old record stays.

    Parameters
    ----------
    path : path or None
        None: keep only.
    force : bool
        Whether a file that exists may be replaced.
    """

    def __init__(self, path: Path | None = None, *, force: bool = False) -> None:
        self.events: list[Event] = []
        self._closed = False
        self._path, self._file = path, None if path is None else self._open(path, force=force)

    def __call__(self, event: Event) -> None:
        """Keep one event."""
        line = json.dumps(event, allow_nan=False) + "\n"
        self.events.append(json.loads(line))  # what a reader of the file would see
        if self._path is None or self._closed:
            return
        try:
            if self._file is not None:
                self._file.write(line)
                self._file.flush()  # what was measured is kept, whatever happens next
            elif event["kind"] == "sample":
                atomic_write_text(self._path, "".join(json.dumps(one) + "\n" for one in self.events))
                self._file = resolve_output(self._path).open("a", encoding="utf-8")
        except OSError as error:
            self._close()
            raise FileAccessError(f"Cannot write {self._path}: {error.strerror}.") from None

    def sessions(self) -> tuple[RaceSession, ...]:
        """Return what was recorded."""
        return split_sessions(self.events)

    @staticmethod
    def _open(path: Path, *, force: bool) -> IO[str] | None:
        """Open a file that is new, or a stream; None where there is an old record."""
        check_writable(path, force=force)
        try:
            number = stream_number(path)
            if number is not None:
                return TextIOWrapper(BufferedWriter(duplicate(number, "w")), encoding="utf-8")
            target = resolve_output(path)
            return None if target.is_file() else target.open("w", encoding="utf-8")
        except OSError as error:
            raise FileAccessError(f"Cannot write {path}: {error.strerror}.") from None

    def _close(self) -> None:
        """Write no more."""
        self._closed = True
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()


def read_record(path: Path) -> tuple[RaceSession, ...]:
    """Read the sessions of a record.

    A last line that was cut off, as by a full disk or a kill, is left out; the session's notes say so.

    Raises
    ------
    FileMissingError, FileAccessError
        When there is no such file, or it is no regular file or cannot be read.
    FileFormatError
        When it is no record, is damaged or too large, or was written by a version that this one cannot read.
    """
    lines = _read_text(path).split("\n")
    if lines[-1] == "":
        lines.pop()
    events: list[Event] = []
    notes: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line, parse_constant=_refuse_constant)
            if not isinstance(event, dict) or not isinstance(event.get("kind"), str):
                raise ValueError(line)
        except (ValueError, RecursionError):
            if number == len(lines) and number > 1:
                notes.append(f"The file ends in the middle of line {number}; the lines before it are shown.")
                break
            raise FileFormatError(
                f"{path} is no record of a race, or damaged: line {number} is not an event."
            ) from None
        events.append(event)
    if not events:
        raise FileFormatError(f"{path} is no record of a race: it is empty.")
    check_events(path, events)
    return split_sessions(events, notes)


def split_sessions(events: Iterable[Event], notes: Iterable[str] = ()) -> tuple[RaceSession, ...]:
    """Cut events into sessions, at their headers; the notes go with the last one."""
    runs: list[list[Event]] = []
    for event in events:
        if event["kind"] == "header":
            runs.append([])
        runs[-1].append(event)
    sessions = []
    for number, run in enumerate(runs):
        remarks = list(notes) if number == len(runs) - 1 else []
        if run[-1]["kind"] != "end":
            remarks.append("The record has no end: the race was killed, or the file was cut.")
        elif run[-1]["finished"] != "complete":
            remarks.append("The race was interrupted; what was measured until then is shown.")
        sessions.append(RaceSession(tuple(run), tuple(remarks)))
    return tuple(sessions)


def conditions(session: RaceSession) -> dict[str, Any]:
    """Return what has to be the same for two sessions to be compared."""
    machine = session.header["machine"]
    workers = [event for event in session.events if event["kind"] == "worker"]
    pools = {
        f"{pool['internal_api']} {pool['architecture']}"
        for worker in workers
        for pool in worker["pools_after_call"]
        if pool["user_api"] == "blas"
    }
    policies = {
        f"{name}={worker['variables'][name]}"
        for worker in workers
        for name in WAIT_POLICY
        if name in worker["variables"]
    }
    return {
        "CPU": machine["cpu"],
        "BLAS architecture": ", ".join(sorted(pools)),
        "dtype": ", ".join(session.plan.dtypes),
        "hidden unit": session.plan.unit,
        "wait policy": ", ".join(sorted(policies)) or "default",
    }


def check_comparable(a: Mapping[str, Any], b: Mapping[str, Any]) -> None:
    """Refuse two sessions that were measured under different conditions.

    Raises
    ------
    ParameterError
        With the facts that differ.
    """
    differ = [f"{name} is {a[name]!r} in one and {b[name]!r} in the other" for name in a if a[name] != b[name]]
    if differ:
        raise ParameterError(f"These sessions cannot be compared: {'; '.join(differ)}.")


def check_baseline(baseline: RaceSession, plan: RacePlan) -> None:
    """Refuse, before the race, a baseline that its result could not be compared with.

    Raises
    ------
    ParameterError
        When CPU, dtype or hidden unit differ; BLAS architecture and wait policy are known only when the processes run.
    """
    known = {"CPU": cpu_name(), "dtype": ", ".join(plan.dtypes), "hidden unit": plan.unit}
    old = conditions(baseline)
    check_comparable({name: old[name] for name in known}, known)


def _read_text(path: Path) -> str:
    """Read a regular file of limited size; anything else could block or never end."""
    check_readable(path, what="record of a race")
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise FileAccessError(f"{path} cannot be read: {error.strerror}.") from None
    if len(data) > LARGEST:
        raise FileFormatError(f"{path} is no record of a race: it is larger than {LARGEST >> 20} MB.")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise FileFormatError(f"{path} is no record of a race: it is not text.") from None


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number in JSON")
