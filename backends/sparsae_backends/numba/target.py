"""What numba compiles for, and the tile sizes that fit its registers.

numba compiles for the processor at hand unless ``NUMBA_CPU_NAME`` and ``NUMBA_CPU_FEATURES`` name another one.
Its *target* decides, not the processor: a few instructions are compiled for it, and the registers that they use are
read from the assembly.  Imported by the kernel's constructor, since it imports numba.
"""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import final

from llvmlite import binding
from numba.core import config
from numba.core.registry import cpu_target

from sparsae import BackendError

PROBE = """
target triple = "{triple}"
declare <8 x double> @llvm.fmuladd.v8f64(<8 x double>, <8 x double>, <8 x double>)
define void @probe(<8 x double>* %a, <8 x double>* %b, <8 x double>* %c) {{
  %x = load <8 x double>, <8 x double>* %a
  %y = load <8 x double>, <8 x double>* %b
  %z = load <8 x double>, <8 x double>* %c
  %r = call <8 x double> @llvm.fmuladd.v8f64(<8 x double> %x, <8 x double> %y, <8 x double> %z)
  store <8 x double> %r, <8 x double>* %a
  ret void
}}
"""
ASK_LLVM = """
import sys
from llvmlite import binding
binding.initialize_native_target()
binding.initialize_native_asmprinter()
binding.Target.from_default_triple().create_target_machine(cpu=sys.argv[1], features=sys.argv[2])
"""
X86_NEEDS = (("zmm", "avx512f"), ("ymm", "avx"), ("vfmadd", "fma"))  # what the assembly holds, what runs it


@final
@dataclass(frozen=True)
class VectorTarget:
    """Vector registers of the target.

    Attributes
    ----------
    register_bytes : int
        Of one vector register: 16 (SSE, NEON), 32 (AVX) or 64 (AVX-512).
    registers : int
        How many there are: 16 or 32.
    fma : bool
        Whether it multiplies and adds in one instruction; without, two are used.
    pairs : bool
        Whether it multiplies pairs of bfloat16 numbers and adds their products to float32 numbers in one instruction.
    """

    register_bytes: int
    registers: int
    fma: bool
    pairs: bool = False

    @property
    def product_columns(self) -> int:
        """Columns of a tile of `product`: with three accumulators each, and four registers for operands."""
        return 9 if self.registers >= 32 else 4

    @property
    def gram_shape(self) -> tuple[int, int]:
        """Rows and columns of a tile of `gram`: accumulators for all, registers for a row of operands and one more."""
        return (5, 5) if self.registers >= 32 else (4, 3)

    @property
    def row_gram_shape(self) -> tuple[int, int]:
        """Rows, and registers of columns, of a tile of `gram_of_rows`."""
        return (6, 4) if self.registers >= 32 else (4, 3)


def detect() -> VectorTarget:
    """Return the vector registers of numba's target.

    Raises
    ------
    BackendError
        When numba is told not to compile, or to compile for a processor that does not exist or cannot be this one.
    """
    if config.DISABLE_JIT:
        raise BackendError(
            "The numba backend is compiled code, and NUMBA_DISABLE_JIT tells numba not to compile. "
            "Unset that variable (or disable_jit in .numba_config.yaml), or choose another backend such as 'fused'."
        )
    if config.CPU_NAME is not None or config.CPU_FEATURES is not None:
        _refuse_unknown(config.CPU_NAME or binding.get_host_cpu_name(), config.CPU_FEATURES or "")
    triple, cpu, features = cpu_target.target_context.codegen().magic_tuple()
    assembly = _assembly(triple, cpu, features)
    if re.match(r"aarch64|arm64", triple):
        return VectorTarget(16, 32, fma=True)
    if not re.match(r"x86_64|i[3-6]86|amd64", triple):
        return VectorTarget(16, 16, fma=True)  # correct everywhere; sized for the least that a processor has
    _refuse_foreign(cpu, assembly)
    pairs = "+avx512bf16" in features and binding.get_host_cpu_features().get("avx512bf16", False)
    return replace(registers_in(assembly), pairs=pairs and "zmm" in assembly)


def registers_in(assembly: str) -> VectorTarget:
    """Return the vector registers that x86 code uses."""
    wide = "zmm" in assembly
    return VectorTarget(64 if wide else 32 if "ymm" in assembly else 16, 32 if wide else 16, fma="vfmadd" in assembly)


def _assembly(triple: str, cpu: str, features: str) -> str:
    """Compile the probe for the target."""
    machine = binding.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features, opt=2)
    text: str = machine.emit_assembly(binding.parse_assembly(PROBE.format(triple=triple)))
    return text


def _refuse_unknown(cpu: str, features: str) -> None:
    """LLVM warns of an unknown name on the standard error and goes on for a basic processor; so ask it elsewhere."""
    asked = subprocess.run(  # noqa: S603 (this interpreter, a fixed script)
        [sys.executable, "-c", ASK_LLVM, cpu, features], capture_output=True, text=True, check=False
    )
    unknown = re.search(r"'([^']*)' is not a recognized (processor|feature)", asked.stderr)
    if unknown is not None:
        name, what = unknown.groups()
        variable = "NUMBA_CPU_NAME" if what == "processor" else "NUMBA_CPU_FEATURES"
        raise BackendError(
            f"{variable} names the {what} {name!r}, which numba's compiler does not know. "
            f"Unset it to compile for this processor ({binding.get_host_cpu_name()}), or correct the name."
        )


def _refuse_foreign(cpu: str, assembly: str) -> None:
    """Code for registers that this processor lacks would end the process."""
    have = binding.get_host_cpu_features()
    for mark, feature in X86_NEEDS:
        if mark in assembly and not have.get(feature, False):
            raise BackendError(
                f"numba is told to compile for {cpu!r} (NUMBA_CPU_NAME, NUMBA_CPU_FEATURES), and this processor "
                f"({binding.get_host_cpu_name()}) has no {feature}. Unset both variables, or name a processor like it."
            )


TARGET = detect()
