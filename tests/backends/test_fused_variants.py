"""What `fused` promises for relu, top-k and JumpReLU units, beside what the kit proves of every backend."""

from __future__ import annotations

import itertools
import sys

import numpy as np
import pytest

import sparsae
from sparsae import Objective, Parameters, Problem, Sums
from sparsae.model.units import topk
from sparsae_backends.fused import make_kernel
from sparsae_backends.fused.dense import DenseKernel
from sparsae_backends.fused.kernel import FusedKernel
from sparsae_backends.fused.selection import TopSelection
from sparsae_backends.fused.sparse import SparseKernel, transpose

RNG = np.random.default_rng(4)
N, P, M = 7, 40, 90
X = np.clip(RNG.normal(size=(M, N)) / 4 + 0.2, 0, 1)
START = Parameters(
    RNG.normal(size=(P, N)), RNG.normal(size=P) / 4 - 0.3, RNG.normal(size=(N, P)) / 6, RNG.normal(size=N)
)
VARIANTS = {
    "sigmoid": {"activation": "sigmoid", "rho": 0.2},
    "relu": {"activation": "relu", "l1": 0.3},
    "topk, sparse": {"activation": "topk", "k": 3},
    "topk, one unit": {"activation": "topk", "k": 1},
    "topk, dense": {"activation": "topk", "k": 9},
    "topk, all units": {"activation": "topk", "k": P},
    "jumprelu": {"activation": "jumprelu", "l0": 0.2, "bandwidth": 0.3},
}


def problem_of(p, k, dtype=np.float64, n=N, **options):
    """A top-k problem."""
    return Problem(n_visible=n, n_hidden=p, activation="topk", k=k, dtype=np.dtype(dtype), **options)


def start_of(options):
    """Parameters for a variant: with thresholds for JumpReLU, some of them 0."""
    return START._replace(threshold=np.arange(P) / P) if options["activation"] == "jumprelu" else START


@pytest.fixture(autouse=True)
def _dense(monkeypatch):
    """Sigmoid units are computed as those of very wide layers are."""
    monkeypatch.setattr("sparsae_backends.fused.WIDE", 1)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_evaluations_are_those_of_plain_numpy(name, output, dtype):
    """Cost, gradient and densities, in one pass and two, in short and long blocks, with a target and a pre-bias."""
    theta = start_of(VARIANTS[name]).flatten()
    given = {"target": X[::-1], "output": output, "dtype": dtype, **VARIANTS[name]}
    for passes, block_rows, pre_bias in itertools.product((1, 2), (16, None), (True, False)):
        options = {"passes": passes, "block_rows": block_rows, "pre_bias": pre_bias, **given}
        found = Objective(X, P, backend="fused", threads=2, **options).evaluate(theta)
        expected = Objective(X, P, backend="numpy", threads=1, **options).evaluate(theta)
        tolerance = 2e-13 if dtype == "float64" else 3e-5
        np.testing.assert_allclose(found.cost, expected.cost, rtol=tolerance)
        atol = tolerance * abs(expected.gradient).max()
        np.testing.assert_allclose(found.gradient, expected.gradient, rtol=0, atol=atol)
        np.testing.assert_allclose(found.density, expected.density, rtol=0, atol=0 if dtype == "float64" else 1 / M)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("output", ["linear", "sigmoid"])
def test_backprop_of_given_activations(name, output):
    """`sparsae.Kernel.backprop` is the formula with a slope of 0 or 1, in more pieces than one."""
    options = {key: value for key, value in VARIANTS[name].items() if key not in ("l1", "l0", "rho")}
    problem = Problem(n_visible=N, n_hidden=P, dtype=X.dtype, output=output, block_rows=32, **options)
    sigmoid = name == "sigmoid"
    a2 = RNG.random((M, P)) if sigmoid else np.maximum(X @ START.W1.T - 0.4, 0)
    a3, s = RNG.random((M, N)), RNG.normal(size=P)
    found = make_kernel(problem).backprop(X, a2, a3, START.W2, s, X)
    delta3 = (a3 - X) * (a3 * (1 - a3) if output == "sigmoid" else 1)
    delta2 = (delta3 @ START.W2 + s) * (a2 * (1 - a2) if sigmoid else a2 > 0)
    expected = delta2.T @ X, delta2.sum(0), delta3.T @ a2, delta3.sum(0)
    for part, true in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, true, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", VARIANTS)
def test_workers_change_no_bit(name):
    """One, two and three of them, in blocks of 16 rows; float32, where sums in another order would show."""
    options = {"dtype": "float32", "block_rows": 16, "backend": "fused", **VARIANTS[name]}
    theta = start_of(VARIANTS[name]).flatten()
    with pytest.warns(sparsae.errors.ThreadsWarning):
        results = [Objective(X, P, threads=count, **options)(theta) for count in (1, 2, 3, 99)]
    for cost, gradient in results[1:]:
        assert cost == results[0][0]
        np.testing.assert_array_equal(gradient, results[0][1])


def rows_of(kind, m, p, rng):
    """Pre-activations of one kind."""
    made = {
        "normal": lambda: rng.normal(size=(m, p)),
        "ties": lambda: rng.integers(-2, 3, size=(m, p)).astype(float),
        "all equal": lambda: np.ones((m, p)),
        "few positive": lambda: rng.normal(size=(m, p)) - 1.8,
        "none positive": lambda: -rng.random((m, p)),
        "sorted": lambda: np.sort(rng.normal(size=(m, p)), axis=1),
        "a row of ties among others": lambda: np.where(np.arange(m)[:, None] == 0, 2.0, rng.normal(size=(m, p))),
    }
    return made[kind]()


@pytest.mark.parametrize(
    "kind", ["normal", "ties", "all equal", "few positive", "none positive", "sorted", "a row of ties among others"]
)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_selection_is_the_definition(kind, dtype):
    """The same values at the same places as `topk`, of equal ones the first; by unit; 0 where too few are positive."""
    rng = np.random.default_rng(5)
    for p, k, m in [(2, 1, 3), (13, 12, 4), (70, 7, 9), (300, 1, 5), (300, 32, 5), (1030, 2, 4)]:
        z = rows_of(kind, m, p, rng).astype(dtype)
        units, values = np.full((m, k), 99), np.full((m, k), np.nan, dtype)
        counts = TopSelection(problem_of(p, k, dtype)).select(z, units, values)
        dense = np.zeros_like(z)
        np.add.at(dense, (np.arange(m)[:, None], units), values)
        np.testing.assert_array_equal(dense, topk(z, k))
        np.testing.assert_array_equal(counts, np.count_nonzero(dense, axis=1))
        assert all((np.diff(row[:count]) > 0).all() for row, count in zip(units, counts, strict=True))


def test_selection_leaves_crowds_to_the_definition(monkeypatch):
    """Where most values are candidates; elsewhere the definition is not called."""
    calls = []
    monkeypatch.setattr(Problem, "activate", lambda self, z: calls.append(len(z)) or topk(z, self.k))
    selection = TopSelection(problem_of(300, 2))
    for z in (np.ones((5, 300)), np.random.default_rng(0).normal(size=(5, 300))):
        selection.select(z, np.empty((5, 2), np.intp), np.empty((5, 2)))
    assert calls == [5]


def test_kernels_by_unit_size_and_sparsity(monkeypatch):
    """Top-k is sparse where one unit in eight is kept, or fewer; sigmoid layers are folded unless they are wide."""
    made = {(p, k): type(make_kernel(problem_of(p, k))) for p, k in [(40, 5), (40, 6), (8, 1), (7, 1), (8, 8)]}
    sparse, dense = SparseKernel, DenseKernel
    assert made == {(40, 5): sparse, (40, 6): dense, (8, 1): sparse, (7, 1): dense, (8, 8): dense}
    monkeypatch.setattr("sparsae_backends.fused.WIDE", 7)
    sigmoid = {p: type(make_kernel(Problem(n_visible=3, n_hidden=p, dtype=X.dtype))) for p in (2, 3)}
    assert sigmoid == {2: FusedKernel, 3: dense}


@pytest.mark.parametrize("k", [3, 9])
def test_rows_without_positive_units_have_the_decoder_bias_as_output(k):
    """Nothing is kept: no gradient reaches W1, b1 and W2, and no unit fires."""
    dead = START._replace(b1=np.full(P, -50.0))
    found = Objective(X, P, activation="topk", k=k, pre_bias=False, weight_decay=0, backend="fused").evaluate(
        dead.flatten()
    )
    gradient = Parameters.from_flat(found.gradient, N, P)
    assert not gradient.W1.any()
    assert not gradient.b1.any()
    assert not gradient.W2.any()
    np.testing.assert_allclose(gradient.b2, (dead.b2 - X).mean(axis=0), rtol=1e-12)
    assert not found.density.any()


@pytest.mark.parametrize("name", VARIANTS)
def test_weights_that_are_not_numbers_show_in_the_cost(name):
    """NaN in W2 is not selected away."""
    bad = start_of(VARIANTS[name])
    bad = bad._replace(W2=np.full((N, P), np.nan))
    cost, _ = Objective(X, P, backend="fused", pre_bias=False, **VARIANTS[name])(bad.flatten())
    assert np.isnan(cost)


@pytest.mark.parametrize("name", VARIANTS)
def test_methods_add_and_leave_their_inputs(name):
    """Sums are added to what is there; parameters and rows, read-only and strided, are not written."""
    options = {key: value for key, value in VARIANTS[name].items() if key not in ("l1", "l0", "rho")}
    kernel = make_kernel(Problem(n_visible=N, n_hidden=P, dtype=X.dtype, output="linear", block_rows=M, **options))
    x = np.asfortranarray(X)
    parameters = Parameters(*(np.asfortranarray(part) for part in start_of(VARIANTS[name])))
    for array in (x, *parameters):
        array.flags.writeable = False
    weights, block, s = kernel.begin(parameters), kernel.prepare(x, x, False), np.linspace(-1, 1, P)
    once, twice = Sums(N, P), Sums(N, P)
    kernel.accumulate(weights, block, None, s, once)
    for _ in range(2):
        kernel.accumulate(weights, block, kernel.encode(weights, block)[0], s, twice)
    np.testing.assert_array_equal(2 * once.vector, twice.vector)
    assert once.rows == M


def test_transpose_in_strips():
    """Of any height, also where the last strip is short."""
    matrix, out = np.arange(30.0).reshape(5, 6), np.empty((6, 5))
    for rows in (1, 2, 16):
        out.fill(0)
        transpose(matrix, out, rows)
        np.testing.assert_array_equal(out, matrix.T)


def test_scipy_is_imported_by_the_kernel_that_needs_it_and_leaves_the_warning_filters(tmp_path):
    """`scipy.sparse` puts a filter of its own in front of the user's when it is first imported."""
    import subprocess

    code = (
        "import sys, warnings; from sparsae import get_backend, Problem; import numpy as np\n"
        "kernel = get_backend('fused').kernel; before = list(warnings.filters)\n"
        "options = dict(n_visible=3, n_hidden=20, dtype=np.dtype(float), activation='topk')\n"
        "kernel(Problem(k=9, **options)); assert 'scipy' not in sys.modules\n"
        "kernel(Problem(k=2, **options)); assert 'scipy.sparse' in sys.modules\n"
        "assert warnings.filters == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
