"""Compiling: options, the cache on disk, and compiling what a kernel needs before it is first called.

Imported by the kernel's constructor, since it imports numba.
"""

from __future__ import annotations

import logging
import os
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from numba import njit, types
from numba.core.caching import FunctionCache, IndexDataCacheFile, NullCache
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.core.runtime import rtsys

from sparsae_backends._memory import uncollected
from sparsae_backends.numba.apart import can_start, compiled_apart, share

OPTIONS = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract"},  # NaN kept
    "_nrt": False,  # no pass makes an array: without counts of references half of a pass's instructions are gone
    "no_cfunc_wrapper": True,  # nobody calls a pass from C
}
EXACT = OPTIONS | {"fastmath": False}  # each operation is rounded for itself, as NumPy does
DAMAGES = (OSError, EOFError, ValueError, pickle.UnpicklingError)  # of a cache that is damaged or full
_LOCK = threading.Lock()  # two workers that are made at once compile once
_UNCACHED: set[str] = set()
_LOG = logging.getLogger("sparsae.numba")
_ANNOUNCED: set[str] = set()  # dtypes
_READY: set[tuple[Any, ...]] = set()  # what `compile_for` was asked for


def _renew_lock() -> None:
    """In the child after a fork: a thread of the parent that held the lock is not there to release it."""
    global _LOCK
    _LOCK = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def package_stamp() -> tuple[tuple[str, int, int], ...]:
    """Return what changes when a file of this package does: names, times and sizes."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in files)


@final
class CompiledCache(FunctionCache):  # type: ignore[misc]  # numba has no types
    """numba's cache on disk, without what a compiler alone needs.

    numba makes its compiler ready before it loads anything, which takes 0.3 s, six times as long as loading a fit's
    passes; when there is nothing to load, it does so again before it compiles.  And it looks at the function's file
    only, while most of the code of a pass comes from others: what is remembered here is used while no file of this
    package has changed.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = IndexDataCacheFile(self.cache_path, self._impl.filename_base, package_stamp())

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled function, or None."""
        rtsys.initialize(target_context)
        found = None
        with self._guard_against_spurious_io_errors():
            found = self._load_overload(sig, target_context)
        if found is None:
            announce(sig)
        return found

    def holds(self, signature: tuple[Any, ...]) -> bool:
        """Whether code for the signature is remembered; also where that cannot be read, which loading finds out."""
        try:
            index = self._cache_file._load_index()
        except DAMAGES:
            return True
        return self._index_key(signature, cpu_target.target_context.codegen()) in index


def announce(signature: tuple[Any, ...], how: str = "once for this machine") -> None:
    """Log, once for a dtype, that compiling begins: the command shows it on a terminal, a program where it asks."""
    dtype = next(str(part.dtype) for part in signature if isinstance(part, types.Array))
    if dtype not in _ANNOUNCED:
        _ANNOUNCED.add(dtype)
        _LOG.info("compiling numba's kernels for %s, %s (about 5 s) ...", dtype, how)


def entry_point(function: Callable[..., Any], options: Mapping[str, Any] = OPTIONS) -> Any:
    """Compile when first asked for, and remember on disk where that can be written.

    numba remembers beside this file or, where that is read-only, in the user's cache folder or ``NUMBA_CACHE_DIR``.
    """
    made = njit(**options)(function)
    try:
        made._cache = CompiledCache(function)
    except RuntimeError:  # no folder can be written: compile anew in each process
        _UNCACHED.add(function.__name__)
    return made


def helper(function: Callable[..., Any]) -> Any:
    """Inline the function in those that call it; called from Python it is compiled for itself, as tests do."""
    return njit(inline="always", **OPTIONS)(function)


def signature_of(name: str, dtype: np.dtype[Any], sums_dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the numba types that an entry point is called with."""
    number, total = (types.float64 if one == np.float64 else types.float32 for one in (dtype, sums_dtype))
    flat, totals, integer, truth = number[::1], types.float64[::1], types.intp, types.boolean
    matrix = types.Array(number, 2, "A", readonly=True)
    rows, scratch_rows = types.Array(number, 2, "C", readonly=True), number[:, ::1]
    units, bits = types.int32[::1], (types.int64 if dtype == np.float64 else types.int32)[::1]
    sizes, weights = _tuple(integer, integer, truth, number), _tuple(*[flat] * 6)
    matrices = _tuple(_tuple(*[matrix] * 3), _tuple(flat, flat), _tuple(*[number] * 3))  # that are not packed
    hidden, lists = _tuple(flat, totals), _tuple(units, flat, units, totals)
    sums = _tuple(total[::1], _tuple(*[integer] * 13))
    signatures = {
        "to_panels": (matrix, flat),
        "pack": (matrix, number, flat),
        "pack_weights": (
            _tuple(*[matrix] * 3), _tuple(*[types.Array(number, 1, "A", readonly=True)] * 2), _tuple(*[number] * 3),
            flat, _tuple(*[integer] * 5),
        ),
        "encode": (sizes, flat, integer, weights, hidden),
        "encode_large": (sizes, flat, integer, matrices, hidden, flat),
        "accumulate_large": (
            sizes, _tuple(flat, flat, integer), matrices, hidden, flat, truth, _tuple(*[flat] * 6), sums,
        ),
        "accumulate": (
            sizes, _tuple(flat, flat, integer), weights, hidden, flat, truth, _tuple(*[flat] * 5), sums,
        ),
        "backprop": (sizes, _tuple(*[matrix] * 4), flat, flat, truth, integer, flat, sums),
        "adam": (_tuple(flat, flat, flat), _tuple(flat, flat), truth, integer, _tuple(*[number] * 8), flat),
        "transpose": (rows, scratch_rows),
        "encode_topk": (
            _tuple(*[integer] * 4), rows, _tuple(flat, flat), lists, _tuple(flat, bits, bits, flat, *[bits] * 3),
            _tuple(units, bits),
        ),
        "round_weights": (rows, flat, flat, flat, flat, _tuple(flat, flat, flat), _tuple(flat, flat)),
        "encode_screened": (
            _tuple(*[integer] * 5), _tuple(truth, types.float64, types.float64), rows, _tuple(rows, flat, flat, flat),
            _tuple(*[flat] * 5), lists, _tuple(flat, bits, bits, rows, *[flat] * 4, *[bits] * 3),
            _tuple(units, bits, flat, bits),
        ),
        "accumulate_topk": (
            _tuple(integer, integer, truth), _tuple(rows, rows), _tuple(flat, flat), lists, flat,
            _tuple(scratch_rows, *[flat] * 5), _tuple(types.intp[::1], units, flat, flat),
            _tuple(types.uint8[::1], truth, truth, _tuple(*[integer] * 13)),
        ),
    }  # fmt: skip
    return signatures.get(name) or signatures[name.partition("_")[0]]


def _tuple(*parts: Any) -> Any:
    """Return numba's type of a tuple; equal parts have one of their own."""
    return types.BaseTuple.from_types(parts)


class Wanted(NamedTuple):
    """An entry point, the types to compile it for, and the dtype of the sums that these are for."""

    function: Any
    signature: tuple[Any, ...]
    sums_dtype: np.dtype[Any]


def compile_for(functions: tuple[Any, ...], dtype: np.dtype[Any], *sums_dtypes: Any) -> float:
    """Compile entry points for a dtype, or load them from the cache; returns the seconds that it took.

    `sums_dtypes` are those of the `Sums` that they add to; float64 where nothing is said.
    Nothing is compiled at a call: numba would otherwise compile once more for matrices in C order, which the signature
    for any strides takes as well.
    """
    key = functions, dtype, sums_dtypes
    if key in _READY:  # kernels ask before each call, and numba takes 0.3 ms to look at its signatures
        return 0.0
    started = time.perf_counter()
    with _LOCK, uncollected():
        wanted = [
            Wanted(function, signature_of(function.py_func.__name__, dtype, np.dtype(sums)), np.dtype(sums))
            for function in functions
            for sums in sums_dtypes or (np.float64,)
        ]
        apart = _work_for_another(wanted)
        with compiled_apart([(one.function, one.sums_dtype) for one in apart], dtype):
            for one in wanted:
                if one not in apart:
                    _make_ready(one)
        for one in wanted:
            _make_ready(one)
    _READY.add(key)
    return time.perf_counter() - started


def _work_for_another(wanted: Sequence[Wanted]) -> list[Wanted]:
    """Return what a second process had better compile."""
    missing = {one[:2]: one for one in wanted if not _is_remembered(one)}  # many passes add to no sums
    kept = list(missing.values())
    return [kept[i] for i in share([one.function.py_func.__name__ for one in kept])] if can_start() else []


def _is_remembered(wanted: Wanted) -> bool:
    """Whether it need not be compiled, or could not be remembered."""
    function, signature, _ = wanted
    cache = function._cache
    return signature in function.signatures or not isinstance(cache, CompiledCache) or cache.holds(signature)


def _make_ready(wanted: Wanted) -> None:
    """Load or compile, unless it is there."""
    function, signature, _ = wanted
    if signature not in function.signatures:
        function.disable_compile(False)
        _compile(function, signature)
        function.disable_compile()


def _compile(function: Any, signature: tuple[Any, ...]) -> None:
    """Compile; a cache that is damaged or full is done without."""
    if isinstance(function._cache, NullCache):
        announce(signature, "since it cannot remember them")
    with simple_function_passes():
        try:
            function.compile(signature)
        except DAMAGES:
            _UNCACHED.add(function.py_func.__name__)
            if signature not in function.signatures:  # else it is compiled, and was not remembered
                function._cache = NullCache()
                function.compile(signature)


@contextmanager
def simple_function_passes() -> Iterator[None]:
    """Tell numba to clean up single functions at LLVM's first level, before the whole module is optimised at its own.

    What the second and third level do to a function, the passes for the module do anyway: a tenth of the time.
    """
    with global_compiler_lock:  # others who compile meanwhile wait, as they do for each other
        codegen = cpu_target.target_context.codegen()
        codegen._function_pass_manager = partial(codegen._function_pass_manager, opt=1)
        try:
            yield
        finally:
            del codegen._function_pass_manager


def describe(seconds: float) -> str:
    """Return a sentence for the receipt on what compiling took, and whether it is remembered."""
    again = "; its cache cannot be read or written (NUMBA_CACHE_DIR names the folder), so each process compiles"
    return f"numba compiled its passes, or loaded them, in {seconds:.2f} s before the fit{again if _UNCACHED else ''}"
