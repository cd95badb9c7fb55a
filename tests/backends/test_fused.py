"""What `fused` promises beyond what every backend does."""

import numpy as np
import pytest

from sparsae import BackendError, Objective, Parameters, Problem, Sums, train
from sparsae.engine.setup import resolve_problem
from sparsae.plugins.selection import get_backend
from sparsae.reference import evaluate_reference
from sparsae_backends._memory import aligned
from sparsae_backends.fused.blocks import block_rows, layers_of, padded, small_rows, stacked
from sparsae_backends.fused.kernel import FusedKernel
from sparsae_backends.fused.power_table import TablePowers
from sparsae_backends.fused.powers import UfuncPowers, fastest_powers, has_vector_code
from sparsae_backends.fused.scratch import RepeatedVector

DTYPES = [np.dtype(np.float64), np.dtype(np.float32)]


def kernel(n, p, rows, dtype=DTYPES[0], output="sigmoid"):
    return FusedKernel(Problem(n_visible=n, n_hidden=p, dtype=dtype, block_rows=rows, output=output))


def sums_of(made, x, parameters, *, keep, passes):
    """Sums over one block."""
    s = np.linspace(-1, 1, parameters.n_hidden).astype(x.dtype)
    block, weights = made.prepare(x, x, keep), made.begin(parameters.astype(x.dtype))
    into = Sums(parameters.n_visible, parameters.n_hidden)
    a2 = made.encode(weights, block)[0] if passes == 2 else None
    made.accumulate(weights, block, a2, s if passes == 2 else None, into)
    made.finish(weights, into)
    return into.vector


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("passes", [1, 2])
def test_kept_and_streamed_blocks_give_the_same_bits(dtype, passes):
    """Leaving out the clip where no exponent can overflow changes nothing."""
    rng = np.random.default_rng(0)
    parameters, x = Parameters.random(9, 5), rng.random((40, 9)).astype(dtype)
    made = kernel(9, 5, 64, dtype)
    kept, streamed = (sums_of(made, x, parameters, keep=keep, passes=passes) for keep in (True, False))
    np.testing.assert_array_equal(kept, streamed)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("keep", [True, False])
def test_saturated_units_are_silent_and_finite(dtype, sign, keep):
    """Exponents far outside the dtype's range raise no floating-point flag that NumPy reports, and give 0 or 1."""
    parameters = Parameters(np.full((3, 4), sign * 400.0), np.zeros(3), np.full((4, 3), 400.0), np.zeros(4))
    x = np.ones((24, 4), dtype)
    made = kernel(4, 3, 24, dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        sums = Sums(4, 3, sums_of(made, x, parameters, keep=keep, passes=2))
    assert np.isfinite(sums.vector).all()
    np.testing.assert_allclose(sums.hidden, 24.0 if sign > 0 else 0.0, atol=1e-30)


@pytest.mark.parametrize("z", [-30.0, -14.0, -5.0])
def test_mean_of_units_that_are_almost_off_is_accurate_relative_to_itself(z):
    """It stands in a denominator: 1e-14 relative where the activation is 1e-13."""
    parameters = Parameters(np.zeros((2, 3)), np.full(2, z), np.zeros((3, 2)), np.zeros(3))
    made = kernel(3, 2, 8)
    _, total = made.encode(made.begin(parameters), made.prepare(np.ones((8, 3)), np.ones((8, 3)), True))
    np.testing.assert_allclose(total, 8 / (1 + np.exp(-z)), rtol=1e-14)


def test_short_blocks_share_scratch_and_forget_longer_ones():
    """Blocks of changing length, in any order, give what a fresh kernel gives."""
    rng = np.random.default_rng(1)
    parameters, made = Parameters.random(6, 4), kernel(6, 4, 50)
    for rows in (50, 7, 50, 1, 33, 7):
        x = rng.random((rows, 6))
        np.testing.assert_array_equal(
            sums_of(made, x, parameters, keep=False, passes=2),
            sums_of(kernel(6, 4, rows), x, parameters, keep=False, passes=2),
        )


def test_the_sparsity_vector_is_read_anew_when_it_changes():
    """The copy that is written out for every row follows the vector, also one that was changed in place."""
    repeated, vector = RepeatedVector(3, 4, DTYPES[0]), np.array([1.0, 2.0])
    np.testing.assert_array_equal(repeated.of(vector, 3), [[1, 2, 0, 0]] * 3)
    vector[0] = -5
    np.testing.assert_array_equal(repeated.of(vector, 2), [[-5, 2, 0, 0]] * 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("p", [12, 14, 15, 16, 25, 31, 32])
def test_padding_of_the_hidden_layer_changes_nothing(dtype, p):
    """Widths beside a multiple of a vector register: sums stay within the error model."""
    rng = np.random.default_rng(2)
    parameters, X = Parameters.random(10, p), rng.random((70, 10)).astype(dtype)
    cost, gradient = Objective(X, p, backend="fused", block_rows=32)(parameters.flatten())
    errors = evaluate_reference(parameters, X).errors(dtype, cost=cost, gradient=Parameters.from_flat(gradient, 10, p))
    assert all(comparison.agrees for comparison in errors), errors


def test_columns_of_zeros_have_a_gradient_of_zero():
    """Shifts of the data are not folded in: a pixel that is always off leaves no rounding in its weights' gradient."""
    rng = np.random.default_rng(3)
    X = rng.random((100, 8))
    X[:, 2] = 0
    _, gradient = Objective(X, 5, backend="fused", weight_decay=0)(Parameters.random(8, 5).flatten())
    assert (Parameters.from_flat(gradient, 8, 5).W1[:, 2] == 0).all()


def test_widths_are_padded_only_in_single_precision_and_only_where_it_is_cheap():
    """26 columns become 32 in float32; 18 stay, for 32 would be 78 % more."""
    assert [padded(c, DTYPES[1]) for c in (13, 16, 18, 26, 33, 40)] == [16, 16, 18, 32, 33, 48]
    assert padded(26, DTYPES[0]) == 26


@pytest.mark.parametrize("n", [1, 3, 64, 200, 784, 4000])
@pytest.mark.parametrize("p", [1, 25, 196, 900])
@pytest.mark.parametrize("dtype", DTYPES)
def test_blocks_have_rows_in_groups_of_eight_and_bounded_scratch(n, p, dtype):
    """No shape asks for scratch of more than some tens of MB or for blocks of fewer than 8 rows."""
    for all_rows in (512, 10**9):
        rows = block_rows(Problem(n_visible=n, n_hidden=p, dtype=dtype, block_rows=all_rows))
        assert rows >= 8
        assert rows % 8 == 0
        assert rows * max(n, p) * dtype.itemsize <= 36 << 20


def test_scratch_is_aligned():
    """The first element of every array stands on a cache line."""
    for shape in ((1,), (3, 5), (600, 26)):
        assert aligned(shape, DTYPES[0]).ctypes.data % 64 == 0


WAYS = {
    "numpy.exp2": lambda dtype: UfuncPowers(np.exp2, dtype),
    "numpy.exp": lambda dtype: UfuncPowers(np.exp, dtype),
    "a table of powers of two": lambda dtype: TablePowers(),
}
CHOICES = [(name, dtype) for name in WAYS for dtype in DTYPES if "table" not in name or dtype == np.float64]


@pytest.mark.parametrize(("name", "dtype"), CHOICES)
@pytest.mark.parametrize("scale", [0.1, 3.0, 300.0])
def test_each_way_to_raise_to_a_power_stays_within_the_error_model(name, dtype, scale, monkeypatch):
    """Cost and gradient, also where the output is saturated, with the note that says which one ran."""
    monkeypatch.setattr("sparsae_backends.fused.kernel.fastest_powers", lambda dtype, choices: WAYS[name](dtype))
    rng = np.random.default_rng(7)
    X, drawn = rng.random((90, 12)).astype(dtype), Parameters.random(12, 6, seed=2)
    parameters = Parameters(drawn.W1, drawn.b1, drawn.W2 * scale, drawn.b2)
    reference = evaluate_reference(parameters, X)
    with Objective(X, 6, backend="fused", block_rows=32) as objective, np.errstate(all="raise", under="ignore"):
        cost, gradient = objective(parameters.flatten())
    cost_bound, bounds = reference.bound(dtype)
    assert abs(cost - reference.cost) <= cost_bound
    assert (abs(gradient - reference.gradient.flatten()) <= bounds.flatten()).all()
    assert any(f" {name}, " in note for note in objective.receipt.notes)


@pytest.mark.parametrize(("name", "dtype"), CHOICES)
def test_the_way_to_raise_to_a_power_can_be_asked_for(name, dtype, monkeypatch):
    """By a variable, which the receipt repeats; kernels of all shapes obey."""
    key = WAYS[name](dtype).key
    monkeypatch.setenv("SPARSAE_FUSED_POWERS", key)
    X = np.random.default_rng(0).random((9, 12)).astype(dtype)
    for units in ("sigmoid", "relu"):
        with Objective(X, 3, backend="fused", activation=units, output="sigmoid") as objective:
            objective.evaluate(Parameters.random(12, 3).flatten())
        said = f"Last bits: fused computes sigmoids with {name}, as asked (SPARSAE_FUSED_POWERS={key})."
        assert said in objective.receipt.notes


@pytest.mark.parametrize(("asked", "dtype"), [("tanh", np.float64), ("table", np.float32)])
def test_a_way_to_raise_to_a_power_that_there_is_not_is_refused(asked, dtype, monkeypatch):
    """The message names those that there are."""
    monkeypatch.setenv("SPARSAE_FUSED_POWERS", asked)
    possible = "exp2, exp, table" if dtype == np.float64 else "exp2, exp"
    with pytest.raises(BackendError, match=rf"^SPARSAE_FUSED_POWERS={asked} names .* possible are {possible}\. Unset"):
        Objective(np.full((9, 4), 0.5, dtype), 3, backend="fused")


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
def test_a_fit_that_is_resumed_with_another_way_says_so(tmp_path, monkeypatch):
    """And how to go on with the first; the same way gives the bits of a fit that never stopped."""
    X, options = np.random.default_rng(0).random((40, 6)), {"backend": "fused", "dtype": np.float64}
    fits = {}
    for way in ("exp", "exp2"):
        monkeypatch.setenv("SPARSAE_FUSED_POWERS", "exp")
        file = tmp_path / way
        train(X, 3, max_iter=2, checkpoint=file, **options)
        monkeypatch.setenv("SPARSAE_FUSED_POWERS", way)
        fits[way] = train(X, 3, max_iter=5, checkpoint=file, resume=True, **options)
    said = (
        "The last bits may differ from here: before, the receipt said: "
        "Last bits: fused computes sigmoids with numpy.exp, as asked (SPARSAE_FUSED_POWERS=exp)."
    )
    assert [note for note in fits["exp2"].receipt.notes if note.startswith("The last bits may")] == [said]
    assert not [note for note in fits["exp"].receipt.notes if note.startswith("The last bits may")]
    monkeypatch.setenv("SPARSAE_FUSED_POWERS", "exp")
    whole = train(X, 3, max_iter=5, **options)
    assert whole.receipt.choices == {"powers": "exp"}
    assert whole.parameters.flatten().tobytes() == fits["exp"].parameters.flatten().tobytes()


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
@pytest.mark.parametrize("settings", [{}, {"activation": "relu", "output": "sigmoid", "method": "adam"}])
def test_a_resumed_fit_goes_on_with_the_way_that_it_began_with(settings, tmp_path, monkeypatch):
    """Whatever is fastest here: the bits are those of a fit that never stopped, and no note says otherwise."""
    X, options = np.random.default_rng(0).random((40, 6)), {"backend": "fused", "dtype": np.float64, **settings}
    monkeypatch.setenv("SPARSAE_FUSED_POWERS", "exp")
    whole = train(X, 3, max_iter=5, **options)
    train(X, 3, max_iter=2, checkpoint=tmp_path / "fit", **options)
    monkeypatch.delenv("SPARSAE_FUSED_POWERS")
    resumed = train(X, 3, max_iter=5, checkpoint=tmp_path / "fit", resume=True, **options)
    assert resumed.parameters.flatten().tobytes() == whole.parameters.flatten().tobytes()
    said = (
        "Last bits: fused computes sigmoids with numpy.exp, as the fit that is resumed did (SPARSAE_FUSED_POWERS=exp)."
    )
    assert said in resumed.receipt.notes
    assert not [note for note in resumed.receipt.notes if note.startswith("The last bits may")]
    fresh = train(X, 3, max_iter=1, **options)
    assert "as the fit that is resumed did" not in str(fresh.receipt), "the choice is that fit's alone"


@pytest.mark.parametrize(("name", "dtype"), CHOICES)
@pytest.mark.parametrize("reach", [40.0, np.inf])
def test_powers_are_accurate(name, dtype, reach):
    """Within three units in the last place of those in long double, in fewer elements than a chunk and in more."""
    powers = WAYS[name](dtype)
    x = np.random.default_rng(8).uniform(-27, 27, (401, 50)).astype(dtype)
    z = x * dtype.type(powers.factor)
    long = z.astype(np.longdouble)
    expected = np.exp(long) if powers.factor == 1 else np.exp2(long / round(powers.factor * np.log(2)))
    powers.replace(z, reach * powers.factor)
    np.testing.assert_allclose(z.astype(np.longdouble), expected, rtol=3 * np.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize(("name", "dtype"), CHOICES)
def test_powers_have_limits_that_are_normal_numbers(name, dtype):
    """Exponents that would overflow give a normal number; `off` one that vanishes beside 1; NaN stays NaN."""
    powers = WAYS[name](dtype)
    z = np.array([[1e30, -1e30, powers.off, 20 * powers.factor]], dtype)
    with np.errstate(over="raise", invalid="raise"):
        powers.replace(z, np.inf)
    assert np.isfinite(z).all()
    assert (z[0, :2] > [2.0**100, 0]).all()
    assert (1 + z[0, 1:3] == 1).all()
    z = np.array([[np.nan, 1.0]], dtype)
    powers.replace(z, np.nan)
    np.testing.assert_array_equal(np.isnan(z), [[True, False]])


def test_powers_far_from_the_table_are_accurate_too():
    """Where one exponent exceeds the table, none is limited by it: units that are off matter for the mean."""
    powers = TablePowers()
    z = np.array([[-3.0, 100.0, 900.0]]) * 1024
    powers.replace(z, np.inf)
    np.testing.assert_allclose(z, np.exp2([[-3.0, 100, 900]]), rtol=4e-16)


def test_the_way_follows_what_numpy_dispatches(monkeypatch):
    """exp2 where NumPy has vector code for it; else the table in float64 and exp in float32."""
    found = {}
    for has in (True, False):
        monkeypatch.setattr("sparsae_backends.fused.powers.has_vector_code", lambda *_, has=has: has)
        found[has] = [fastest_powers(dtype).name for dtype in DTYPES]
    assert found == {True: ["numpy.exp2", "numpy.exp2"], False: ["a table of powers of two", "numpy.exp"]}


def test_vector_code_is_read_from_numpy(monkeypatch):
    """The target that NumPy says is in use, for the dtype that is asked for; none where NumPy does not say."""
    targets = {"exp2": {"ff": {"current": "X86_V4", "available": ""}, "dd": {"current": "baseline(X86_V2)"}}}
    introspect = pytest.importorskip("numpy.lib.introspect")
    monkeypatch.setattr(introspect, "opt_func_info", lambda **_: targets)
    assert [has_vector_code("exp2", dtype) for dtype in DTYPES] == [False, True]
    assert not has_vector_code("tanh", DTYPES[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [624, 1248, 1250, 1251, 1872, 1877])
def test_a_block_in_layers_has_the_sums_of_its_rows(dtype, rows):
    """One, two and three layers, and blocks that no small number of layers divides; both passes."""
    rng = np.random.default_rng(rows)
    parameters, x = Parameters.random(64, 24), rng.random((rows, 64)).astype(dtype)
    whole = kernel(64, 24, rows, dtype)
    assert whole.scratch.layers == layers_of(rows, 64 * whole.width)
    for passes in (1, 2):
        found = sums_of(whole, x, parameters, keep=True, passes=passes)
        pieces = sum(
            sums_of(kernel(64, 24, 300, dtype), x[i : i + 300], parameters, keep=True, passes=passes)
            for i in range(0, rows, 300)
        )
        np.testing.assert_allclose(found, pieces, rtol=0, atol=abs(pieces).max() * 100 * np.finfo(dtype).eps)


def test_layers_are_equal_small_and_few():
    """As few as fit the fast path and divide the rows; a single one where no small number does, or rows are long."""
    assert [layers_of(m, 1600) for m in (1, 624, 625, 1248, 1250, 1251, 1253, 1259)] == [1, 1, 5, 2, 5, 3, 7, 1]
    assert layers_of(5000, 784 * 197) == 1
    assert layers_of(864, 256 * 26) == 6
    cut = stacked(np.arange(12).reshape(6, 2), 3)
    np.testing.assert_array_equal(cut[1], [[4, 5], [6, 7]])


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (DTYPES[0], {100: (100, 1), 1200: (1200, 1), 2000: (1008, 2), 10_000: (1272, 8), 10**6: (2400, 417)}),
        (DTYPES[1], {100: (100, 1), 1464: (1464, 1), 2000: (1008, 2), 10_000: (2544, 4), 10**6: (4880, 205)}),
    ],
)
def test_rows_are_cut_in_one_two_or_a_multiple_of_four_blocks(dtype, expected):
    """The backend is told how many rows there are; blocks are of one length but for the last, and whole layers.

    Of very many, rounding to whole layers may leave out the last ones.
    """
    draft = Problem(n_visible=64, n_hidden=25, dtype=dtype)
    for m, (rows, blocks) in expected.items():
        problem = resolve_problem(get_backend("fused"), draft, n_samples=m, threads=1, block_rows=None)[1]
        assert (problem.block_rows, -(-m // rows)) == (rows, blocks)
        assert rows // layers_of(rows, 64 * padded(26, dtype)) <= small_rows(64 * padded(26, dtype))


def test_rows_are_copied_where_they_are_kept_or_not_in_c_order():
    """A block that is read in each evaluation is used as it lies; one that is kept has its own, aligned rows."""
    made, x = kernel(5, 3, 8, DTYPES[0]), np.random.default_rng(0).random((8, 5))
    assert made.prepare(x, x, False).x is x
    kept, turned = made.prepare(x, x, True), made.prepare(np.asfortranarray(x), x, False)
    for rows in (kept.x, turned.x):
        np.testing.assert_array_equal(rows, x)
        assert rows.flags.c_contiguous
        assert not np.shares_memory(rows, x)
    assert kept.x.ctypes.data % 64 == 0
    assert turned.target is x
