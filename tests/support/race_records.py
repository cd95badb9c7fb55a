"""Records of races that were never run, and the command that shows them."""

from __future__ import annotations

import contextlib
import io
import subprocess

import pytest
from tests.support import simulated

from sparsae.bench.record import RaceSession
from sparsae.cli import main


def made(times=simulated.TIMES, **kinds):
    """A session; see `simulated.session`."""
    return RaceSession(tuple(simulated.session(times, **kinds)))


def command(*args):
    """Run `sparsae bench` in this process."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        main(["bench", *map(str, args)])
    return subprocess.CompletedProcess(args, int(ended.value.code or 0), out.getvalue(), err.getvalue())
