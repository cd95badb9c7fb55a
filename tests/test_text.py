"""Text from outside is made safe to print."""

from __future__ import annotations

import pytest

from sparsae._text import printable


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain text, Grüße, 日本", "plain text, Grüße, 日本"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;a new title\x07kept", "kept"),
        ("\x1b]0;a new title\x1b\\kept", "kept"),
        ("\x9b2Jcleared", "cleared"),
        ("\x1bcreset", "reset"),
        ("unfinished \x1b[3", "unfinished"),
        ("two\nlines\r\tand a tab", "two lines  and a tab"),
        ("bell\x07 null\x00 delete\x7f", "bell null delete"),
        ("a\u202egnp.exe", "agnp.exe"),
        ("name\udcff.npy", "name\N{REPLACEMENT CHARACTER}.npy"),
        ("[/x] [bold]markup stays[/bold]", "[/x] [bold]markup stays[/bold]"),
        (ValueError("a\x1b[2Jb"), "ab"),
    ],
)
def test_nothing_is_left_that_a_terminal_obeys(given: object, shown: str) -> None:
    """Escape sequences and control characters go, words stay, and the result is one line that can be encoded."""
    assert printable(given) == shown
    assert printable(given).isprintable()
    printable(given).encode()
