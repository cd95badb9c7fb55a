"""The race as one self-contained page from `page.html`: no script, no network, readable on a phone and in the dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from sparsae._facts import details_html, escaped
from sparsae.bench.record import RaceSession, conditions
from sparsae.bench.report.figures import data_uri, ratio_figure, scaling_figure, share_figure
from sparsae.bench.report.text import HEADINGS, remarks, row_cells, row_class, session_notes, summary
from sparsae.bench.scaling import scaling_series
from sparsae.bench.standings import Standings

_LEFT_ALIGNED = ("backend", "verdict")
_SAMPLE_COLUMNS = "race, launch, round, position, cell, calls, wall [s], CPU [s], waited for a CPU [s], kept"


def make_page(sessions: Sequence[RaceSession]) -> str:
    """Return the page: standings and figures of every session, facts and samples."""
    template = Template(files("sparsae.bench.report").joinpath("page.html").read_text(encoding="utf-8"))
    parts = [_session(session, number, len(sessions)) for number, session in enumerate(sessions, start=1)]
    return template.substitute(sessions="\n".join(parts))


def describe_conditions(session: RaceSession) -> dict[str, str]:
    """Return what the result depends on, in words."""
    machine = session.header["machine"]
    launches = [event["busy"] for event in session.events if event["kind"] == "launch"]
    workers = [event for event in session.events if event["kind"] == "worker"]
    pools: dict[str, None] = {}
    versions: dict[str, str] = {}
    for worker in workers:
        versions |= worker["versions"]
        for pool in worker["pools_after_call"]:
            kernels = f", {pool['architecture']} kernels" if pool["architecture"] else ""
            pools[f"{pool['internal_api']} {pool['version'] or ''}{kernels} ({pool['library']})"] = None
    return {
        "CPU": f"{machine['cpu']} ({machine['machine']})",
        "CPUs": f"{machine['cores']}, usable {machine['affinity_cpus']}, quota {machine['cgroup_quota'] or 'none'}",
        "Caches": _pairs(machine["caches"], " "),
        "System": machine["system"],
        "Pools": "; ".join(pools),
        "Conditions": "; ".join(f"{name}: {value}" for name, value in conditions(session).items()),
        "Versions": _pairs(versions, " "),
        "Variables set outside": _pairs(machine["variables"], "=") or "none",
        "Variables of the processes": _pairs(workers[0]["variables"], "=") if workers else "none",
        "Load and steal at each launch": "; ".join(
            f"{_two_digits(busy['load'])} and {_two_digits(busy['steal'])}" for busy in launches
        ),
        "Mode": session.header["mode"],
    }


def _session(session: RaceSession, number: int, count: int) -> str:
    plan, tables = session.plan, session.standings()
    title = f"<h2>Session {number} of {count}</h2>" if count > 1 else ""
    what = f"{plan.launches} launches of {plan.rounds} rounds, seed {plan.seed}, {session.header['started']}"
    notes = "".join(f"<p class='soft'>{escaped(note)}</p>" for note in session_notes(plan, session.notes))
    series = scaling_series(tables)
    scaling = ""
    if series:
        image = _image(scaling_figure(series), "Time per row and share of peak, by size and threads")
        scaling = f"<h2>Scaling</h2><div class='wide'>{image}</div>"
    return (
        f"{title}<p class='soft'>{escaped(what)}</p>{notes}{''.join(map(_table, tables))}{scaling}"
        f"<h2>The machine</h2>{_definitions(describe_conditions(session))}{_samples(session)}"
    )


def _table(table: Standings) -> str:
    heads = "".join(f"<th{_alignment(name)}>{escaped(name)}</th>" for name in HEADINGS)
    lines = []
    for row in table.rows:
        cells = zip(HEADINGS, row_cells(row), strict=True)
        values = "".join(f"<td{_alignment(name)}>{escaped(value)}</td>" for name, value in cells)
        lines.append(f"<tr class='{row_class(row)}'>{values}</tr>")
    lower = "".join(f"<p class='bad'>{escaped(line)}</p>" for line in remarks(table))
    images = ""
    if any(row.effect for row in table.rows):
        images += _image(ratio_figure([table]), f"Ratios to {table.reference} with their intervals")
    if (shares := share_figure(table)) is not None:
        images += _image(shares, "Share of the peak product")
    return (
        f"<h2>{escaped(summary(table))}</h2><div class='wide'><table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>{lower}{images}"
    )


def _samples(session: RaceSession) -> str:
    """Return every sample in a fold, with the reason where one was left out."""
    lines = [_SAMPLE_COLUMNS]
    for event in session.events:
        if event["kind"] == "sample":
            delay = "unknown" if event["delay"] is None else f"{event['delay']:.6f}"
            kept = "yes" if event["undisturbed"] else f"no: {event['reason']}"
            lines.append(
                escaped(
                    f"{event['workload']}, {event['launch']}, {event['round']}, {event['position']}, {event['cell']}, "
                    f"{event['loops']}, {event['wall']:.6f}, {event['cpu']:.6f}, {delay}, {kept}"
                )
            )
    return details_html(f"All {len(lines) - 1} samples", "<pre>{}</pre>".format("\n".join(lines)))


def _image(figure: Any, description: str) -> str:
    return f"<img src='{data_uri(figure)}' alt='{escaped(description)}'>"


def _definitions(facts: Mapping[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{escaped(name)}</dt><dd>{escaped(value)}</dd>' for name, value in facts.items())}</dl>"


def _pairs(values: Mapping[str, Any], between: str) -> str:
    return ", ".join(f"{name}{between}{value}" for name, value in values.items())


def _two_digits(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _alignment(name: str) -> str:
    return " class='word'" if name in _LEFT_ALIGNED else ""
