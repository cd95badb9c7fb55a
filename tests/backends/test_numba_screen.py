"""Top-k units whose candidates a product of bfloat16 numbers finds: the same units and values as without it."""

import numpy as np
import pytest

pytest.importorskip("numba")

from sparsae import Parameters, Problem
from sparsae_backends.numba.target import TARGET
from sparsae_backends.numba.topk_kernel import TopKKernel

FLOAT = np.dtype(np.float32)

pytestmark = pytest.mark.skipif(not TARGET.pairs, reason="this processor does not multiply bfloat16 numbers")


def encode(x, W1, b1, k, *, screened=True, b2=None):
    """Activations (m, p) in float32, and whether the block was screened to its end."""
    (m, n), p = x.shape, len(W1)
    kernel = TopKKernel(Problem(n_visible=n, n_hidden=p, dtype=FLOAT, activation="topk", k=k, block_rows=m))
    assert kernel.screens
    assert "bfloat16" in kernel.notes[-1]
    decoder = np.zeros((n, p), FLOAT), np.zeros(n, FLOAT) if b2 is None else b2.astype(FLOAT)
    with np.errstate(invalid="ignore"):
        parts = [np.asarray(part, FLOAT) for part in (W1, b1)]
    weights = kernel.begin(Parameters(*parts, *decoder))
    if not screened:
        weights.rho = np.nan
    hidden, total = kernel.encode(weights, (np.asarray(x, FLOAT),) * 2)
    a2 = np.zeros((m, p), FLOAT)
    for row in range(m):
        part = slice(row * k, row * k + hidden.counts[row])
        assert (np.diff(hidden.units[part]) > 0).all()
        a2[row, hidden.units[part]] = hidden.values[part]
    np.testing.assert_allclose(total, a2.sum(axis=0, dtype=np.float64), rtol=1e-12)
    return a2, weights._packed is None


def normal(m, n, p, seed=0):
    """Rows, weights and biases of normal numbers."""
    rng = np.random.default_rng(seed)
    x, W1 = rng.standard_normal((m, n)), rng.standard_normal((p, n)) / n**0.5
    return x.astype(FLOAT), W1.astype(FLOAT), (rng.standard_normal(p) / 10).astype(FLOAT)


@pytest.mark.parametrize("size", [(100, 64, 700, 5), (49, 33, 360, 2), (48, 31, 500, 7), (1, 1, 90, 1)], ids=str)
def test_numbers_that_are_added_exactly_give_the_exact_units(size):
    """Integers of ten bits, more than bfloat16 has, whose sums float32 holds: ties go to the lower unit."""
    m, n, p, k = size
    rng = np.random.default_rng(1)
    x, W1 = (rng.integers(-511, 512, shape) for shape in ((m, n), (p, n)))
    W1[p // 2 :] = W1[: p - p // 2]  # each unit twice
    z = x @ W1.T
    assert np.abs(z).max() < 2**24
    expected = Problem(n_visible=n, n_hidden=p, dtype=FLOAT, activation="topk", k=k).activate(z.astype(np.float64))
    found, screened = encode(x, W1, np.zeros(p), k)
    np.testing.assert_array_equal(found, expected)
    assert screened or n == 1  # a row of one number: half of the units may be kept


@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12])
@pytest.mark.parametrize("lengths", ["equal", "one long", "spread"])
def test_no_unit_that_belongs_to_the_largest_is_missed(scale, lengths):
    """Kept are k units of each row that the exact numbers confirm, whatever the scales of rows, weights and biases."""
    m, n, p, k = 60, 150, 800, 8
    x, W1, b1 = normal(m, n, p)
    rng = np.random.default_rng(2)
    x *= np.exp(rng.uniform(-3, 3, (m, 1))).astype(FLOAT)
    if lengths == "one long":
        W1[77] *= 100
    elif lengths == "spread":
        W1 *= np.exp(rng.uniform(-3, 3, (p, 1))).astype(FLOAT)
    x *= FLOAT.type(scale)
    b1 *= FLOAT.type(scale)
    found, _ = encode(x, W1, b1, k)
    z = x.astype(np.float64) @ W1.T.astype(np.float64) + b1
    bound = 2 * n * 2.0**-24 * (np.abs(x.astype(np.float64)) @ np.abs(W1.T.astype(np.float64)) + np.abs(b1))
    assert (np.count_nonzero(found, axis=1) == k).all()
    for row in range(m):
        kept = found[row] != 0
        assert (np.abs(found[row] - z[row])[kept] <= bound[row][kept]).all()
        others = z[row][~kept] - bound[row][~kept]
        assert others.max() <= (z[row] + bound[row])[kept].min()


@pytest.mark.parametrize("what", ["weights", "rows"])
def test_errors_that_all_have_one_sign_are_allowed_for(what):
    """Numbers half way between two of bfloat16: the largest units have the smallest rounded products, by far."""
    n, p, k = 256, 900, 4
    down, up = 1 + 2.0**-8, 1 + 2.0**-8 + 2.0**-20  # rounded to 1 and to 1 + 2^-7
    largest, rest = range(100, 100 + k), np.arange(n) < n // 16
    W1, x, b1 = -np.ones((p, n)), np.ones((3, n)), np.zeros(p)
    if what == "weights":
        W1[80:100] = np.where(rest, 1, up)
        W1[largest] = down
    else:
        second = np.arange(n) >= n // 2
        x[:] = np.where(second, up, down)
        W1[80:100], W1[largest] = np.where(second, 1, -1), np.where(second, -1, 1)
        b1[80:100], b1[largest] = 1, 1.01
    rounded = [np.where(a == down, 1, np.where(a == up, 1 + 2.0**-7, a)) for a in (x[0], W1)]
    assert {*np.argsort(-(x[0] @ W1.T + b1))[:k]} == {*largest}
    assert (rounded[1] @ rounded[0] + b1)[100] < (rounded[1] @ rounded[0] + b1)[80] - 0.8
    found, screened = encode(x, W1, b1, k)
    assert {*np.flatnonzero(found[0])} == {*largest}
    assert screened


def test_screened_rows_are_those_of_the_whole_product():
    """On normal numbers the same units, with values that differ by rounding; and screening is what was done."""
    x, W1, b1 = normal(130, 100, 1000)
    found, screened = encode(x, W1, b1, 10)
    expected, whole = encode(x, W1, b1, 10, screened=False)
    assert screened
    assert not whole
    np.testing.assert_array_equal(found != 0, expected != 0)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", ["equal units", "NaN in a row", "inf in a weight", "NaN in a bias", "huge", "offset"])
def test_what_cannot_be_screened_is_computed_whole(case):
    """The block has the bits of the whole product."""
    x, W1, b1 = normal(100, 40, 700)
    if case == "equal units":
        W1[:], b1[:] = W1[0], 0
    elif case == "NaN in a row":
        x[60, 3] = np.nan
    elif case == "inf in a weight":
        W1[5, 5] = np.inf
    elif case == "NaN in a bias":
        b1[699] = np.nan
    elif case == "huge":
        x *= FLOAT.type(1e30)
    else:
        x += 1000
        W1 -= W1.mean(axis=1, keepdims=True)
    found, screened = encode(x, W1, b1, 6)
    expected, _ = encode(x, W1, b1, 6, screened=False)
    np.testing.assert_array_equal(found, expected)
    assert not screened


@pytest.mark.parametrize("offset", [3, 30, 100])
def test_rows_far_from_zero_are_screened_where_there_is_a_pre_bias(offset):
    """The bias is W1 b2 less then, and b2 is near the mean of the rows; without it the offset hides the differences."""
    m, n, p, k = 60, 90, 900, 10
    x, W1, b1 = normal(m, n, p)
    mean = offset * np.abs(np.random.default_rng(3).standard_normal(n)).astype(FLOAT)
    x += mean
    b1 = (b1 - W1.astype(np.float64) @ mean).astype(FLOAT)
    found, screened = encode(x, W1, b1, k, b2=mean)
    assert screened
    z = x.astype(np.float64) @ W1.T.astype(np.float64) + b1
    bound = 2 * n * 2.0**-24 * (np.abs(x.astype(np.float64)) @ np.abs(W1.T.astype(np.float64)) + np.abs(b1))
    for row in range(m):
        kept = found[row] != 0
        assert kept.sum() == k
        assert (z[row] - bound[row])[~kept].max() <= (z[row] + bound[row])[kept].min()
    _, screened = encode(x, W1, b1, k)
    assert screened == (offset == 3)


def test_few_positive_units_are_all_kept():
    """Rows with fewer than k positive units, and with none."""
    x, W1, _ = normal(50, 64, 600)
    z = x.astype(np.float64) @ W1.T.astype(np.float64)
    b1 = np.full(600, -np.quantile(z, 0.995))
    x[7] = 0
    found, screened = encode(x, W1, b1, 12)
    assert screened
    positive = z + np.asarray(b1, FLOAT) > 0
    positive[7] = False
    counts = np.minimum(positive.sum(axis=1), 12)
    assert counts.min() == 0
    assert (counts < 12).any()
    np.testing.assert_array_equal(np.count_nonzero(found, axis=1), counts)
