"""The race as one self-contained page: no script, no network, readable on a phone and in the dark."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from sparsae.bench.record import Session, conditions
from sparsae.bench.standings import Group
from sparsae.bench.svg import ratio_plot, scaling_plot, share_plot
from sparsae.bench.words import HEADINGS, cells, remarks, summary

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --soft: #5b6675; --line: #d8dde4; --band: #e9edf2;
  --good: #2457a6; --bad: #b3470f; --c0: #2457a6; --c1: #b3470f; --c2: #20733f; --c3: #7a3fa0; --c4: #8a6d00;
  --c5: #a01f52; --c6: #0b7285; --c7: #555f6b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --paper: #12161c; --soft: #9aa6b5; --line: #333c47;
  --band: #232b35; --good: #7fb0ff; --bad: #ff9d66; --c0: #7fb0ff; --c1: #ff9d66; --c2: #6fd08c; --c3: #d3a0f5;
  --c4: #e3c14d; --c5: #ff8db4; --c6: #63d3e6; --c7: #aab4c0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 62rem; font: 16px/1.5 system-ui, sans-serif; color: var(--ink);
  background: var(--paper); }
h1 { font-size: 1.5rem; margin: 0.5rem 0; } h2 { font-size: 1.15rem; margin: 2rem 0 0.4rem; }
a { color: var(--good); } .soft { color: var(--soft); } .bad { color: var(--bad); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: 0.3rem 0.7rem 0.3rem 0; text-align: right; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; } .word { text-align: left; }
tr.other td { color: var(--soft); } tr.bad td { color: var(--bad); }
svg { width: 100%; height: auto; max-width: 46rem; display: block; } svg text { fill: var(--ink); font-size: 13px; }
svg .soft { fill: var(--soft); }
@media (max-width: 40rem) { svg text { font-size: 17px; } }
dl { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: 0.2rem 1rem; font-size: 0.9rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
pre { overflow: auto; max-height: 24rem; font-size: 0.75rem; border: 1px solid var(--line); padding: 0.5rem; }
summary { cursor: pointer; }
"""
_FOOLED = (
    (
        "It is one machine. Another CPU, another BLAS, another size can turn the order round; the facts below are "
        "part of the result."
    ),
    (
        "Data is warm: every batch follows an untimed call. A program that calls once pays for cold caches and first "
        "touches that are not in these numbers."
    ),
    (
        "A tie means that no difference was shown at this length of race, not that there is none; the interval says "
        "how large one could still be."
    ),
    (
        "Intervals cover what varies from start to start on this machine today, not what a new kernel, another "
        "temperature or another neighbour would do."
    ),
    (
        "Samples are kept or left out for how long they waited for a CPU. What slows a CPU without making anyone wait "
        "(frequency, shared caches, a hypervisor that takes time away) stays in, and cancels only as far as it touches "
        "whole rounds."
    ),
    "A thread that ends within a batch takes its waiting time with it; such samples can look cleaner than they were.",
    (
        "The peak is what this BLAS does on a few products with the settings as they are. A variable that chooses slow "
        "kernels slows the peak too: the share stays high and the time is bad. The doctor looks for that."
    ),
    "Ratios compare like with like at the same CPUs. A backend that ignores its limit is shown and not ranked.",
)


def page(sessions: Sequence[Session]) -> str:
    """Return the page; the standings and pictures of every session, facts and samples."""
    body = [_session(session, number, len(sessions)) for number, session in enumerate(sessions, start=1)]
    items = "".join(f"<li>{escape(item)}</li>" for item in _FOOLED)
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta http-equiv='Content-Security-Policy' content=\"default-src 'none'; style-src 'unsafe-inline'; "
        "img-src data:\"><meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<link rel='icon' href='data:,'><title>sparsae: the fair race</title><style>{_STYLE}</style></head><body>"
        "<h1>The fair race</h1><p>Pinned processes, verified thread use, results checked before and after, turns in "
        "random order. <a href='#fooled'>How this can fool you</a></p>"
        f"{''.join(body)}<h2 id='fooled'>How this can fool you</h2><ul>{items}</ul></body></html>\n"
    )


def _session(session: Session, number: int, count: int) -> str:
    settings = session.settings
    groups = session.groups()
    title = f"<h2>Session {number} of {count}</h2>" if count > 1 else ""
    what = (
        f"{settings.launches} launches of {settings.rounds} rounds, seed {settings.seed}, {session.header['started']}"
    )
    notes = list(session.notes)
    if settings.preset == "quick":
        notes.append("A quick race is for a first look, not for publication.")
    said = "".join(f"<p class='bad'>{escape(note)}</p>" for note in notes)
    scaling = scaling_plot(groups)
    if scaling:
        scaling = f"<h2>Scaling</h2><p class='soft'>Time of a row of data.</p><div class='wide'>{scaling}</div>"
    return (
        f"{title}<p class='soft'>{escape(what)}</p>{said}{''.join(map(_group, groups))}{scaling}"
        f"<h2>The machine</h2>{_facts(machine_facts(session))}{_samples(session)}"
    )


def _group(group: Group) -> str:
    heads = "".join(f"<th{_word(name)}>{escape(name)}</th>" for name in HEADINGS)
    lines = []
    for row in group.rows:
        kind = "bad" if row.state != "ok" else "" if row.kind == "backend" else "other"
        values = zip(HEADINGS, cells(row), strict=True)
        lines.append(
            f"<tr class='{kind}'>{''.join(f'<td{_word(name)}>{escape(value)}</td>' for name, value in values)}</tr>"
        )
    said = "".join(f"<p class='bad'>{escape(line)}</p>" for line in remarks(group))
    return (
        f"<h2>{escape(summary(group))}</h2><div class='wide'><table><thead><tr>{heads}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>{said}{ratio_plot(group)}{share_plot(group)}"
    )


def machine_facts(session: Session) -> dict[str, str]:
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
        "Caches": ", ".join(f"{name} {size}" for name, size in machine["caches"].items()),
        "System": machine["system"],
        "Pools": "; ".join(pools),
        "Conditions": "; ".join(f"{name}: {value}" for name, value in conditions(session).items()),
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "Variables set outside": _pairs(machine["variables"]) or "none",
        "Variables of the workers": _pairs(workers[0]["variables"]) if workers else "none",
        "Load and steal at each launch": "; ".join(
            f"{_round(busy['load'])} and {_round(busy['steal'])}" for busy in launches
        ),
        "Mode": session.header["mode"],
    }


def _facts(facts: Mapping[str, str]) -> str:
    return f"<dl>{''.join(f'<dt>{escape(name)}</dt><dd>{escape(value)}</dd>' for name, value in facts.items())}</dl>"


def _samples(session: Session) -> str:
    """Every sample behind a fold, those that were left out with the reason."""
    lines = ["race, launch, round, position, cell, calls, wall [s], CPU [s], waited for a CPU [s], kept"]
    for event in session.events:
        if event["kind"] == "sample":
            delay = "unknown" if event["delay"] is None else f"{event['delay']:.6f}"
            kept = "yes" if event["clean"] else f"no: {event['reason']}"
            lines.append(
                f"{event['heat']}, {event['launch']}, {event['round']}, {event['position']}, {event['cell']}, "
                f"{event['loops']}, {event['wall']:.6f}, {event['cpu']:.6f}, {delay}, {kept}"
            )
    return f"<details><summary>All {len(lines) - 1} samples</summary><pre>{escape(chr(10).join(lines))}</pre></details>"


def _pairs(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in values.items())


def _round(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.2f}"


def _word(name: str) -> str:
    return " class='word'" if name in _WORDS else ""


_WORDS: Iterable[str] = ("backend", "verdict")
