"""The doctor before machines that we do not have: what it would measure, what it says, when it fails."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sparsae.bench.statistics import PairedRatio
from sparsae.doctor import Diagnosis, Facts, Finding, diagnose
from sparsae.doctor.experiments import Gain, propose_experiments
from sparsae.doctor.rules import find
from sparsae.errors import BackendBrokenError
from sparsae.machine.threads import CpuBudget
from sparsae.plugins.registry import BackendRecord

AVX512 = frozenset({"avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"})
AVX2 = frozenset({"avx2", "fma"})


def pool(api: str = "openblas", *, architecture: str | None = "SkylakeX", threads: int = 2, user: str = "blas") -> Any:
    return {
        "user_api": user,
        "internal_api": api,
        "prefix": f"lib{api}",
        "version": "1.2",
        "architecture": architecture,
        "threading_layer": "pthreads",
        "num_threads": threads,
        "library": f"lib{api}.so",
    }


def machine(**changes: Any) -> Facts:
    """A machine with nothing to complain about, and changes."""
    affinity, quota, limit = changes.pop("affinity", 2), changes.pop("quota", None), changes.pop("limit", 2)
    well: dict[str, Any] = {
        "cpu": "Example",
        "machine": "x86_64",
        "flags": AVX512,
        "cores": 2,
        "budget": CpuBudget(affinity, quota, limit),
        "pools": (pool(),),
        "others": 0.0,
        "steal": 0.0,
        "load": 0.1,
        "backends": (BackendRecord("dot", "sparsae", "1", bundled=True),),
    }
    return Facts(**(well | changes))


def gain(times: float, *, low: float | None = None, wins: int = 15, **more: Any) -> Gain:
    return Gain(ratios={"64/25": PairedRatio(times, times if low is None else low, times, 15, wins)}, **more)


def find_one(facts: Facts, gains: dict[str, Gain], key: str) -> Finding:
    (found,) = [finding for finding in find(facts, gains) if finding.key == key]
    return found


def test_a_machine_that_is_well_needs_no_experiment_and_no_finding() -> None:
    """No suspicion, nothing measured, nothing said, and the command succeeds."""
    facts = machine()
    assert propose_experiments(facts) == ()
    assert find(facts, {}) == ()
    assert diagnose(facts).costly == ()


def test_a_preset_core_is_measured_and_the_fix_is_a_line_to_type() -> None:
    """The trap that costs most: what is set, what it costs, which kernels it would be, and how to undo it."""
    facts = machine(environment={"OPENBLAS_CORETYPE": "Haswell"}, pools=(pool(architecture="Haswell"),))
    (experiment,) = propose_experiments(facts)
    assert experiment.change == {"OPENBLAS_CORETYPE": None}
    assert experiment.work == "products"
    found = find_one(facts, {"OPENBLAS_CORETYPE": gain(1.7, architectures=("SkylakeX",))}, "OPENBLAS_CORETYPE")
    assert (found.severity, found.cost, found.fix) == ("costs", 1.7, "unset OPENBLAS_CORETYPE")
    assert "Haswell kernels, and would use SkylakeX; the CPU has AVX-512" in found.what
    assert "1.70" in found.evidence


@pytest.mark.parametrize("measured", [gain(1.08), gain(1.5, low=0.6, wins=9), gain(0.7, wins=0)])
def test_a_small_or_uncertain_gain_is_only_a_note(measured: Gain) -> None:
    """At most 10 %, or not faster in four rounds of five, or slower: told, and no failure."""
    facts = machine(environment={"OPENBLAS_CORETYPE": "Haswell"})
    found = find_one(facts, {"OPENBLAS_CORETYPE": measured}, "OPENBLAS_CORETYPE")
    assert found.severity == "note"


def test_what_cannot_be_measured_is_a_warning_with_the_reason() -> None:
    """A child that died leaves a finding without a cost, not silence."""
    facts = machine(environment={"OPENBLAS_CORETYPE": "Nonsense"})
    found = find_one(facts, {"OPENBLAS_CORETYPE": Gain(ratios={}, failed="it died")}, "OPENBLAS_CORETYPE")
    assert (found.severity, found.cost) == ("warning", None)
    assert found.evidence == "could not be measured: it died"
    assert find_one(facts, {}, "OPENBLAS_CORETYPE").evidence == "not measured"


def test_narrow_kernels_that_nobody_asked_for_are_found() -> None:
    """AVX-512 present and 256-bit kernels chosen; AVX2 present and 128-bit kernels chosen."""
    facts = machine(pools=(pool(architecture="Haswell"),))
    (experiment,) = propose_experiments(facts)
    assert experiment.change == {"OPENBLAS_CORETYPE": "SkylakeX"}
    found = find_one(facts, {"core": gain(1.6)}, "core")
    assert (found.severity, found.fix) == ("costs", "export OPENBLAS_CORETYPE=SkylakeX")
    old = machine(flags=AVX2, pools=(pool(architecture="Nehalem"),))
    assert propose_experiments(old)[0].change == {"OPENBLAS_CORETYPE": "Haswell"}


@pytest.mark.parametrize(
    "facts",
    [
        machine(flags=AVX2, pools=(pool(architecture="Haswell"),)),
        machine(flags=frozenset(), pools=(pool(architecture="Haswell"),)),
        machine(pools=(pool("mkl", architecture=None),)),
        machine(machine="aarch64", flags=frozenset({"asimd"}), pools=(pool(architecture="armv8"),)),
    ],
)
def test_kernels_that_suit_the_cpu_or_are_unknown_raise_no_suspicion(facts: Facts) -> None:
    """AVX2 only, flags unknown (no /proc), MKL, ARM: nothing is claimed."""
    assert propose_experiments(facts) == ()
    assert find(facts, {}) == ()


def test_several_variables_are_measured_alone_and_together() -> None:
    """Two that are harmless alone can be dear together, and that is said."""
    environment = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "64"}
    facts = machine(environment=environment)
    assert [e.key for e in propose_experiments(facts)] == ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "all of them"]
    gains = {"OPENBLAS_CORETYPE": gain(1.0), "OPENBLAS_L2_SIZE": gain(1.0), "all of them": gain(1.4)}
    assert find_one(facts, gains, "all of them").fix == "unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE"
    gains["OPENBLAS_CORETYPE"] = gain(1.4)
    assert "all of them" not in {finding.key for finding in find(facts, gains)}


def test_without_measuring_several_variables_are_warnings() -> None:
    """`--no-measure` says what is set and claims no cost."""
    environment = {"OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "64", "OMP_NUM_THREADS": "1"}
    diagnosis = diagnose(machine(environment=environment, limit=1), measure=False)
    assert {f.key for f in diagnosis.findings} == {"OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "thread limit"}
    assert {(f.severity, f.cost, f.evidence) for f in diagnosis.findings} == {("warning", None, "not measured")}
    assert diagnosis.costly == ()


def test_other_libraries_and_python_itself_are_covered() -> None:
    """MKL's and BLIS's switches by products, NumPy's by element-wise work, the rest by a whole evaluation."""
    names = {"MKL_CBWR": "products", "BLIS_ARCH_TYPE": "products", "NPY_DISABLE_CPU_FEATURES": "powers"}
    names |= {"OMP_PROC_BIND": "objective", "PYTHONDEVMODE": "objective"}
    facts = machine(environment=dict.fromkeys(names, "x"), pools=(pool("mkl", architecture=None),))
    assert {e.key: e.work for e in propose_experiments(facts) if e.key != "all of them"} == names
    assert {f.key for f in find(facts, {})} == set(names)


def test_threads_held_back_by_a_variable() -> None:
    """The variable that did it is named and measured; one that did not is not blamed."""
    facts = machine(limit=1, environment={"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "2"})
    (experiment,) = propose_experiments(facts)
    assert (experiment.change, experiment.work) == ({"OMP_NUM_THREADS": None}, "objective")
    found = find_one(facts, {"thread limit": gain(1.8)}, "thread limit")
    assert (found.severity, found.fix) == ("costs", "unset OMP_NUM_THREADS")
    assert "limited to 1 of 2 CPUs by OMP_NUM_THREADS" in found.what


def test_threads_held_back_by_nobody_knows_whom() -> None:
    """A limit in force without a variable (a joblib worker, a library's own): a warning, not a guess."""
    found = find_one(machine(limit=1), {}, "thread limit")
    assert found.severity == "warning"
    assert "no known variable" in found.what


def test_a_quota_below_the_visible_cpus_crowds_the_pools() -> None:
    """64 visible CPUs, a quota of 1.5: the pools are too large for it, and the fix gives the number."""
    facts = machine(cores=64, affinity=64, quota=1.5, limit=64, pools=(pool(threads=64), pool("mkl", threads=64)))
    assert facts.available == 2
    assert facts.budget.granted == 2
    (experiment,) = propose_experiments(facts)
    assert experiment.work == "pool"
    assert experiment.change == {"MKL_NUM_THREADS": "2", "OPENBLAS_NUM_THREADS": "2"}
    found = find_one(facts, {"oversubscription": gain(20.0)}, "oversubscription")
    assert found.severity == "costs"
    assert found.fix == "export MKL_NUM_THREADS=2; export OPENBLAS_NUM_THREADS=2"
    assert "libopenblas.so (64), libmkl.so (64)" in found.what
    assert "1.5 CPUs of the 64" in find_one(facts, {}, "quota").what


@pytest.mark.parametrize(("wish", "why"), [("8", "wait for each other"), ("1", "idle")])
def test_a_wish_for_other_than_the_budget_is_measured(wish: str, why: str) -> None:
    """SPARSAE_THREADS above and below the CPUs that there are."""
    facts = machine(environment={"SPARSAE_THREADS": wish})
    assert [(e.key, e.work) for e in propose_experiments(facts)] == [("SPARSAE_THREADS", "objective")]
    found = find_one(facts, {"SPARSAE_THREADS": gain(1.3)}, "SPARSAE_THREADS")
    assert (found.severity, found.fix) == ("costs", "unset SPARSAE_THREADS")
    assert why in found.why
    assert propose_experiments(machine(environment={"SPARSAE_THREADS": "2"})) == ()


def test_fewer_cpus_than_the_machine_has_is_a_note() -> None:
    """Affinity is somebody's decision: told, never a cost."""
    assert find_one(machine(cores=16), {}, "affinity").severity == "note"


def test_two_openblas_pools_are_named() -> None:
    """NumPy's and SciPy's: a note that says what sparsae does about it."""
    found = find_one(machine(pools=(pool(), pool(), pool(user="openmp"))), {}, "two pools")
    assert "libopenblas.so 1.2 and libopenblas.so 1.2." in found.what


def test_no_pool_at_all_is_said() -> None:
    """Accelerate: nothing that can be limited from inside; a warning."""
    found = find_one(machine(pools=(), limit=None, flags=frozenset(), machine="arm64"), {}, "no pool")
    assert found.severity == "warning"
    assert "VECLIB_MAXIMUM_THREADS" in found.fix


@pytest.mark.parametrize(
    ("others", "affinity", "severity", "cost"),
    [(1.0, 2, "costs", 2.0), (0.1, 2, "note", 2 / 1.9), (1.0, 1, "costs", 20.0), (8.0, 2, "costs", 20.0)],
)
def test_a_busy_machine_costs_what_others_take(others: float, affinity: int, severity: str, cost: float) -> None:
    """Wanted CPUs over free CPUs, bounded; below 10 % it is a note."""
    found = find_one(machine(others=others, affinity=affinity, limit=affinity, cores=affinity), {}, "busy")
    assert (found.severity, found.cost) == (severity, pytest.approx(cost))
    assert found.evidence.startswith("estimated")


def test_stolen_time_is_found() -> None:
    """Steal of a fifth costs a quarter."""
    found = find_one(machine(steal=0.2), {}, "steal")
    assert (found.severity, found.cost) == ("costs", pytest.approx(1.25))
    assert "20.0%" in found.what


def test_busyness_that_cannot_be_read_is_said() -> None:
    """No /proc: the load average where there is one, and no claim."""
    found = find_one(machine(others=None, steal=None, load=3.0), {}, "busy")
    assert (found.severity, found.cost) == ("note", None)
    assert "load average is 3.0" in found.what
    assert "load" not in find_one(machine(others=None, steal=None, load=None), {}, "busy").what


def test_plugin_states_are_told() -> None:
    """Broken: a warning with the cause; not installed: the line that installs it; disabled: a note; ready: nothing."""
    backends = (
        BackendRecord("dot", "sparsae", "1", bundled=True),
        BackendRecord(
            "bad", "bad-dist", "0.3", state="broken", error=BackendBrokenError("It is broken: no such thing.")
        ),
        BackendRecord("jax", "sparsae", "1", state="not installed", install="pip install 'sparsae[jax]'"),
        BackendRecord("off", "other", "2", state="disabled"),
    )
    facts = machine(backends=backends)
    bad = find_one(facts, {}, "backend bad")
    assert bad.severity == "warning"
    assert bad.what == "It is broken: no such thing."
    assert find_one(facts, {}, "backend jax").fix == "pip install 'sparsae[jax]'"
    off = find_one(facts, {}, "backend off")
    assert (off.severity, off.what) == ("note", "Backend 'off' is disabled.")
    assert "backend dot" not in {finding.key for finding in find(facts, {})}


def test_dear_things_come_first() -> None:
    """Costs by size, then warnings, then notes."""
    facts = machine(
        environment={"OPENBLAS_CORETYPE": "Haswell", "SPARSAE_THREADS": "9"},
        others=1.0,
        cores=4,
        backends=(BackendRecord("bad", "d", "1", state="broken"),),
    )
    gains = {"OPENBLAS_CORETYPE": gain(1.5), "SPARSAE_THREADS": gain(3.0)}
    order = ["SPARSAE_THREADS", "busy", "OPENBLAS_CORETYPE", "backend bad", "affinity"]
    assert [finding.key for finding in find(facts, gains)] == order


def test_a_diagnosis_survives_json() -> None:
    """Facts, findings and gains are values that JSON can take, and say which findings are costly."""
    facts = machine(
        environment={"OPENBLAS_CORETYPE": "Haswell"}, backends=(BackendRecord("b", "d", "1", state="broken"),)
    )
    gains = {"OPENBLAS_CORETYPE": gain(1.7)}
    values = json.loads(json.dumps(Diagnosis(facts=facts, findings=find(facts, gains), gains=gains).to_dict()))
    assert values["costly"] == ["OPENBLAS_CORETYPE"]
    assert values["facts"]["budget"]["granted"] == 2
    assert values["findings"][0]["fix"] == "unset OPENBLAS_CORETYPE"
    assert values["gains"]["OPENBLAS_CORETYPE"]["ratios"]["64/25"]["median"] == 1.7
