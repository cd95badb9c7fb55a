"""Top-k units of `numba`: the selection, lists instead of matrices, and the sums made from them."""

import numpy as np
import pytest

pytest.importorskip("numba")

import sparsae
from sparsae import Objective, Parameters, Problem, Sums
from sparsae_backends.numba.topk_kernel import TopKKernel

DTYPES = [np.dtype(np.float64), np.dtype(np.float32)]
SIZES = [  # rows, inputs, hidden units, k: partly filled panels, tiles and registers, few groups, many groups
    (70, 6, 9, 3),
    (131, 23, 50, 7),
    (49, 17, 64, 64),
    (100, 5, 3, 1),
    (300, 64, 1500, 5),
]


@pytest.fixture(scope="module", params=DTYPES, ids=str)
def dtype(request):
    """Each dtype."""
    return request.param


def kernel_of(dtype, n, p, k, rows=64, output="linear"):
    """A kernel."""
    return TopKKernel(
        Problem(n_visible=n, n_hidden=p, dtype=dtype, activation="topk", k=k, output=output, block_rows=rows)
    )


def dense(hidden, m, k, p):
    """The matrix of activations that lists stand for."""
    a2 = np.zeros((m, p), hidden.values.dtype)
    for row in range(m):
        part = slice(row * k, row * k + hidden.counts[row])
        assert (np.diff(hidden.units[part]) > 0).all()
        a2[row, hidden.units[part]] = hidden.values[part]
    return a2


def select(z, k):
    """Top-k of the rows of z, through an encoder of ones on the diagonal."""
    m, p = z.shape
    made = kernel_of(z.dtype, p, p, k, rows=m)
    zeros = np.zeros(p, z.dtype)
    weights = made.begin(Parameters(np.eye(p, dtype=z.dtype), zeros, np.eye(p, dtype=z.dtype), zeros))
    hidden, total = made.encode(weights, made.prepare(z, z, True))
    a2 = dense(hidden, m, k, p)
    np.testing.assert_allclose(total, a2.sum(axis=0, dtype=np.float64), rtol=1e-12)
    return a2


def rows_of_numbers(p, dtype):
    """Rows that are hard to select from."""
    rng = np.random.default_rng(0)
    tiny, huge = np.finfo(dtype).smallest_subnormal, np.finfo(dtype).max
    return np.array(
        [
            rng.standard_normal(p),
            np.ones(p),
            np.zeros(p),
            -np.ones(p),
            np.arange(p),
            -np.arange(p),
            np.arange(p)[::-1],
            rng.integers(0, 3, p),
            rng.integers(-2, 2, p),
            np.where(rng.random(p) < 0.1, 1, -1),
            np.exp2(np.linspace(np.finfo(dtype).minexp, np.finfo(dtype).maxexp - 1, p)),
            np.where(np.arange(p) == p // 2, huge, tiny),
            np.where(np.arange(p) % 2, 0.0, -0.0),
            np.nextafter(dtype.type(1), dtype.type(2), dtype=dtype) + np.zeros(p),
            np.where(np.arange(p) < p // 2, 1, np.nextafter(dtype.type(1), dtype.type(0), dtype=dtype)),
        ]
    ).astype(dtype)


@pytest.mark.parametrize("p", [1, 7, 60, 400])
def test_selection_is_that_of_the_model(dtype, p):
    """To the last bit, for all k: ties go to the lower unit, nothing that is not positive is kept."""
    z = rows_of_numbers(p, dtype)
    for k in {1, min(2, p), p // 3 + 1, max(1, p - 1), p}:
        found = select(z, k)
        expected = Problem(n_visible=p, n_hidden=p, dtype=dtype, activation="topk", k=k).activate(z)
        np.testing.assert_array_equal(found, expected, err_msg=f"k={k}")


@pytest.mark.parametrize("m", [1, 47, 48, 49, 130])
def test_every_row_of_a_panel_is_selected_for_itself(dtype, m):
    """Rows of different scale and number of positive values, and lanes that have no row."""
    rng = np.random.default_rng(1)
    z = (rng.standard_normal((m, 150)) * np.exp(rng.uniform(-30, 30, (m, 1))) - rng.integers(0, 2, (m, 1))).astype(
        dtype
    )
    expected = Problem(n_visible=150, n_hidden=150, dtype=dtype, activation="topk", k=9).activate(z)
    np.testing.assert_array_equal(select(z, 9), expected)


@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf])
def test_what_is_not_finite_is_not_lost_in_the_selection(dtype, value):
    """Pre-activations that are NaN, of either sign, make the squared error NaN; other rows stay as they are."""
    m, p, k = 5, 30, 4
    z = np.random.default_rng(2).standard_normal((m, p)).astype(dtype)
    z[3, 20] = value
    made, eye, zeros = kernel_of(dtype, p, p, k), np.eye(p, dtype=dtype), np.zeros(p, dtype)
    weights, sums = made.begin(Parameters(eye, zeros, eye, zeros)), Sums(p, p)
    hidden, _ = made.encode(weights, (z, z))
    made.accumulate(weights, (z, z), hidden, None, sums)
    assert not np.isfinite(sums.squared_error)
    others = [0, 1, 2, 4]
    expected = made.problem.activate(z[others])
    np.testing.assert_array_equal(dense(hidden, m, k, p)[others], expected)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_sums_are_those_of_the_dense_formulas(dtype, size, output):
    """Cost, gradient and densities of NumPy's backend, for one and two passes, with a separate target."""
    m, n, p, k = size
    rng = np.random.default_rng(3)
    X = rng.random((m, n)).astype(dtype)
    parameters = Parameters(*(rng.standard_normal(shape) / shape[-1] ** 0.5 for shape in ((p, n), (p,), (n, p), (n,))))
    options = {"activation": "topk", "k": k, "output": output, "weight_decay": 0.0, "target": X[::-1].copy()}
    with Objective(X, p, backend="numpy", **options) as objective:
        expected = objective.evaluate(parameters.flatten())
    tolerance = 100 * np.finfo(dtype).eps
    for passes in (1, 2):
        with Objective(X, p, backend="numba", block_rows=60, passes=passes, **options) as objective:
            found = objective.evaluate(parameters.flatten())
        np.testing.assert_allclose(found.cost, expected.cost, rtol=tolerance)
        np.testing.assert_allclose(
            found.gradient, expected.gradient, atol=tolerance * np.abs(expected.gradient).max(), rtol=0
        )
        np.testing.assert_array_equal(found.density, expected.density)
        np.testing.assert_allclose(found.rho_hat, expected.rho_hat, rtol=tolerance, atol=tolerance)


def test_sparsity_vector_reaches_active_units_alone(dtype):
    """delta2 = (delta3 W2 + s) where a unit is active: s is added to b1 as often as the unit fires."""
    m, n, p, k = 60, 8, 20, 3
    rng = np.random.default_rng(4)
    x = rng.standard_normal((m, n)).astype(dtype)
    parameters = Parameters(*(rng.standard_normal(shape) for shape in ((p, n), (p,), (n, p), (n,)))).astype(dtype)
    made, s = kernel_of(dtype, n, p, k), rng.standard_normal(p).astype(dtype)
    weights = made.begin(parameters)
    without, given = Sums(n, p), Sums(n, p)
    made.accumulate(weights, (x, x), None, np.zeros(p, dtype), without)
    made.accumulate(weights, (x, x), None, s, given)
    np.testing.assert_allclose(given.b1 - without.b1, s * without.fired, rtol=1e-4, atol=1e-3)
    assert without.fired.sum() == 3 * m


@pytest.mark.parametrize("layout", ["F", "strided", "read-only"])
def test_rows_of_any_layout_give_the_same_bits(dtype, layout):
    """Rows in C order are used as they are, others are copied, whether they are kept or not."""
    x = np.random.default_rng(5).standard_normal((90, 12)).astype(dtype)
    given = {"F": np.asfortranarray(x), "strided": np.repeat(x, 2, axis=1)[:, ::2], "read-only": x.copy()}[layout]
    given.flags.writeable = layout != "read-only"
    made = kernel_of(dtype, 12, 30, 4, rows=90)
    weights = made.begin(Parameters.random(12, 30, seed=1).astype(dtype))
    found = []
    for rows, keep in ((x, True), (given, True), (given, False)):
        block = made.prepare(rows, rows, keep)
        assert block[0] is block[1]
        sums = Sums(12, 30)
        made.accumulate(weights, block, None, None, sums)
        found.append(sums.vector)
    np.testing.assert_array_equal(found[0], found[1])
    np.testing.assert_array_equal(found[0], found[2])


@pytest.mark.filterwarnings("ignore::sparsae.errors.ThreadsWarning")
def test_number_of_workers_changes_no_bit(dtype):
    """Blocks of a shape's own size, whoever computes them."""
    X = np.random.default_rng(6).standard_normal((500, 20)).astype(dtype)
    theta = Parameters.random(20, 70, seed=2).flatten()
    found = []
    for threads in (1, 2, 3):
        with Objective(
            X, 70, activation="topk", k=6, output="linear", backend="numba", threads=threads, block_rows=100
        ) as objective:
            found.append(objective(theta))
    for cost, gradient in found[1:]:
        assert cost == found[0][0]
        np.testing.assert_array_equal(gradient, found[0][1])


def test_sums_of_the_problems_dtype_are_written(dtype):
    """Where no rows are in them yet, W1 and W2 may hold anything; after that they are added to."""
    rng = np.random.default_rng(8)
    made = kernel_of(dtype, 37, 50, 6, rows=80)
    weights = made.begin(Parameters.random(37, 50, seed=3).astype(dtype))
    direct, sums = Sums(37, 50, np.zeros(Sums(37, 50).layout.size, dtype)), Sums(37, 50)
    direct.W1[...] = direct.W2[...] = np.nan
    for m in (80, 30):
        x = rng.standard_normal((m, 37)).astype(dtype)
        for into in (direct, sums):
            made.accumulate(weights, (x, x), None, None, into)
    scale = np.abs(sums.head).max()
    np.testing.assert_allclose(direct.head, sums.head, rtol=0, atol=200 * np.finfo(dtype).eps * scale)


@pytest.mark.parametrize("size", [(70, 5, 9), (60, 100, 120)], ids=str)
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_sums_from_given_activations_are_those_of_the_formulas(dtype, size, output):
    """One active unit in a row, all of them, none in some rows, equal ones; a separate target and a sparsity vector."""
    m, n, p = size
    rng = np.random.default_rng(9)
    a1, a3, target = (rng.random((m, n)).astype(dtype) for _ in range(3))
    W2, s = rng.standard_normal((n, p)).astype(dtype), rng.standard_normal(p).astype(dtype)
    for k in (1, 4, p):
        z = rng.integers(1 if k == p else -2, 3, (m, p)).astype(dtype)
        z[::7] = 0
        problem = Problem(n_visible=n, n_hidden=p, dtype=dtype, activation="topk", k=k, output=output)
        a2 = problem.activate(z.copy())
        counts = np.count_nonzero(a2, axis=1)
        assert counts.min() == 0
        assert counts.max() == k
        found = sparsae.backprop(
            a1, a2, a3, W2, s, target=target, activation="topk", k=k, output=output, backend="numba"
        )
        d3 = (a3 - target).astype(np.float64) * (a3 * (1 - a3) if output == "sigmoid" else 1)
        d2 = (d3 @ W2 + s) * (a2 != 0)
        for part, true in zip(found, (d2.T @ a1, d2.sum(0), d3.T @ a2, d3.sum(0)), strict=True):
            tolerance = 200 * np.finfo(dtype).eps
            np.testing.assert_allclose(part, true, rtol=0, atol=tolerance * np.abs(true).max())


def test_a_block_leaves_no_traces(dtype):
    """A short block after a long one, with fewer active units, equals the short block alone."""
    rng = np.random.default_rng(7)
    long, short = rng.standard_normal((64, 10)).astype(dtype), -np.ones((5, 10), dtype)
    made, other = kernel_of(dtype, 10, 40, 8), kernel_of(dtype, 10, 40, 8)
    parameters = Parameters.random(10, 40, seed=3).astype(dtype)
    sums = [Sums(10, 40), Sums(10, 40)]
    made.accumulate(made.begin(parameters), (long, long), None, None, Sums(10, 40))
    for kernel, into in zip((made, other), sums, strict=True):
        kernel.accumulate(kernel.begin(parameters), (short, short), None, None, into)
    np.testing.assert_array_equal(sums[0].vector, sums[1].vector)


def test_the_backend_takes_top_k_and_says_what_compiling_took(dtype):
    """It is declared, and the receipt has the note."""
    assert "topk" in sparsae.get_backend("numba").activations
    objective = Objective(np.ones((9, 3), dtype), 4, activation="topk", k=2, output="linear", backend="numba")
    notes = objective.receipt.notes
    assert any("numba compiled its passes, or loaded them, in " in note for note in notes)
    assert not any("bfloat16" in note for note in notes)  # so few units are computed whole
