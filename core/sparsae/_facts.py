"""Names and values as text and as HTML: what `repr` and notebooks show of models, results and receipts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from sparsae._text import printable

_CELL = 'style="text-align: left; vertical-align: top"'


def facts_text(title: str, facts: Mapping[str, object]) -> str:
    """Return a title, and below it names and values in two columns."""
    width = max((len(name) for name in facts), default=0)
    lines = [f"  {name:<{width}}  {printable(value)}".rstrip() for name, value in facts.items()]
    return "\n".join([printable(title), *lines])


def facts_html(title: str, facts: Mapping[str, object], *, below: str = "") -> str:
    """Return a table of names and values with a title; `below`, which is HTML, stands under it."""
    rows = "".join(
        f"<tr><th {_CELL}>{escaped(name.strip())}</th><td {_CELL}>{escaped(value)}</td></tr>"
        for name, value in facts.items()
    )
    return f"<div><strong>{escaped(title)}</strong><table>{rows}</table>{below}</div>"


def table_html(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return a table with headings."""
    head = "".join(f"<th>{escaped(heading)}</th>" for heading in headings)
    body = "".join("<tr>" + "".join(f"<td>{escaped(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def details_html(summary: str, content: str) -> str:
    """Return content, which is HTML, that is folded away below a summary."""
    return f"<details><summary>{escaped(summary)}</summary>{content}</details>"


def escaped(value: object) -> str:
    """Return ``str(value)`` as text that neither a browser nor a terminal interprets."""
    return escape(printable(value))
