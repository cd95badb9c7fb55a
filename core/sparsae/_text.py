"""Text from outside (plugins, file names, records, other processes) made safe to print."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

# A whole terminal escape sequence: a string command such as a window title, a control sequence such as a colour,
# or ESC and one character.
_ESCAPES = re.compile(
    r"(?:\x1b[P\]X^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]?"
    r"|\x1b[ -/]*[0-~]?"
)
LISTED = 5  # words of a list in a message, at most
_BIDI = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # reorder what is shown


def printable(text: object) -> str:
    """Return ``str(text)`` on one line, without anything that a terminal, a log or a page would obey.

    Escape sequences, control characters and characters that change the direction of text are removed; line breaks and
    tabs become spaces; what cannot be encoded becomes U+FFFD.  Markup is not touched: print with ``markup=False``.
    """
    return "".join(map(_printable_character, _ESCAPES.sub("", str(text)))).strip()


def _printable_character(character: str) -> str:
    if character in "\t\n\v\f\r\x85\u2028\u2029":
        return " "
    kind = unicodedata.category(character)
    if kind == "Cs":  # half a surrogate pair, as in file names that are not UTF-8
        return "\N{REPLACEMENT CHARACTER}"
    return "" if kind == "Cc" or character in _BIDI else character


def plural(count: int, noun: str) -> str:
    """Return "1 thread" or "2 threads": the number with the noun in the right form."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def suggest(name: object, known: Iterable[str]) -> str:
    """Return "; did you mean 'train'?" for a name that is like a known one, else "."."""
    from difflib import get_close_matches

    near = get_close_matches(str(name), list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else "."


def listed(words: Sequence[str]) -> str:
    """Return the first words of a list for a message, and how many more there are."""
    rest = len(words) - LISTED
    return ", ".join(words[:LISTED]) + (f" and {rest:,} more" if rest > 0 else "")
