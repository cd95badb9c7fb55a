"""Hold every library of a process to one instruction set, and say what each really uses."""

from __future__ import annotations

import os
import sys

AVX2 = {
    "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
    "NUMBA_CPU_NAME": "haswell",
    "NUMBA_CPU_FEATURES": "",
    "ATEN_CPU_CAPABILITY": "avx2",
}


def environment_of(isa: str) -> dict[str, str]:
    """Variables that hold every library to an instruction set, "native" or "avx2"."""
    if isa == "native":
        return {}
    found = numpy_avx512()
    return AVX2 | ({"NPY_DISABLE_CPU_FEATURES": " ".join(found)} if found else {})


def numpy_avx512() -> list[str]:
    """Groups of AVX-512 instructions that NumPy dispatches to; the list of features names what it was not built for."""
    from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__

    wide = [name for name in __cpu_dispatch__ if "AVX512" in name or name == "X86_V4"]
    return [name for name in wide if __cpu_features__.get(name)]


def instruction_sets() -> dict[str, str]:
    """What the libraries loaded here use, as they say themselves."""
    import threadpoolctl
    from numpy._core._multiarray_umath import __cpu_features__

    said = {pool["internal_api"]: pool.get("architecture", "") for pool in threadpoolctl.threadpool_info()}
    said["numpy"] = "AVX-512" if numpy_avx512() else "AVX2" if __cpu_features__.get("AVX2") else "baseline"
    if "sparsae_backends.numba.target" in sys.modules:
        said["numba"] = f"{8 * sys.modules['sparsae_backends.numba.target'].TARGET.register_bytes}-bit registers"
    if "jax" in sys.modules:
        said["jax"] = os.environ.get("XLA_FLAGS", "native")
    if "torch" in sys.modules:
        said["torch"] = sys.modules["torch"].backends.cpu.get_cpu_capability()
    return said
