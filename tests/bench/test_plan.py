"""Plans of races: CPUs, variables, names, and what cannot be raced."""

from __future__ import annotations

import json
import os

import pytest

from sparsae.bench import process as process_module
from sparsae.bench.plan import PEAK, RacePlan
from sparsae.bench.process import choose_cpus, thread_environment
from sparsae.bench.workload import SIZES
from sparsae.cli.bench import bench
from sparsae.errors import BackendNotFoundError, ParameterError


def test_cpus_are_the_same_for_all_and_exactly_as_many_as_threads():
    """T threads get T CPUs of ours, always the same ones."""
    mine = os.sched_getaffinity(0)
    for threads in range(1, len(mine) + 1):
        assert len(choose_cpus(threads)) == threads
        assert set(choose_cpus(threads)) <= mine
        assert choose_cpus(threads) == choose_cpus(threads)


def test_one_cpu_only(monkeypatch):
    """On one CPU a race of one thread is planned by default, and two threads are refused with the reason."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0})
    assert RacePlan.checked(backends=["dot"]).threads == (1,)
    with pytest.raises(ParameterError, match=r"threads=2 cannot be raced fairly.*this process may use 1"):
        RacePlan.checked(backends=["dot"], threads=[2])


def test_no_affinity_is_no_crash(monkeypatch):
    """Where the system knows no affinity nothing is pinned."""
    monkeypatch.setattr(process_module, "affinity", list)
    assert choose_cpus(2) == []


def test_every_variable_is_set_before_a_library_loads():
    """The environment of a worker names its number of threads for every runtime."""
    changes = thread_environment(1)
    assert {changes[f"{name}_NUM_THREADS"] for name in ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMBA", "TBB")} == {"1"}
    assert "xla_cpu_multi_thread_eigen=false" in changes["XLA_FLAGS"]
    assert thread_environment(2)["OMP_NUM_THREADS"] == "2"


@pytest.mark.parametrize(
    ("choice", "error", "message"),
    [
        ({"backends": ["numpi"]}, BackendNotFoundError, "did you mean 'numpy'"),
        ({"cases": ["forward"]}, ParameterError, "No case 'forward'; choose from backprop, objective, train"),
        ({"dtypes": ["f2"]}, ParameterError, "No dtype 'f2'; choose from f8, f4"),
        ({"sizes": ["10x20"]}, ParameterError, "SAMPLESxINPUTSxHIDDEN such as 10000x64x25"),
        ({"sizes": ["0x2x2"]}, ParameterError, "cannot be read"),
        ({"preset": "slow"}, ParameterError, "No preset 'slow'; choose from quick, default, publish"),
        ({"backends": ["dot"], "reference": "numpy"}, ParameterError, "'numpy' does not race; choose from dot"),
        ({"rounds": 0}, ParameterError, "rounds must be an integer of at least 1, not 0"),
        ({"launches": -1}, ParameterError, "launches must be an integer of at least 1, not -1"),
    ],
)
def test_what_cannot_be_raced_is_refused_with_the_choices(choice, error, message):
    """Unknown backends, cases, dtypes, sizes and presets are refused before anything starts."""
    with pytest.raises(error, match=message):
        RacePlan.checked(**choice)


def test_wide_layers_have_names_and_stand_in_the_help():
    """784 inputs with 1,024 hidden units, and 768 with 4,096."""
    plan = RacePlan.checked(backends=["dot"], sizes=["wide", "language"])
    assert plan.sizes == ((10_000, 784, 1024), (4_096, 768, 4096))
    (option,) = [one for one in bench.params if one.name == "sizes"]
    assert all(name in option.help for name in SIZES)


def test_a_name_given_twice_races_against_itself():
    """The A/A race: the second copy has a label of its own."""
    labels = [cell.label for cell in RacePlan.checked(backends=["dot", "dot"], threads=[1]).cells()]
    assert labels == ["dot", "dot#2", "dot'", PEAK]


def test_settings_survive_the_record():
    """What was asked for comes back from JSON as it was."""
    plan = RacePlan.checked(backends=["dot", "numpy"], sizes=["mnist", "5x4x3"], cases=["train"], dtypes=["f4", "f8"])
    assert RacePlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_useful_work_is_the_same_for_everyone():
    """6mnp flop for backprop and 10mnp for the objective."""
    workloads = RacePlan.checked(backends=["dot"], cases=["backprop", "objective"], sizes=["10x3x2"]).workloads()
    assert [workload.flop for workload in workloads] == [360.0, 600.0]
