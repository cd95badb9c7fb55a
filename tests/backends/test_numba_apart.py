"""numba's passes compiled in a second process at the same time."""

import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("numba")

from sparsae_backends.numba import apart, compilation, passes

FLOAT64 = np.dtype(np.float64)
FIT = (passes.to_panels, passes.pack, passes.encode, passes.accumulate)


def test_the_work_is_halved():
    """The longest pass stays here; the other process has the rest, which takes as long with its start."""
    assert apart.share(["to_panels", "pack", "encode", "accumulate"]) == (0, 1, 2)
    assert apart.share(["accumulate_wide", "accumulate_wide"]) == (0,)
    assert apart.share(["transpose", "pack", "round_weights", "encode_screened", "accumulate_topk"]) in {(4,), (0, 4)}


@pytest.mark.parametrize("names", [(), ("accumulate",), ("to_panels", "pack")])
def test_little_work_is_not_divided(names):
    """A process takes a second before it compiles."""
    assert apart.share(names) == ()


@pytest.mark.parametrize(
    ("cpus", "frozen", "executable", "can"),
    [
        (2, False, "/usr/bin/python3.11", True),
        (2, False, r"python.exe", True),
        (1, False, "/usr/bin/python3.11", False),
        (2, True, "/opt/program/python", False),
        (2, False, "/usr/bin/blender", False),
        (2, False, "", False),
        (2, False, None, False),
    ],
)
def test_a_second_process_needs_a_second_cpu_and_python(monkeypatch, cpus, frozen, executable, can):
    """A program that has Python inside would start itself once more."""
    monkeypatch.setattr(apart, "cpu_budget", lambda: SimpleNamespace(granted=cpus))
    monkeypatch.setattr(sys, "frozen", frozen, raising=False)
    monkeypatch.setattr(sys, "executable", executable)
    assert apart.can_start() == can


def test_what_another_process_compiles_is_remembered(tmp_path):
    """It is loaded from numba's cache here; a cache that is damaged counts as full, and loading finds that out."""
    script = (
        "import pathlib, sys, numpy\n"
        "from sparsae_backends.numba import apart, compilation, passes\n"
        "dtype = numpy.dtype('float64')\n"
        "signature = compilation.signature_of('pack', dtype, dtype)\n"
        "holds = lambda: passes.pack._cache.holds(signature)\n"
        "assert not holds()\n"
        "with apart.compiled_apart([(passes.pack, dtype)], dtype): assert not passes.pack.signatures\n"
        "assert holds() and not passes.pack.signatures\n"
        "compilation.compile_for((passes.pack,), dtype)\n"
        "assert sum(passes.pack.stats.cache_hits.values()) == 1\n"
        "for file in pathlib.Path(sys.argv[1]).rglob('*.nbi'): file.write_bytes(b'nothing')\n"
        "assert holds()\n"
    )
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path)]
    subprocess.run(command, check=True, env=dict(os.environ, NUMBA_CACHE_DIR=str(tmp_path)))


def test_without_a_process_everything_is_compiled_here(monkeypatch):
    """Where none can be started, as where memory is short."""

    def refuse(*_, **__):
        raise OSError

    monkeypatch.setattr(apart.subprocess, "Popen", refuse)
    entered = []
    with apart.compiled_apart([(passes.pack, FLOAT64)], FLOAT64):
        entered.append(True)
    assert entered


def test_the_other_process_ends_when_this_one_is_interrupted(monkeypatch):
    """Ctrl-C waits for nothing."""
    started = []

    class Watched(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            started.append(self)

    monkeypatch.setattr(apart.subprocess, "Popen", Watched)
    monkeypatch.setattr(apart, "SCRIPT", "import time; time.sleep(30)")
    with pytest.raises(KeyboardInterrupt), apart.compiled_apart([(passes.pack, FLOAT64)], FLOAT64):
        raise KeyboardInterrupt
    assert [process.returncode != 0 for process in started] == [True]


@pytest.mark.parametrize(("cpus", "expected"), [(2, {"to_panels", "pack", "encode"}), (1, set())])
def test_a_fit_has_half_of_its_passes_compiled_apart(monkeypatch, cpus, expected):
    """Where nothing is remembered; the fit's passes are there in either case."""
    given = []

    def record(wanted, dtype):
        given.append({function.py_func.__name__ for function, _ in wanted})
        return real(wanted[:0], dtype)

    real = apart.compiled_apart
    monkeypatch.setattr(apart, "cpu_budget", lambda: SimpleNamespace(granted=cpus))
    monkeypatch.setattr(compilation, "compiled_apart", record)
    monkeypatch.setattr(compilation, "_is_remembered", lambda *_: False)
    monkeypatch.setattr(compilation, "_READY", set())
    compilation.compile_for(FIT, FLOAT64)
    assert given == [expected]
    assert all(compilation.signature_of(f.py_func.__name__, FLOAT64, FLOAT64) in f.signatures for f in FIT)
