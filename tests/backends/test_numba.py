"""What `numba` promises beyond what every backend does: its panels, tiles and exponentials."""

import gc
import os
import re
import subprocess
import sys
import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import sparsae
from sparsae import Objective, Parameters, Problem, Sums

pytest.importorskip("numba")
import numba

from sparsae_backends._memory import uncollected
from sparsae_backends.numba import compilation, emit, helpers, passes, tiles
from sparsae_backends.numba.base import block_rows
from sparsae_backends.numba.kernel import NumbaKernel

DTYPES = [np.dtype(np.float64), np.dtype(np.float32)]
at, at_row = emit.at, emit.at_row


@numba.njit
def multiply(A, bias, B, depth, C, count):
    """The product of one panel, from arrays."""
    tiles.multiply((at(A, 0), at(bias, 0)), (at(B, 0), depth, at(B, len(B))), (at(C, 0), count))


@numba.njit
def multiply_rows(A, bias, B, depth, C, count, rows):
    """The product for the first lanes of a panel, from arrays."""
    tiles.multiply_rows((at(A, 0), at(bias, 0)), (at(B, 0), depth, at(B, len(B))), (at(C, 0), count), rows)


@numba.njit
def add_gram(A, rows, B, columns, panels, C, row_step, column_step, add):
    """The product over all rows, from arrays."""
    tiles.add_gram((at(A, 0), rows), (at(B, 0), columns), panels, (at(C, 0), row_step, column_step), add)


@numba.njit
def add_gram_of_rows(A, rows, x, first, live, C, columns, add):
    """The product with rows as they are, from arrays."""
    right = (at_row(x, first, 0), live, x.strides[0], x.shape[1])
    tiles.add_gram_of_rows((at(A, 0), rows), right, (at(C, 0), columns, columns), add)


@numba.njit
def add_sums(A, columns, panels, out):
    """Sums of columns, from arrays."""
    tiles.add_sums((at(A, 0), columns), panels, at(out, 0))


@pytest.fixture(autouse=True, scope="module", params=DTYPES, ids=str)
def dtype(request):
    """Each dtype."""
    return request.param


def panels(a):
    """A matrix in panels, by NumPy."""
    m, n = a.shape
    width = emit.width(a.dtype)
    whole = np.zeros((-(-m // width) * width, n), a.dtype)
    whole[:m] = a
    return np.ascontiguousarray(whole.reshape(-1, width, n).transpose(0, 2, 1)).ravel()


def laid_out(a, layout):
    """The same matrix in memory of another order."""
    given = {
        "C": a,
        "F": np.asfortranarray(a),
        "strided": np.repeat(np.repeat(a, 2, axis=0), 3, axis=1)[::2, ::3],
        "backwards": np.ascontiguousarray(a[::-1, ::-1])[::-1, ::-1],
        "read-only": a.copy(),
    }[layout]
    given.flags.writeable = layout != "read-only"
    return given


@pytest.mark.parametrize("m", [1, 7, 47, 48, 49, 200])
@pytest.mark.parametrize("n", [1, 5, 16, 37])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "backwards", "read-only"])
def test_rows_of_any_layout_go_to_the_lanes(dtype, m, n, layout):
    """Panels hold every number in its place, and 0 in the lanes that have no row."""
    a = np.random.default_rng(0).random((m, n)).astype(dtype)
    given = laid_out(a, layout)
    expected = panels(a)
    out = np.full_like(expected, np.nan)
    compilation.compile_for((passes.to_panels,), dtype)
    passes.to_panels(given, out)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 16, 25])
@pytest.mark.parametrize("depth", [1, 2, 13])
def test_products_of_any_height(dtype, rows, depth):
    """Every height of a tile: a panel of C = bias + A B."""
    rng, width = np.random.default_rng(1), emit.width(dtype)
    A, bias = rng.random((rows, depth)).astype(dtype), rng.random(rows).astype(dtype)
    B, C = rng.random((depth, width)).astype(dtype), np.full(rows * width, np.nan, dtype)
    packed = np.empty(A.size + 64, dtype)
    compilation.compile_for((passes.pack,), dtype)
    passes.pack(A, dtype.type(1), packed)
    multiply(packed, bias, B.ravel(), depth, C, rows)
    np.testing.assert_allclose(C.reshape(rows, width), A @ B + bias[:, None], rtol=8 * depth * np.finfo(dtype).eps)
    lanes = emit.lanes(dtype)
    for live in {1, lanes, min(lanes + 1, width), tiles.SINGLY * lanes, tiles.SINGLY * lanes + 1, width}:
        some = np.full(rows * width, np.nan, dtype)
        multiply_rows(packed, bias, B.ravel(), depth, some, rows, live)
        np.testing.assert_array_equal(some.reshape(rows, width)[:, :live], C.reshape(rows, width)[:, :live])


@pytest.mark.parametrize("rows", [1, 2, 9, 16, 17, 40])
@pytest.mark.parametrize("columns", [1, 5, 16, 37])
@pytest.mark.parametrize("layout", ["C", "F", "strided", "backwards", "read-only"])
def test_weights_of_any_layout_are_packed(dtype, rows, columns, layout):
    """Tile by tile, column by column, scaled, and nothing is written beyond a register behind them."""
    a = np.random.default_rng(7).random((rows, columns)).astype(dtype)
    tiles_ = -(-rows // tiles.TALL)
    edges = [tile * rows // tiles_ for tile in range(tiles_ + 1)]
    expected = np.concatenate([a[i:j].T.ravel() for i, j in pairwise(edges)]) * dtype.type(-3)
    out = np.full(a.size + 80, np.nan, dtype)
    compilation.compile_for((passes.pack,), dtype)
    passes.pack(laid_out(a, layout), dtype.type(-3), out[: a.size + 64])
    np.testing.assert_array_equal(out[: a.size], expected)
    assert np.isnan(out[a.size + 64 :]).all()


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 11])
@pytest.mark.parametrize("columns", [1, 2, 3, 4, 5, 6, 103])
def test_gram_matrices_of_any_shape(dtype, rows, columns):
    """Every shape of a tile: sums over all rows, added to what is there, in either order."""
    rng = np.random.default_rng(2)
    A, B = rng.random((150, rows)).astype(dtype), rng.random((150, columns)).astype(dtype)
    many = -(-150 // emit.width(dtype))
    expected = A.astype(np.float64).T @ B.astype(np.float64)
    for order, c_rows, c_columns in (("C", columns, 1), ("F", 1, rows)):
        for out, add in ((np.ones(rows * columns), True), (np.full(rows * columns, np.nan, dtype), False)):
            add_gram(panels(A), rows, panels(B), columns, many, out, c_rows, c_columns, add)
            found = out.reshape((rows, columns), order=order)
            np.testing.assert_allclose(found, add + expected, rtol=150 * np.finfo(dtype).eps)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7, 11, 25])
@pytest.mark.parametrize("registers", [1, 2, 3, 4, 5, 9])
def test_gram_matrices_of_rows_as_they_are(dtype, rows, registers):
    """Every shape of a tile, from a row in the middle on, the last panel part filled."""
    rng, columns = np.random.default_rng(3), registers * emit.lanes(dtype)
    x, padded = rng.random((200, columns)).astype(dtype), np.zeros((200, columns + 3), dtype)
    padded[:, :columns] = x
    for live in (1, 47, 150):
        A = rng.random((live, rows)).astype(dtype)
        expected = A.astype(np.float64).T @ x[10 : 10 + live].astype(np.float64)
        for given in (x, padded[:, :columns]):
            for there in (columns, columns - emit.lanes(dtype) + 1):
                out, direct = np.ones(3 + rows * there + 3), np.full(3 + rows * there + 3, 1, dtype)
                add_gram_of_rows(panels(A), rows, given, 10, live, out[3:], there, True)
                add_gram_of_rows(panels(A), rows, given, 10, live, direct[3:], there, False)
                for sums, before in ((out, 1), (direct, 0)):
                    found = sums[3:-3].reshape(rows, there)
                    np.testing.assert_allclose(found, before + expected[:, :there], rtol=150 * np.finfo(dtype).eps)
                    np.testing.assert_array_equal(sums[[0, 1, 2, -3, -2, -1]], 1)


@pytest.mark.parametrize("columns", [1, 2, 7])
def test_sums_of_columns_are_added(dtype, columns):
    """The sum of each column over all rows is added to what is there."""
    A = np.random.default_rng(5).random((150, columns)).astype(dtype)
    out = np.ones(columns)
    add_sums(panels(A), columns, -(-150 // emit.width(dtype)), out)
    np.testing.assert_allclose(out, 1 + A.astype(np.float64).sum(axis=0), rtol=150 * np.finfo(dtype).eps)


@pytest.mark.parametrize("n", [1, 5, 16, 37])
@pytest.mark.parametrize("sigmoid", [True, False])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_errors_go_to_the_lanes(dtype, n, sigmoid, layout):
    """Whole and part panels hold delta3, and 0 in the lanes that have no row; sums of columns are added."""
    rng, width = np.random.default_rng(4), emit.width(dtype)
    m = width + 7
    a3, target = (np.asarray(rng.random((m, n)), dtype, order=layout) for _ in range(2))
    errors = (a3 - target) * (a3 * (1 - a3) if sigmoid else 1)
    expected, totals = panels(errors), np.ones(n, dtype)
    out = np.full_like(expected, np.nan)
    for panel in range(2):
        helpers.error_to_panel((a3, target), (panel * width, m), sigmoid, out[panel * width * n :], totals)
    np.testing.assert_allclose(out, expected, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_allclose(totals, 1 + errors.sum(axis=0), atol=m * np.finfo(dtype).eps)


def activations_of(dtype, z):
    """Hidden activations at pre-activations z, one unit for each, from one row of ones."""
    made = NumbaKernel(Problem(n_visible=1, n_hidden=len(z), dtype=dtype, block_rows=8))
    parameters = Parameters(np.zeros((len(z), 1)), z, np.zeros((1, len(z))), np.zeros(1)).astype(dtype)
    x = np.ones((1, 1), dtype)
    return made.encode(made.begin(parameters), made.prepare(x, x, True))[1]


def test_activations_are_accurate_relative_to_themselves(dtype):
    """A few units in the last place, from 1e-30 up to 1: the mean stands in a denominator."""
    z = np.linspace(-69, 40, 4001).astype(dtype).astype(np.float64)
    np.testing.assert_allclose(activations_of(dtype, z), 1 / (1 + np.exp(-z)), rtol=60 * np.finfo(dtype).eps)


def test_saturated_activations_are_0_or_1_and_nan_stays(dtype):
    """No overflow at +-800 or at infinity; NaN is not clipped into a number."""
    found = activations_of(dtype, np.array([-np.inf, -800.0, 800.0, np.inf, np.nan]))
    np.testing.assert_allclose(found, [0, 0, 1, 1, np.nan], atol=1e-37)


@pytest.mark.parametrize("output", ["sigmoid", "linear"])
@pytest.mark.parametrize("registers", [0, 1, 2])
def test_rows_that_are_not_there_add_nothing(dtype, registers, output):
    """A block with a panel that is filled in part equals blocks of a panel less and a row, and leaves no trace."""
    n, p, m = 6, 4, emit.width(dtype) + registers * emit.lanes(dtype) + 1
    rng = np.random.default_rng(3)
    x, parameters = rng.random((3 * m, n)).astype(dtype), Parameters.random(n, p).astype(dtype)
    made = NumbaKernel(Problem(n_visible=n, n_hidden=p, dtype=dtype, block_rows=3 * m, output=output))
    weights, s = made.begin(parameters), np.full(p, -0.5, dtype)

    def sums(*parts):
        into = Sums(n, p)
        for part in parts:
            block = made.prepare(part, part, False)
            made.accumulate(weights, block, made.encode(weights, block)[0], s, into)
        return into.vector

    sums(x)  # leaves its traces in the scratch
    for room in made.scratch.values():
        room.fill(np.nan)  # as memory that was never written may be
    np.testing.assert_allclose(sums(x[:m]), sums(x[: m - 1], x[m - 1 : m]), rtol=50 * np.finfo(dtype).eps, atol=1e-6)
    assert sums(x[:1])[0] == 1


def test_receipt_tells_what_compiling_took(dtype):
    """Compiling happens when the objective is made, before the first step, and is reported apart."""
    objective = Objective(np.full((9, 3), 0.5, dtype), 2, backend="numba")
    assert any("numba compiled its passes, or loaded them, in " in note for note in objective.receipt.notes)


def test_compiled_code_is_remembered_and_a_read_only_home_is_no_obstacle(tmp_path, dtype):
    """With no folder to remember in, functions are compiled anew in each process instead of failing."""
    script = (
        "import numba.core.caching, numpy\n"
        "def refuse(self, function): raise RuntimeError('cannot cache function: no locator available')\n"
        "numba.core.caching.FunctionCache.__init__ = refuse\n"
        "import sparsae\n"
        "objective = sparsae.Objective(numpy.full((9, 3), 0.5), 2, backend='numba')\n"
        "assert 'each process compiles' in ' '.join(objective.receipt.notes)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=dict(os.environ, NUMBA_CACHE_DIR=str(tmp_path)))


def test_what_is_remembered_is_loaded_without_preparing_the_compiler():
    """That would take several times as long, and import SciPy's linear algebra."""
    script = (
        "import sys, numpy, sparsae\n"
        "X = numpy.random.default_rng(0).random((9, 3))\n"
        "theta = sparsae.Parameters.random(3, 2).flatten()\n"
        "costs = [sparsae.Objective(X, 2, backend=name)(theta)[0] for name in ('numba', 'numpy')]\n"
        "numpy.testing.assert_allclose(*costs, rtol=1e-12)\n"
        "print('numba.np.linalg' in sys.modules)\n"
    )
    for _ in range(2):  # the first may have to compile
        found = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert found == "False\n"


def _fail_uncollected():
    with uncollected():
        assert not gc.isenabled()
        raise ZeroDivisionError


@pytest.mark.parametrize("enabled", [True, False])
def test_the_search_for_garbage_is_as_it_was_after_compiling(enabled):
    """Also after an error."""
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with pytest.raises(ZeroDivisionError):
            _fail_uncollected()
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if was else gc.disable)()


def test_nothing_is_compiled_after_the_constructor(dtype):
    """A fit calls what the constructor compiled, whatever the strides of the data; `backprop` compiles its own pass."""
    names = ("to_panels", "pack", "encode", "accumulate", "backprop")
    rng = np.random.default_rng(6)
    for x in (rng.random((30, 5)), np.asfortranarray(rng.random((30, 5)))):
        with Objective(x.astype(dtype), 3, backend="numba") as objective:
            before = {name: set(getattr(passes, name).signatures) for name in names}
            objective(Parameters.random(5, 3).flatten())
            assert {name: set(getattr(passes, name).signatures) for name in names} == before
    given = [rng.random(shape).astype(dtype) for shape in ((30, 5), (30, 3), (30, 5), (5, 3), (3,))]
    sparsae.backprop(*given, backend="numba")
    signatures = set(passes.backprop.signatures)
    assert compilation.signature_of("backprop", dtype, np.dtype(np.float64)) in signatures
    assert len(signatures) <= 2  # one for each dtype


@pytest.mark.parametrize("n", [1, 64, 784, 100_000])
def test_blocks_are_whole_panels(dtype, n):
    """No block but the last leaves lanes empty, whatever the dtype and the vector registers."""
    rows = block_rows(Problem(n_visible=n, n_hidden=3, dtype=dtype))
    assert rows % 48 == 0
    assert 48 <= rows <= 4800


def test_the_version_of_numba_has_an_upper_bound_that_takes_the_one_tested_here():
    """A newer numba may emit other code: it is allowed once these tests have run with it."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    (bounds,) = project["optional-dependencies"]["numba"]
    low, high = re.fullmatch(r"numba>=0\.(\d+),<0\.(\d+)", bounds).groups()
    assert int(low) <= int(numba.__version__.split(".")[1]) < int(high)


def test_it_is_registered_with_what_it_needs():
    """The extra's name is in the message that a user without numba sees."""
    made = sparsae.get_backend("numba")
    assert (made.threading, made.requires, made.install) == ("workers", ("numba",), "pip install 'sparsae[numba]'")
