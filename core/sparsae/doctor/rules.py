"""What the doctor knows: from facts to experiments, and from facts and gains to findings.

A rule is a pair: what to measure, and what to say once that is known.
Rules see `Facts` and nothing else, so that every machine can be put before them in a test.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sparsae.doctor.experiments import Experiment, Gain
from sparsae.doctor.facts import BIASING, Facts
from sparsae.doctor.finding import MUCH, Finding, Severity
from sparsae.machine.facts import THREAD_VARIABLES

Gains = Mapping[str, Gain]
NARROW = {  # OpenBLAS's names for kernels that use 128-bit or 256-bit vectors
    128: {
        "Prescott",
        "Core2",
        "Penryn",
        "Dunnington",
        "Atom",
        "Nehalem",
        "Opteron",
        "Opteron_SSE3",
        "Barcelona",
        "Bobcat",
    },
    256: {"Sandybridge", "Bulldozer", "Piledriver", "Steamroller", "Excavator", "Haswell", "Zen"},
}
AVX512 = {"avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512cd"}
_PRODUCTS = {name for name in BIASING if name.startswith(("OPENBLAS", "MKL", "BLIS"))}
_ELEMENTWISE = {"NPY_DISABLE_CPU_FEATURES"}


def experiments(facts: Facts) -> tuple[Experiment, ...]:
    """Return what is worth measuring on this machine: nothing, where nothing is suspicious."""
    return tuple(_kernel_experiments(facts)) + tuple(_thread_experiments(facts))


def findings(facts: Facts, gains: Gains) -> tuple[Finding, ...]:
    """Return what is to be said, the dear things first."""
    said = [finding for rule in _RULES for finding in rule(facts, gains)]
    rank = {"costs": 0, "warning": 1, "note": 2}
    return tuple(sorted(said, key=lambda f: (rank[f.severity], -(f.cost or 1.0))))


def _kernel_experiments(facts: Facts) -> Iterator[Experiment]:
    """Each variable that bends the arithmetic, one by one; all of them; and kernels that suit the CPU better."""
    for name in BIASING:
        if name in facts.environment:
            work = "products" if name in _PRODUCTS else "elementwise" if name in _ELEMENTWISE else "objective"
            yield Experiment(key=name, change={name: None}, work=work)
    several = sorted(_PRODUCTS & facts.environment.keys())
    if len(several) > 1:
        yield Experiment(key="all of them", change=dict.fromkeys(several), work="products")
    better = _better_core(facts)
    if better and "OPENBLAS_CORETYPE" not in facts.environment:
        yield Experiment(key="core", change={"OPENBLAS_CORETYPE": better}, work="products")


def _better_core(facts: Facts) -> str | None:
    """Return OpenBLAS's name for kernels with wider vectors than those in use, where the CPU has them."""
    cores = {pool["architecture"] for pool in facts.pools if pool["internal_api"] == "openblas"}
    if facts.flags >= AVX512 and cores & (NARROW[128] | NARROW[256]):
        return "SkylakeX"
    if {"avx2", "fma"} <= facts.flags and cores & NARROW[128]:
        return "Haswell"
    return None


def _thread_experiments(facts: Facts) -> Iterator[Experiment]:
    """Fewer threads than CPUs, and more."""
    held = _holding_back(facts)
    if held:
        yield Experiment(key="held back", change=dict.fromkeys(held), work="objective")
    wish = _wish(facts)
    if wish is not None and wish != facts.available:
        yield Experiment(key="SPARSAE_THREADS", change={"SPARSAE_THREADS": None}, work="objective")
    if _crowded(facts):
        yield Experiment(key="crowded", change=_uncrowd(facts), work="pool")


def _holding_back(facts: Facts) -> list[str]:
    """Return the variables that keep the pools below the CPUs that there are."""
    limit = facts.budget.pool_limit
    if limit is None or limit >= facts.available:
        return []
    return [name for name in THREAD_VARIABLES if facts.environment.get(name) == str(limit)]


def _wish(facts: Facts) -> int | None:
    """Return SPARSAE_THREADS, where it is a number."""
    word = facts.environment.get("SPARSAE_THREADS", "")
    return int(word) if word.isdigit() else None


def _crowded(facts: Facts) -> list[Mapping[str, Any]]:
    """Return the pools with more threads than CPUs."""
    return [pool for pool in facts.pools if (pool["num_threads"] or 0) > facts.available]


def _uncrowd(facts: Facts) -> dict[str, str | None]:
    """Return the variables that give the crowded pools as many threads as there are CPUs."""
    names = {"openblas": "OPENBLAS_NUM_THREADS", "mkl": "MKL_NUM_THREADS", "blis": "BLIS_NUM_THREADS"}
    wanted = {names.get(pool["internal_api"], "OMP_NUM_THREADS") for pool in _crowded(facts)}
    return dict.fromkeys(sorted(wanted), str(facts.available))


def _say_kernels(facts: Facts, gains: Gains) -> Iterator[Finding]:
    """Variables that bend the arithmetic."""
    together = gains.get("all of them")
    for name, does in BIASING.items():
        if name not in facts.environment:
            continue
        gain = gains.get(name)
        what = f"{name}={facts.environment[name]} is set; it {does}."
        why = "Every product of the model goes through these kernels." if name in _PRODUCTS else _why_not_product(name)
        if name == "OPENBLAS_CORETYPE":
            what = f"{what} {_cores(facts, gain)}"
        if gain is not None and gain.failed and together is not None and not together.failed:
            gain = together
        yield _measured(name, what, why, gain, f"unset {name}")
    if together is not None and (together.best or 1) > MUCH * max((gains[n].best or 1) for n in _set_products(facts)):
        names = " ".join(_set_products(facts))
        why = "One alone shows less than all of them together."
        yield _measured("all of them", f"{names} are set.", why, together, f"unset {names}")


def _set_products(facts: Facts) -> list[str]:
    return sorted(_PRODUCTS & facts.environment.keys())


def _why_not_product(name: str) -> str:
    if name in _ELEMENTWISE:
        return "Sigmoids and their kin run in NumPy's own loops."
    return "It changes the time of everything, or of what runs beside it."


def _cores(facts: Facts, gain: Gain | None) -> str:
    """Say which kernels are in use, which would be, and what the CPU could do."""
    now = (
        ", ".join(dict.fromkeys(str(p["architecture"]) for p in facts.pools if p["architecture"])) or "unknown kernels"
    )
    said = f"OpenBLAS uses its {now} kernels"
    if gain is not None and gain.architectures:
        said += f", and would use {', '.join(dict.fromkeys(gain.architectures))}"
    return said + ("; the CPU has AVX-512." if facts.flags >= AVX512 else ".")


def _say_core(facts: Facts, gains: Gains) -> Iterator[Finding]:
    """Narrow kernels that nobody asked for."""
    better = _better_core(facts)
    if better and "OPENBLAS_CORETYPE" not in facts.environment:
        what = f"{_cores(facts, None)} {better} kernels exist for such CPUs."
        why = "Kernels with wider vectors do up to twice the arithmetic in the same time."
        yield _measured("core", what, why, gains.get("core"), f"export OPENBLAS_CORETYPE={better}")


def _say_budget(facts: Facts, gains: Gains) -> Iterator[Finding]:
    """CPUs that are there and not ours, or ours and not used."""
    held, limit = _holding_back(facts), facts.budget.pool_limit
    if limit is not None and limit < facts.available:
        what = f"The BLAS pools are limited to {limit} of {_cpus(facts.available)}"
        what += f" by {', '.join(held)}." if held else "; no variable that we know does that."
        why = "sparsae keeps to a limit that it finds, as inside a joblib worker."
        if held:
            yield _measured("held back", what, why, gains.get("held back"), f"unset {' '.join(held)}")
        else:
            yield Finding(key="held back", severity="warning", what=what, why=why, fix="sparsae ... --threads N")
    cores, affinity, quota = facts.cores, facts.budget.affinity, facts.budget.cgroup
    if cores is not None and affinity < cores:
        what = f"This process may run on {affinity} of {cores} CPUs (affinity)."
        yield Finding(key="affinity", severity="note", what=what, why="taskset, a scheduler or a container set that.")
    if quota is not None and quota < affinity:
        what = f"The control group grants {_cpus(quota)} of the {affinity} that are visible."
        why = "Libraries count the visible ones; threads above the quota are stopped for the rest of each period."
        yield Finding(key="quota", severity="note", what=what, why=why, fix="nothing: sparsae keeps to the quota")


def _say_wish(facts: Facts, gains: Gains) -> Iterator[Finding]:
    """SPARSAE_THREADS that is not what the machine has."""
    wish = _wish(facts)
    if wish is not None and wish != facts.available:
        what = f"SPARSAE_THREADS={wish} and the CPU budget is {facts.available}."
        why = (
            "Fewer workers leave CPUs idle."
            if wish < facts.available
            else "More workers than CPUs wait for each other."
        )
        yield _measured("SPARSAE_THREADS", what, why, gains.get("SPARSAE_THREADS"), "unset SPARSAE_THREADS")


def _say_pools(facts: Facts, gains: Gains) -> Iterator[Finding]:
    """Crowded pools, two pools of a kind, or none that can be seen."""
    crowded = _crowded(facts)
    if crowded:
        names = ", ".join(f"{pool['library']} ({pool['num_threads']})" for pool in crowded)
        what = f"More threads than the {_cpus(facts.available)} of this process: {names}."
        why = "Threads that wait for each other's CPU make a product many times slower. sparsae limits the pools; "
        why += "other code may not."
        fix = "; ".join(f"export {name}={value}" for name, value in _uncrowd(facts).items())
        yield _measured("crowded", what, why, gains.get("crowded"), fix)
    blas = [pool for pool in facts.pools if pool["user_api"] == "blas"]
    if len([pool for pool in blas if pool["internal_api"] == "openblas"]) > 1:
        versions = " and ".join(f"{pool['library']} {pool['version']}" for pool in blas)
        what = f"More than one OpenBLAS is loaded, each with threads of its own: {versions}."
        why = "A limit reaches only pools that are loaded when it is set; sparsae scans again after loading a backend."
        yield Finding(key="two pools", severity="note", what=what, why=why, fix="nothing for sparsae")
    if not blas:
        what = "No BLAS pool was recognised."
        why = (
            "Apple's Accelerate and rare libraries cannot be limited from inside a process, and the race shows them "
            "as unverified."
        )
        fix = "export VECLIB_MAXIMUM_THREADS=1 before starting Python, for Accelerate"
        yield Finding(key="no pool", severity="warning", what=what, why=why, fix=fix)


def _say_busy(facts: Facts, gains: Gains) -> Iterator[Finding]:
    """Other processes, and other virtual machines."""
    wanted, ours = facts.available, facts.budget.affinity
    if facts.others is None:
        load = "" if facts.load is None else f" The load average is {facts.load:.1f}."
        what = f"How busy the machine is cannot be read on this system.{load}"
        yield Finding(key="busy", severity="note", what=what, why="A busy machine makes times that cannot be repeated.")
        return
    free = max(ours - facts.others, wanted * 0.05)
    cost = max(1.0, wanted / free)
    if facts.others > 0.05:
        what = f"Other processes keep {facts.others:.1f} of our {_cpus(ours)} busy."
        evidence = f"estimated: {wanted} wanted, {free:.1f} free"
        why = "They take turns with us and push data out of the caches; times cannot be repeated."
        yield Finding(
            key="busy",
            severity=_severity(cost),
            what=what,
            why=why,
            cost=cost,
            evidence=evidence,
            fix="wait until they are done (top shows them)",
        )
    if facts.steal:
        cost = 1 / max(1 - facts.steal, 0.05)
        what = f"The hypervisor gave {facts.steal:.1%} of the time to other machines (steal)."
        yield Finding(
            key="steal",
            severity=_severity(cost),
            what=what,
            why="Time that is stolen shows in no profile of this machine.",
            cost=cost,
            evidence="estimated from the share of stolen time",
            fix="measure at another hour, or on a machine of your own",
        )


def _say_plugins(facts: Facts, gains: Gains) -> Iterator[Finding]:
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
_RULES: tuple[_Rule, ...] = (_say_kernels, _say_core, _say_budget, _say_wish, _say_pools, _say_busy, _say_plugins)


def _cpus(count: float) -> str:
    return f"{count:g} CPU" + "s" * (count != 1)


def _severity(cost: float | None) -> Severity:
    return "costs" if cost is not None and cost > MUCH else "note"


def _measured(key: str, what: str, why: str, gain: Gain | None, fix: str) -> Finding:
    """A finding whose cost an experiment found; without one it is a warning, for the cost is not known."""
    cost = None if gain is None else gain.best
    severity: Severity = "warning" if cost is None else _severity(cost)
    evidence = "not measured" if gain is None else str(gain)
    return Finding(key=key, severity=severity, what=what, why=why, cost=cost, evidence=evidence, fix=fix)
