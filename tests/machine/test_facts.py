"""Machine facts: what Linux tells, and that nothing breaks where a system tells nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from sparsae.machine import facts as machine
from sparsae.machine import resources

CPUINFO = "processor : 0\nmodel name\t: Example 9000\nflags\t\t: fpu avx2 avx512f\n\nprocessor : 1\nflags : other\n"
STAT = "cpu  0 0 0 0 0 0 0 0 0 0\ncpu0 {0} 0 0 {1} 0 0 0 {2} 0 0\ncpu1 {3} 0 0 {4} 0 0 0 0 0 0\nintr 5\n"


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in place of /proc and /sys."""
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(machine, "STAT", tmp_path / "stat")
    monkeypatch.setattr(machine, "CACHES", tmp_path / "cache")
    return tmp_path


def test_this_machine_is_described_in_json() -> None:
    """On the machine that runs the tests every fact is a value that JSON can take."""
    facts = json.loads(json.dumps(machine.machine_facts()))
    assert facts["cores"] >= facts["affinity_cpus"] >= 1
    assert facts["cpu"]


def test_without_proc_everything_is_unknown_and_nothing_fails(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc, no /sys, no affinity and no load average: empty or None."""
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.delattr(os, "getloadavg")
    facts = machine.machine_facts()
    assert (facts["flags"], facts["caches"], facts["affinity"]) == ([], {}, [])
    assert machine.steal_and_load(0) == machine.Busy(None, None, None)


def test_flags_and_name_come_from_the_first_cpu(files: Path) -> None:
    """x86 says "flags"; ARM says "Features"."""
    machine.CPUINFO.write_text(CPUINFO)
    assert machine.cpu_name() == "Example 9000"
    assert machine.cpu_flags() == {"fpu", "avx2", "avx512f"}
    machine.CPUINFO.write_text("Features : fp asimd sve\n")
    assert machine.cpu_flags() == {"fp", "asimd", "sve"}


def test_caches_are_named_by_level_and_kind(files: Path) -> None:
    """A unified cache has no kind in its name."""
    for index, (level, kind, size) in enumerate([("1", "Data", "48K"), ("2", "Unified", "2048K")]):
        folder = machine.CACHES / f"index{index}"
        folder.mkdir(parents=True)
        for name, text in (("level", level), ("type", kind), ("size", size)):
            (folder / name).write_text(text + "\n")
    assert machine.caches() == {"L1 Data": "48K", "L2": "2048K"}


def test_busyness_counts_our_cpus_only(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Used CPUs and the share of stolen time, over the CPUs of the affinity mask."""
    monkeypatch.setattr(machine, "affinity", lambda: [0, 1])
    machine.STAT.write_text(STAT.format(0, 0, 0, 0, 0))
    before = machine._ticks()
    machine.STAT.write_text(STAT.format(50, 40, 10, 100, 0))
    assert machine.busy_between(before, machine._ticks(), 1.5) == pytest.approx((1.5, 0.05, 1.5))
    monkeypatch.setattr(machine, "affinity", lambda: [0])
    assert machine.busy_between(before, machine._ticks(), None)[:2] == pytest.approx((0.5, 0.1))


def test_no_ticks_at_all_is_unknown() -> None:
    """A window so short that no tick passed tells nothing, not zero."""
    still = {0: [1] * 8}
    assert machine.busy_between(still, still, 2.0) == machine.Busy(None, None, 2.0)


def test_thread_variables_are_found_by_name_and_family() -> None:
    """Known names and whole families; nothing else of the environment."""
    given = {"OMP_PROC_BIND": "true", "OPENBLAS_CORETYPE": "Haswell", "NPROC": "1", "HOME": "/", "SPARSAE_THREADS": "2"}
    assert machine.thread_variables(given) == {k: v for k, v in sorted(given.items()) if k != "HOME"}


@pytest.mark.parametrize(
    ("level", "size", "found"),
    [("2", "512K", 1 << 19), ("2", "2M", 1 << 21), ("2", "?", 1 << 20), ("1", "48K", 1 << 20)],
)
def test_the_second_level_cache_has_the_size_that_is_told_or_one_mebibyte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str, size: str, found: int
) -> None:
    """Linux says it in K or M; where it says nothing of use a size is assumed."""
    monkeypatch.setattr(resources, "CPU0_CACHE", tmp_path)
    assert resources.l2_bytes.__wrapped__() == resources.ASSUMED_L2 == 1 << 20
    folder = tmp_path / "index2"
    folder.mkdir()
    (folder / "level").write_text(f"{level}\n")
    (folder / "size").write_text(f"{size}\n")
    assert resources.l2_bytes.__wrapped__() == found
