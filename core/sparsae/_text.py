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
# What torch, scikit-learn, SAELens and others call the options of this library.
_ELSEWHERE = {
    "batch_size": "batch_rows",
    "components": "n_hidden",
    "d_sae": "n_hidden",
    "device": "backend",
    "epochs": "max_iter",
    "hidden": "n_hidden",
    "hidden_size": "n_hidden",
    "jobs": "threads",
    "l1_coefficient": "l1",
    "lr": "learning_rate",
    "max_epochs": "max_iter",
    "n_components": "n_hidden",
    "n_epochs": "max_iter",
    "n_jobs": "threads",
    "n_threads": "threads",
    "num_epochs": "max_iter",
    "num_threads": "threads",
    "optimizer": "method",
    "out_dir": "out",
    "output_file": "out",
    "random_state": "seed",
    "solver": "method",
    "tol": "gradient_tolerance",
    "verbose": "progress",
    "workers": "threads",
}
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
    near = nearest(str(name), known)
    return f"; did you mean {near!r}?" if near else "."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that means what this one means in other libraries, else the one most like it, if any."""
    from difflib import get_close_matches

    names = {_as_keyword(word): word for word in known}
    meant = _ELSEWHERE.get(_as_keyword(name))
    near = [meant] if meant in names else get_close_matches(_as_keyword(name), list(names), n=1)
    return names[near[0]] if near else None


def _as_keyword(word: str) -> str:
    return word.lstrip("-").replace("-", "_")


def listed(words: Sequence[str]) -> str:
    """Return the first words of a list for a message, and how many more there are."""
    rest = len(words) - LISTED
    return ", ".join(words[:LISTED]) + (f" and {rest:,} more" if rest > 0 else "")
