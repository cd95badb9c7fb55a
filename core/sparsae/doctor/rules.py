"""The doctor's rules: from facts and measured gains to findings.

Rules read `Facts` and nothing else, so that tests can apply them to any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, final

from sparsae.doctor.experiments import POWER_VARIABLES, Gain
from sparsae.doctor.facts import AVX512, BIASING, PRODUCT_VARIABLES, Facts

Gains = Mapping[str, Gain]
Severity = Literal["costs", "warning", "note"]
COSTLY = 1.10  # a finding that costs more than 10 % makes the command fail


@final
@dataclass(frozen=True, kw_only=True)
class Finding:
    """One result of the doctor: what it found, why that matters, what it costs, and what to do.

    Attributes
    ----------
    key : str
        A stable name for programs.
    severity : {"costs", "warning", "note"}
        "costs": more than 10 %. "warning": something is wrong, or its cost is unknown. "note": information.
    what, why : str
        One or two sentences.
    cost : float or None
        How many times as fast the machine would be without it; None: not known.
    evidence : str
        Where the cost comes from: the measurement with its spread, or the estimate.
    fix : str
        The line to type, or what to do; empty where nothing can be done.
    """

    key: str
    severity: Severity
    what: str
    why: str
    cost: float | None = None
    evidence: str = ""
    fix: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as values that JSON can take."""
        return asdict(self)


def find(facts: Facts, gains: Gains) -> tuple[Finding, ...]:
    """Apply every rule; the most costly findings come first."""
    found = [finding for rule in _RULES for finding in rule(facts, gains)]
    rank = {"costs": 0, "warning": 1, "note": 2}
    return tuple(sorted(found, key=lambda f: (rank[f.severity], -(f.cost or 1.0))))


def _find_biasing_variables(facts: Facts, gains: Gains) -> Iterator[Finding]:
    """Variables that change the arithmetic."""
    together = gains.get("all of them")
    for name, does in BIASING.items():
        if name not in facts.environment:
            continue
        gain = gains.get(name)
        what = f"{name}={facts.environment[name]} is set; it {does}."
        why = "It changes the time of everything, or of what runs at the same time."
        if name in PRODUCT_VARIABLES:
            why = "Every product of the model uses these kernels."
        elif name in POWER_VARIABLES:
            why = (
                "NumPy's own loops compute the powers of sigmoid units, in all bundled backends but numba, jax, torch."
            )
        if name == "OPENBLAS_CORETYPE":
            what = f"{what} {_describe_kernels(facts, gain)}"
        if gain is not None and gain.failed and together is not None and not together.failed:
            gain = together
        yield _measured(name, what, why, gain, f"unset {name}")
    variables = facts.product_variables
    if together is not None and (together.best or 1) > COSTLY * max((gains[name].best or 1) for name in variables):
        names = " ".join(variables)
        why = "Together they cost more than each alone."
        yield _measured("all of them", f"{names} are set.", why, together, f"unset {names}")


def _describe_kernels(facts: Facts, gain: Gain | None) -> str:
    """Say which kernels are in use, which ones the change would bring, and what the CPU has."""
    names = dict.fromkeys(str(pool["architecture"]) for pool in facts.pools if pool["architecture"])
    words = f"OpenBLAS uses its {', '.join(names) or 'unknown'} kernels"
    if gain is not None and gain.architectures:
        words += f", and would use {', '.join(dict.fromkeys(gain.architectures))}"
    return words + ("; the CPU has AVX-512." if facts.flags >= AVX512 else ".")


def _find_narrow_kernels(facts: Facts, gains: Gains) -> Iterator[Finding]:
    """Kernels with narrower vectors than the CPU's, without a variable that asks for them."""
    wider = facts.wider_kernels
    if wider:
        what = f"{_describe_kernels(facts, None)} {wider} kernels exist for such CPUs."
        why = "Kernels with wider vectors do up to twice the arithmetic in the same time."
        yield _measured("core", what, why, gains.get("core"), f"export OPENBLAS_CORETYPE={wider}")


def _find_unused_cpus(facts: Facts, gains: Gains) -> Iterator[Finding]:
    """CPUs of the machine that this process may not use, or may use and does not."""
    variables, limit = facts.limiting_variables, facts.budget.pool_limit
    if limit is not None and limit < facts.available:
        what = f"The BLAS pools are limited to {limit} of {_cpus(facts.available)}"
        what += f" by {', '.join(variables)}." if variables else "; no known variable does that."
        why = "sparsae respects a limit that it finds, such as joblib's in a worker process."
        if variables:
            yield _measured("thread limit", what, why, gains.get("thread limit"), f"unset {' '.join(variables)}")
        else:
            yield Finding(key="thread limit", severity="warning", what=what, why=why, fix="sparsae ... --threads N")
    cores, affinity, quota = facts.cores, facts.budget.affinity, facts.budget.cgroup
    if cores is not None and affinity < cores:
        what = f"This process may run on {affinity} of {cores} CPUs (affinity)."
        yield Finding(key="affinity", severity="note", what=what, why="taskset, a scheduler or a container set that.")
    if quota is not None and quota < affinity:
        what = f"The control group grants {_cpus(quota)} of the {affinity} that are visible."
        why = "Libraries count the visible CPUs; threads above the quota are paused for the rest of each period."
        yield Finding(key="quota", severity="note", what=what, why=why, fix="nothing: sparsae respects the quota")


def _find_requested_threads(facts: Facts, gains: Gains) -> Iterator[Finding]:
    """SPARSAE_THREADS that differs from the CPUs that are available."""
    asked = facts.requested_threads
    if asked is not None:
        what = f"SPARSAE_THREADS={asked} and the CPU budget is {facts.available}."
        few = asked < facts.available
        why = "Fewer workers leave CPUs idle." if few else "More workers than CPUs wait for each other."
        yield _measured("SPARSAE_THREADS", what, why, gains.get("SPARSAE_THREADS"), "unset SPARSAE_THREADS")


def _find_pool_faults(facts: Facts, gains: Gains) -> Iterator[Finding]:
    """Pools with more threads than CPUs, two pools of a kind, or none that is known."""
    if facts.oversubscribed_pools:
        names = ", ".join(f"{pool['library']} ({pool['num_threads']})" for pool in facts.oversubscribed_pools)
        what = f"More threads than the {_cpus(facts.available)} of this process: {names}."
        why = "Threads that wait for each other's CPU make a product many times slower. sparsae limits the pools; "
        why += "other code may not."
        fix = "; ".join(f"export {name}={value}" for name, value in facts.pool_limits.items())
        yield _measured("oversubscription", what, why, gains.get("oversubscription"), fix)
    blas = [pool for pool in facts.pools if pool["user_api"] == "blas"]
    if len([pool for pool in blas if pool["internal_api"] == "openblas"]) > 1:
        versions = " and ".join(f"{pool['library']} {pool['version']}" for pool in blas)
        what = f"More than one OpenBLAS is loaded, each with its own threads: {versions}."
        why = "A limit affects only pools that are loaded when it is set; sparsae scans again after loading a backend."
        yield Finding(key="two pools", severity="note", what=what, why=why, fix="nothing for sparsae")
    if not blas:
        what = "No BLAS pool was recognised."
        why = (
            "Apple's Accelerate and rare libraries cannot be limited from inside a process; the race cannot verify "
            "their threads."
        )
        fix = "export VECLIB_MAXIMUM_THREADS=1 before starting Python, for Accelerate"
        yield Finding(key="no pool", severity="warning", what=what, why=why, fix=fix)


def _find_load(facts: Facts, gains: Gains) -> Iterator[Finding]:
    """Other processes, and other virtual machines."""
    wanted, ours = facts.available, facts.budget.affinity
    if facts.others is None:
        load = "" if facts.load is None else f" The load average is {facts.load:.1f}."
        what = f"This system does not report how busy its CPUs are.{load}"
        yield Finding(key="busy", severity="note", what=what, why="Times on a busy machine are not repeatable.")
        return
    free = max(ours - facts.others, wanted * 0.05)
    cost = max(1.0, wanted / free)
    if facts.others > 0.05:
        what = f"Other processes use {facts.others:.1f} of the {_cpus(ours)} of this process."
        evidence = f"estimated: {wanted} needed, {free:.1f} free"
        why = "They share its CPUs and caches; times are not repeatable."
        yield Finding(
            key="busy",
            severity=_severity(cost),
            what=what,
            why=why,
            cost=cost,
            evidence=evidence,
            fix="wait until they have ended (top lists them)",
        )
    if facts.steal:
        cost = 1 / max(1 - facts.steal, 0.05)
        what = f"The hypervisor gave {facts.steal:.1%} of the time to other machines (steal)."
        yield Finding(
            key="steal",
            severity=_severity(cost),
            what=what,
            why="Stolen time appears in no profile of this machine.",
            cost=cost,
            evidence="estimated from the share of stolen time",
            fix="measure at another time, or on a machine that is not shared",
        )


def _find_unusable_backends(facts: Facts, gains: Gains) -> Iterator[Finding]:
    """Backends that cannot be used; the error of each says why and what to do."""
    for record in facts.backends:
        if record.state != "ready":
            harmless = record.state in ("not installed", "disabled")
            yield Finding(
                key=f"backend {record.name}",
                severity="note" if harmless else "warning",
                what=str(record.error or f"Backend {record.name!r} is {record.state}."),
                why="It may be faster; the race leaves it out." if harmless else "It cannot be chosen.",
                fix=record.install if record.state == "not installed" else "",
            )


_Rule = Callable[[Facts, Gains], Iterator[Finding]]
_RULES: tuple[_Rule, ...] = (
    _find_biasing_variables,
    _find_narrow_kernels,
    _find_unused_cpus,
    _find_requested_threads,
    _find_pool_faults,
    _find_load,
    _find_unusable_backends,
)


def _cpus(count: float) -> str:
    return f"{count:g} CPU" + "s" * (count != 1)


def _severity(cost: float | None) -> Severity:
    return "costs" if cost is not None and cost > COSTLY else "note"


def _measured(key: str, what: str, why: str, gain: Gain | None, fix: str) -> Finding:
    """A finding whose cost was measured; without a measurement it is a warning."""
    cost = None if gain is None else gain.best
    severity: Severity = "warning" if cost is None else _severity(cost)
    evidence = "not measured" if gain is None else str(gain)
    return Finding(key=key, severity=severity, what=what, why=why, cost=cost, evidence=evidence, fix=fix)
