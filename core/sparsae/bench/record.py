"""The record of a race: JSON lines, written while it runs, nothing deleted; and how it is read back."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, final

from sparsae.bench.race import FORMAT, VERSION
from sparsae.bench.settings import Settings
from sparsae.bench.standings import Group, standings
from sparsae.errors import FileAccessError, FileFormatError, FileMissingError, OutputExistsError, ParameterError
from sparsae.machine.facts import cpu_name

Event = dict[str, Any]
# Variables that say how long idle threads spin before they sleep.
WAIT_POLICY = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OPENBLAS_THREAD_TIMEOUT")


@final
@dataclass(frozen=True)
class Session:
    """One session of a race: its events, from the header on.

    Attributes
    ----------
    events : tuple of dict
    notes : tuple of str
        What is wrong with the record, such as that it ends in the middle.
    """

    events: tuple[Event, ...]
    notes: tuple[str, ...] = ()

    @property
    def header(self) -> Event:
        """The first event."""
        return self.events[0]

    @property
    def settings(self) -> Settings:
        """What was raced."""
        return Settings.from_dict(self.header["settings"])

    @property
    def complete(self) -> bool:
        """Whether the race ran to its end."""
        return self.events[-1].get("finished") == "complete"

    def groups(self) -> tuple[Group, ...]:
        """Return the standings."""
        return standings(self.events)


@final
class Recorder:
    """Keeps the events, and writes each to a file when it happens; a context manager.

    Parameters
    ----------
    path : path or None
        None: keep only.
    force : bool
        Whether a file that exists may be replaced.
    """

    def __init__(self, path: Path | None = None, *, force: bool = False) -> None:
        self.events: list[Event] = []
        self._file: IO[str] | None = None
        if path is None:
            return
        try:
            self._file = path.open("w" if force else "x", encoding="utf-8")
        except FileExistsError:
            raise OutputExistsError(f"{path} exists; give another name, or --force to replace it.") from None
        except OSError as error:
            raise FileAccessError(f"{path} cannot be written: {error.strerror}.") from None

    def __call__(self, event: Event) -> None:
        """Keep one event."""
        line = json.dumps(event, allow_nan=False)
        self.events.append(json.loads(line))  # what a reader of the file would see
        if self._file is not None:
            try:
                self._file.write(line + "\n")
                self._file.flush()  # what was measured is kept, whatever happens next
            except OSError as error:
                file, self._file = self._file, None
                with contextlib.suppress(OSError):
                    file.close()
                raise FileAccessError(f"{file.name} cannot be written: {error.strerror}.") from None

    def sessions(self) -> tuple[Session, ...]:
        """Return what was recorded."""
        return split(self.events)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()


def read(path: Path) -> tuple[Session, ...]:
    """Read the sessions of a record.

    A last line that was cut off, as by a full disk or a kill, is left out and said in the session's notes.

    Raises
    ------
    FileMissingError, FileAccessError
        When there is no such file or it cannot be read.
    FileFormatError
        When it is no record, is damaged, or was written by a version that this one cannot read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise FileMissingError(f"There is no file {path}.") from None
    except UnicodeDecodeError:
        raise FileFormatError(f"{path} is no record of a race: it is not text.") from None
    except OSError as error:
        raise FileAccessError(f"{path} cannot be read: {error.strerror}.") from None
    lines = text.splitlines()
    events: list[Event] = []
    notes: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            event = json.loads(line)
            if not isinstance(event, dict) or "kind" not in event:
                raise ValueError(line)
        except ValueError:
            if number == len(lines) and number > 1:
                notes.append(f"The file ends in the middle of line {number}; what stands before it is shown.")
                break
            raise FileFormatError(
                f"{path} is no record of a race, or damaged: line {number} is not an event."
            ) from None
        if number == 1:
            _check_header(path, event)
        events.append(event)
    if not events:
        raise FileFormatError(f"{path} is no record of a race: it is empty.")
    return split(events, notes)


def split(events: Iterable[Event], notes: Iterable[str] = ()) -> tuple[Session, ...]:
    """Cut events into sessions, at their headers; the notes go with the last one."""
    runs: list[list[Event]] = []
    for event in events:
        if event["kind"] == "header":
            runs.append([])
        runs[-1].append(event)
    sessions = []
    for number, run in enumerate(runs):
        said = list(notes) if number == len(runs) - 1 else []
        if run[-1]["kind"] != "end":
            said.append("The record has no end: the race was killed, or the file was cut.")
        elif run[-1]["finished"] != "complete":
            said.append("The race was interrupted; what was measured until then is shown.")
        sessions.append(Session(tuple(run), tuple(said)))
    return tuple(sessions)


def conditions(session: Session) -> dict[str, Any]:
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
        "dtype": ", ".join(session.settings.dtypes),
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


def check_baseline(baseline: Session, settings: Settings) -> None:
    """Refuse, before the race, a baseline that its result could not be compared with.

    Raises
    ------
    ParameterError
        When CPU or dtype differ; BLAS architecture and wait policy are seen when the workers run.
    """
    known = {"CPU": cpu_name(), "dtype": ", ".join(settings.dtypes)}
    old = conditions(baseline)
    check_comparable({name: old[name] for name in known}, known)


def _check_header(path: Path, event: Event) -> None:
    if event.get("kind") != "header" or event.get("format") != FORMAT:
        raise FileFormatError(f"{path} is no record of a race: it does not begin with the header of one.")
    if event.get("version") != VERSION:
        raise FileFormatError(
            f"{path} was written in version {event.get('version')} of the format and this sparsae reads version "
            f"{VERSION}; show it with the sparsae that wrote it."
        )
