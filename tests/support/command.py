"""Run the command in this process, and say how it ended."""

from __future__ import annotations

from typing import NamedTuple

import pytest

from sparsae.cli import main


class Ended(NamedTuple):
    """Exit code, standard output, standard error."""

    code: int
    out: str
    err: str


def run_here(capsys: pytest.CaptureFixture[str], *words: object) -> Ended:
    """Run the command with these words."""
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    out, err = capsys.readouterr()
    return Ended(int(ended.value.code or 0), out, err)
