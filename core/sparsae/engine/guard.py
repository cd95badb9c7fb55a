"""The guard: a third-party kernel is compared with the reference before it is used for a fit or for `backprop`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from sparsae._types import Array
from sparsae.cost import Cost
from sparsae.engine.backprop_engine import GivenActivations
from sparsae.engine.engine import Engine
from sparsae.engine.fold import Sparsity
from sparsae.engine.kernel_calls import call_kernel, make_kernel
from sparsae.engine.partition import Partition
from sparsae.engine.sources import DataSource
from sparsae.engine.storage import Storage
from sparsae.errors import BackendWrongError
from sparsae.model import Parameters
from sparsae.plugins.contract import AnyKernel, Backend, Problem
from sparsae.plugins.kernel_checks import check_gradient_sums
from sparsae.plugins.registry import BackendRecord
from sparsae.plugins.sums import Sums, SumsLayout
from sparsae.reference import (
    Comparison,
    compare,
    compare_gradient_sums,
    evaluate_reference,
    gradient_sums,
    undecided_rows,
)

ROWS = 64
HOW: dict[object, str] = {1: "1 pass", 2: "2 passes", "direct": "direct sums"}
FIRST_BLOCK = 41  # the other block has 23 rows: a kernel that relies on full blocks is found out


def is_third_party(record: BackendRecord) -> bool:
    """Whether a backend is guarded: it is registered, and not bundled.  A `Backend` given as an object is not."""
    return bool(record.distribution) and not record.bundled


def check_kernel(
    backend: Backend, problem: Problem, cost: Cost, parameters: Parameters, x: Array, target: Array
) -> None:
    """Compare an evaluation with the reference on at most 64 rows, cut unevenly in two blocks, in one pass and in two.

    Where the kernel has `direct_sums`, sums of the problem's dtype are compared too.
    Rows in which rounding decides which units are active are left out.

    Parameters
    ----------
    backend : Backend
    problem : Problem
        Of the fit; its block size is not used.
    cost : Cost
    parameters : Parameters
        Where the fit starts, in the problem's dtype: the model's, before a pre-bias is folded in;
        with the threshold of the batch for batch top-k.
    x, target : ndarray (at most 64, n_visible)
        The same object when there is no separate target.

    Raises
    ------
    BackendWrongError
        When they disagree by more than rounding explains; names the quantity and the error.
    """
    settings: dict[str, Any] = asdict(cost) | {"activation": problem.activation, "k": problem.k}
    settings["bandwidth"] = problem.bandwidth
    undecided = undecided_rows(parameters, x, dtype=problem.dtype, **settings)
    if undecided.all():
        return
    if undecided.any():
        x, target = x[~undecided], x[~undecided] if target is x else target[~undecided]
    given = cost.kernel_parameters(parameters.astype(np.float64)).astype(problem.dtype)
    known = cost.known_sparsity(parameters)
    trained = parameters if problem.bandwidth is not None else parameters._replace(threshold=None)
    block_rows = min(FIRST_BLOCK, len(x))
    reference = evaluate_reference(parameters, x, target=target, output=problem.output, **settings)
    problem = replace(problem, block_rows=block_rows)
    for passes in (2, 1):
        sums = _sums(backend, problem, given, cost.sparsity if known is None else known, x, target, passes)
        _refuse(backend.name, [compare("rows", sums.rows, float(len(x)), 0.0)], HOW[passes])
        found = cost.evaluate(sums, trained.flatten())
        comparisons = reference.errors(
            problem.dtype,
            block_rows=FIRST_BLOCK,
            gradient=Parameters.from_flat(found.gradient, problem.n_visible, problem.n_hidden),
            rho_hat=found.rho_hat,
            density=found.density,
            squared_error=found.terms.squared_error,
        )
        _refuse(backend.name, comparisons, HOW[passes])
    s = cost.sparsity(found.rho_hat) if known is None else known
    direct = _direct_sums(backend, problem, given, s, x, target)
    if direct is not None:
        found = cost.evaluate(direct, trained.flatten())
        gradient = Parameters.from_flat(found.gradient, problem.n_visible, problem.n_hidden)
        _refuse(backend.name, reference.errors(problem.dtype, block_rows=len(x), gradient=gradient), HOW["direct"])


def _sums(
    backend: Backend,
    problem: Problem,
    given: Parameters,
    sparsity: Sparsity,
    x: Array,
    target: Array,
    passes: int,
) -> Sums:
    """Evaluate the sums over these rows, by an engine of their own."""
    source = DataSource(x, "X")
    engine = Engine(
        source,
        source if target is x else DataSource(target, "target"),
        backend=backend,
        problem=problem,
        partition=Partition(len(x), problem.block_rows),
        storage=Storage(kept=passes == 2, passes=passes),
        workers=1,
    )
    try:
        return engine.evaluate(given, sparsity)
    finally:
        engine.close()


def _direct_sums(
    backend: Backend, problem: Problem, given: Parameters, sparsity: Array, x: Array, target: Array
) -> Sums | None:
    """Return the sums of all rows in the problem's dtype, where anything stood before; None without `direct_sums`."""
    kernel, n, p = make_kernel(backend, problem), problem.n_visible, problem.n_hidden
    if not kernel.direct_sums:
        return None
    sums = Sums(n, p, np.zeros(SumsLayout.of(n, p).size, problem.dtype))
    sums.W1[...] = sums.W2[...] = np.nan
    weights = call_kernel(backend.name, kernel, "begin", given)
    for start in range(0, len(x), problem.block_rows):
        rows = slice(start, start + problem.block_rows)
        goal = x[rows] if target is x else target[rows]
        block = call_kernel(backend.name, kernel, "prepare", x[rows], goal, False)
        call_kernel(backend.name, kernel, "accumulate", weights, block, None, sparsity.astype(problem.dtype), sums)
    call_kernel(backend.name, kernel, "finish", weights, sums)
    return sums


def check_backprop(
    backend: Backend,
    kernel: AnyKernel,
    given: GivenActivations,
) -> bool:
    """Compare a kernel's `backprop` with the formulas on the first rows of the arrays given.

    Returns
    -------
    bool
        False where the formulas give nothing finite there, so that nothing was compared.

    Raises
    ------
    BackendWrongError
        As in `check_kernel`.
    """
    problem = kernel.problem
    a1, a2, a3, W2, sparsity, target = given
    rows = slice(0, min(FIRST_BLOCK, problem.block_rows))
    x, h, o = a1[rows], a2[rows], a3[rows]
    y = x if target is a1 else target[rows]
    with np.errstate(all="ignore"):
        expected, _ = gradient_sums(x, h, o, W2, sparsity, y, problem.output, problem.activation)
        if not all(np.isfinite(part.astype(problem.dtype)).all() for part in expected):
            return False
    sums = check_gradient_sums(kernel, call_kernel(backend.name, kernel, "backprop", x, h, o, W2, sparsity, y))
    units: dict[str, Any] = {"output": problem.output, "activation": problem.activation}
    comparisons = compare_gradient_sums(sums, x, h, o, W2, sparsity, y, dtype=problem.dtype, **units)
    _refuse(backend.name, comparisons, "backprop")
    return True


def _refuse(backend: str, comparisons: Iterable[Comparison], how: str) -> None:
    """Raise for the first quantity that does not agree."""
    for comparison in comparisons:
        if not comparison.agrees:
            raise BackendWrongError(
                f"Backend {backend!r} is wrong on the first rows of this problem ({how}): {comparison}. "
                f"See what else is wrong with: sparsae check {backend}."
            )
