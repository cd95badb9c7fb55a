"""The `numba` backend by numba's target and settings: other vector registers, no FMA, no compiling, no cache."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("numba")
from llvmlite import binding
from numba.core import caching

from sparsae import BackendError
from sparsae_backends.numba import compilation, passes, target
from sparsae_backends.numba.target import VectorTarget

COMPARE = """
import sys
import numpy as np
import sparsae
import sparsae_backends.numba.target as target
if {replaced!r}:
    target.TARGET = target.VectorTarget{replaced}
    from sparsae_backends.numba import apart
    apart.can_start = lambda: False  # a second process would compile for the processor at hand
from sparsae_backends.numba import emit
from sparsae.reference import evaluate_reference

target = target.TARGET
print(target.register_bytes, target.registers, target.fma, target.pairs, emit.width(np.dtype(np.float64)))
rng = np.random.default_rng(0)
X, parameters = rng.random((131, 23)), sparsae.Parameters.random(23, 11, seed=1)
for dtype in {dtypes}:
    reference = evaluate_reference(parameters, X.astype(dtype))
    cost_bound, bounds = reference.bound(np.dtype(dtype))
    for passes in (1, 2):
        with sparsae.Objective(X, 11, backend="numba", dtype=dtype, passes=passes, block_rows=100) as objective:
            cost, gradient = objective(parameters.flatten())
        assert abs(cost - reference.cost) <= cost_bound
        assert (abs(gradient - reference.gradient.flatten()) <= bounds.flatten()).all()
"""


def run(script, tmp_path, **environment):
    """Run a script with a cache of its own, since numba does not know that tile sizes were replaced."""
    settings = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    settings |= {"NUMBA_CACHE_DIR": str(tmp_path), **environment}
    return subprocess.run([sys.executable, "-c", script], env=settings, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("replaced", "dtypes", "width"),
    [
        ((16, 32, True), ["float64", "float32"], 6),  # NEON
        ((64, 32, True), ["float32"], 24),  # AVX-512
        ((32, 16, True), ["float64"], 12),  # AVX2
    ],
)
def test_every_width_of_register_gives_the_reference(tmp_path, replaced, dtypes, width):
    """Panels and tiles for 128, 256 and 512 bits and for 16 and 32 registers, whatever this processor has."""
    done = run(COMPARE.format(replaced=replaced, dtypes=dtypes), tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(value) for value in (*replaced, False, width)]


@pytest.mark.skipif(not binding.get_host_cpu_features().get("sse2", False), reason="an x86 processor is named")
def test_a_processor_without_fma_and_wide_registers_works(tmp_path):
    """Numba's target decides: for a generic x86 there are 16 registers of 128 bits and no fused multiply-add."""
    done = run(COMPARE.format(replaced=(), dtypes=["float64"]), tmp_path, NUMBA_CPU_NAME="generic")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["16", "16", "False", "False", "6"]


FIRST_CALL = """
import numpy as np, sparsae
try:
    sparsae.cost_and_gradient(sparsae.Parameters.random(3, 2), np.full((9, 3), 0.5), backend="numba")
except sparsae.BackendError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"NUMBA_DISABLE_JIT": "1"}, ["NUMBA_DISABLE_JIT tells numba not to compile", "Unset", "'fused'"]),
        ({"NUMBA_CPU_NAME": "zen99"}, ["NUMBA_CPU_NAME names the processor 'zen99'", "does not know", "Unset"]),
        ({"NUMBA_CPU_FEATURES": "+sse2,+warp"}, ["NUMBA_CPU_FEATURES names the feature '+warp'", "Unset"]),
    ],
)
def test_settings_that_cannot_work_are_named_with_the_way_out(tmp_path, environment, words):
    """One BackendError that says which variable is meant and what to do."""
    done = run(FIRST_CALL, tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
    for word in words:
        assert word in done.stdout


def test_code_for_registers_that_are_not_here_is_refused(monkeypatch):
    """It would end the process with SIGILL."""
    monkeypatch.setattr(binding, "get_host_cpu_features", lambda: {"avx": True, "fma": True, "avx512f": False})
    with pytest.raises(BackendError, match=r"compile for 'skylake-avx512' .* has no avx512f\. Unset"):
        target._refuse_foreign("skylake-avx512", "vfmadd231pd %zmm0, %zmm1, %zmm2")
    target._refuse_foreign("haswell", "vfmadd231pd %ymm0, %ymm1, %ymm2")


@pytest.mark.skipif(not binding.get_host_cpu_features().get("sse2", False), reason="x86 processors are named")
@pytest.mark.parametrize(
    ("cpu", "features", "expected"),
    [
        ("nehalem", "", VectorTarget(16, 16, fma=False)),
        ("ivybridge", "", VectorTarget(32, 16, fma=False)),
        ("haswell", "", VectorTarget(32, 16, fma=True)),
        ("skylake-avx512", "", VectorTarget(64, 32, fma=True)),
        ("haswell", "+avx512f", VectorTarget(64, 32, fma=True)),
    ],
)
def test_registers_are_read_from_the_code_for_the_target(cpu, features, expected):
    """Name and features together decide, as they do for numba."""
    triple = binding.get_default_triple()
    assert target.registers_in(target._assembly(triple, cpu, features)) == expected


def test_tiles_fit_the_registers():
    """Accumulators, the operands of one step, and no more than there are."""
    for registers in (16, 32):
        made = VectorTarget(32, registers, fma=True)
        high, broad = made.row_gram_shape
        assert made.product_columns * 3 + 4 <= registers
        gram_high, gram_broad = made.gram_shape
        assert gram_high * gram_broad + gram_broad + 1 <= registers
        assert high * broad + broad + 1 <= registers


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """One pass that no cache knows, compiled for nothing yet."""
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(compilation, "_UNCACHED", set())
    return lambda: compilation.entry_point(passes.to_panels.py_func)


def convert(function):
    """Compile it and use it; returns how often numba found it in the cache."""
    compilation.compile_for((function,), np.dtype(np.float64))
    out = np.full(24, np.nan)
    function(np.ones((1, 1)), out)
    assert out[0] == 1
    return sum(function.stats.cache_hits.values())


def test_a_damaged_cache_is_done_without(fresh, tmp_path):
    """What is no index any more is not read as one; the note says that each process compiles."""
    convert(fresh())
    assert "each process" not in compilation.describe(1.0)
    (index,) = tmp_path.rglob("*.nbi")
    index.write_bytes(b"not an index")
    convert(fresh())
    assert "each process compiles" in compilation.describe(1.0)


def test_a_change_in_any_file_of_the_package_compiles_anew(fresh, monkeypatch):
    """Tiles and lanes are written in files that numba does not look at."""
    assert convert(fresh()) == 0
    assert convert(fresh()) == 1
    stamp = compilation.package_stamp()
    assert {"emit.py", "tiles.py", "lanes.py", "sparse.py"} <= {name for name, _, _ in stamp}
    monkeypatch.setattr(compilation, "package_stamp", lambda: (("tiles.py", 0, 1), *stamp[1:]))
    assert convert(fresh()) == 0


def test_compiling_is_logged_once_and_loading_is_not(fresh, monkeypatch, caplog):
    """With its dtype; a program that does not ask for the log, and one that finds all in the cache, hear nothing."""
    monkeypatch.setattr(compilation, "_ANNOUNCED", set())
    with caplog.at_level("INFO", logger="sparsae"):
        convert(fresh())
        expected = "compiling numba's kernels for float64, once for this machine (about 5 s) ..."
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", expected)]
        compilation._ANNOUNCED.clear()
        assert convert(fresh()) == 1
        assert len(caplog.records) == 1
        monkeypatch.setattr(compilation.CompiledCache, "__init__", _refuse)
        convert(fresh())
    assert caplog.records[-1].getMessage().endswith("for float64, since it cannot remember them (about 5 s) ...")


def _refuse(self, function):
    raise RuntimeError("no folder")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_while_another_thread_compiles_does_not_hang_the_child(tmp_path):
    """The lock is held in the parent and free in the child."""
    script = (
        "import os\n"
        "from sparsae_backends.numba import compilation\n"
        "compilation._LOCK.acquire()\n"
        "pid = os.fork()\n"
        "if pid == 0: os._exit(10 + compilation._LOCK.acquire(timeout=5))\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 11\n"
        "assert compilation._LOCK.locked()\n"
    )
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_full_disk_costs_only_the_cache(fresh, monkeypatch):
    """Compiled code that cannot be saved is used."""

    def save(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", save)
    convert(fresh())
    assert "each process compiles" in compilation.describe(1.0)
