"""`sparsae.backprop` on given activations."""

from contextlib import contextmanager

import numpy as np
import pytest

import sparsae
from sparsae import Backend, DataError, Parameters, SimpleKernel
from sparsae.backpropagation import _calls


def activations(m, n, p, dtype=np.float64):
    """Random activations, weights and sparsity vector."""
    rng = np.random.default_rng(m)
    arrays = rng.random((m, n)), rng.random((m, p)), rng.random((m, n)), rng.normal(size=(n, p)), rng.normal(size=p)
    return [a.astype(dtype) for a in arrays]


def expected(a1, a2, a3, W2, s, target=None, *, linear=False):
    """The formulas of the question, in float64."""
    a1, a2, a3, W2, s = (np.asarray(a, dtype=np.float64) for a in (a1, a2, a3, W2, s))
    delta3 = (a3 - (a1 if target is None else target)) * (1 if linear else a3 * (1 - a3))
    delta2 = (delta3 @ W2 + s) * a2 * (1 - a2)
    return Parameters(delta2.T @ a1, delta2.sum(0), delta3.T @ a2, delta3.sum(0))


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 2e-4)])
@pytest.mark.parametrize("shape", [(1, 1, 1), (70, 5, 3), (1500, 64, 25)])
def test_every_backend_gives_the_sums_of_the_formulas(backend, dtype, tolerance, shape):
    """With and without a separate target, both output units, in float64 and float32."""
    arrays = activations(*shape, dtype)
    target = np.random.default_rng(1).random(arrays[0].shape).astype(dtype)
    for options in ({}, {"target": target}, {"output": "linear"}):
        got = sparsae.backprop(*arrays, backend=backend, **options)
        true = expected(*arrays, options.get("target"), linear="output" in options)
        for part, truth in zip(got, true, strict=True):
            assert part.dtype == np.float64
            np.testing.assert_allclose(part, truth, rtol=tolerance, atol=tolerance * abs(truth).max())


@pytest.mark.filterwarnings("ignore::sparsae.errors.ThreadsWarning")
def test_layout_and_workers_change_nothing(backend):
    """F-ordered, strided and read-only activations; one and three workers; inputs stay identical."""
    arrays = activations(900, 8, 5)
    first = sparsae.backprop(*arrays, backend=backend)
    odd = [np.asfortranarray(a) for a in arrays]
    odd[1] = np.repeat(arrays[1], 2, axis=0)[::2]
    for a in odd:
        a.flags.writeable = False
    before = [a.copy() for a in odd]
    for threads in (1, 3):
        again = sparsae.backprop(*odd, backend=backend, threads=threads)
        for part, other in zip(first, again, strict=True):
            np.testing.assert_allclose(part, other, rtol=1e-12, atol=1e-12)
    for a, b in zip(odd, before, strict=True):
        np.testing.assert_array_equal(a, b)
    if sparsae.get_backend(backend).threading in ("workers", "none"):
        one, three = (sparsae.backprop(*arrays, backend=backend, threads=t) for t in (1, 3))
        assert all(np.array_equal(a, b) for a, b in zip(one, three, strict=True))


def test_results_are_the_callers_own(backend):
    """A second call does not change what the first returned."""
    arrays = activations(40, 4, 3)
    first = sparsae.backprop(*arrays, backend=backend)
    kept = [part.copy() for part in first]
    sparsae.backprop(*(2 * a for a in arrays), backend=backend)
    for part, copy in zip(first, kept, strict=True):
        np.testing.assert_array_equal(part, copy)


def test_shapes_that_do_not_fit_are_named():
    """All shapes given and expected stand in the message."""
    a1, a2, a3, W2, s = activations(6, 4, 3)
    with pytest.raises(DataError, match=r"W2 \(3, 4\).*expected a1, a3 and target \(n_samples, n_visible\)"):
        sparsae.backprop(a1, a2, a3, W2.T, s)
    with pytest.raises(DataError, match="Shapes do not fit together"):
        sparsae.backprop(a1, a2, a3[:5], W2, s)
    with pytest.raises(DataError, match="a2 has dtype object"):
        sparsae.backprop(a1, a2.astype(object), a3, W2, s)
    with pytest.raises(DataError, match="a1 is empty"):
        sparsae.backprop(a1[:0], a2[:0], a3[:0], W2, s)


@pytest.mark.parametrize(("splits_rows", "calls"), [(False, 200), (True, 12)])
def test_only_a_kernel_that_cuts_long_arrays_itself_is_given_more_than_a_block(splits_rows, calls):
    """Then a call is paid twelve times at most, whatever the block; the sums stay those of the formulas."""
    lengths = []

    class Recorded(SimpleKernel):
        def backprop(self, a1, a2, a3, W2, sparsity, target):
            lengths.append(len(a1))
            return expected(a1, a2, a3, W2, sparsity)

    Recorded.splits_rows = splits_rows
    arrays = activations(20_000, 6, 3)
    recorded = Backend("recorded", Recorded, threading="workers", block_rows=lambda problem: 100)
    got = sparsae.backprop(*arrays, backend=recorded, threads=1)
    assert len(lengths) == calls
    assert sum(lengths) == 20_000
    for part, truth in zip(got, expected(*arrays), strict=True):
        np.testing.assert_allclose(part, truth, rtol=1e-12, atol=1e-9)


@pytest.mark.filterwarnings("ignore::sparsae.errors.ThreadsWarning")
def test_long_arrays_give_the_same_bits_with_any_number_of_workers():
    """More rows than a piece of `fused` and `numba`, both dtypes."""
    for dtype in (np.float64, np.float32):
        arrays = activations(9001, 12, 7, dtype)
        for name in ("fused", "numba"):
            one, two, three = (sparsae.backprop(*arrays, backend=name, threads=t) for t in (1, 2, 3))
            for other in (two, three):
                assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)), (name, dtype)


def test_calls_are_few_for_few_rows_and_divide_among_workers():
    """A call costs what some hundred rows do."""
    assert [_calls(m) for m in (1, 2999, 3000, 4500, 6000, 10_000, 17_999, 18_000, 10**7)] == [
        1,
        1,
        2,
        3,
        4,
        6,
        6,
        12,
        12,
    ]


def test_threads_are_limited_after_kernels_are_made():
    """A kernel may load its library where it is made: a limit set before would miss the library's pool."""
    events = []

    class Library(SimpleKernel):
        """Its library is loaded in the constructor."""

        def __init__(self, problem):
            super().__init__(problem)
            events.append("made")

        def backprop(self, a1, a2, a3, W2, sparsity, target):
            events.append("called")
            return Parameters(np.zeros_like(W2.T), np.zeros(W2.shape[1]), np.zeros_like(W2), np.zeros(W2.shape[0]))

    @contextmanager
    def limit_threads(n):
        events.append("limited")
        yield

    backend = Backend("library", Library, summary="A pool of its own.", threading="own", limit_threads=limit_threads)
    sparsae.backprop(*activations(5, 4, 3), backend=backend)
    assert events == ["made", "limited", "called"]


@pytest.mark.parametrize("place", range(1, 5))
def test_what_cannot_be_made_an_array_is_named(place):
    """Rows of different lengths, in each argument: our error, with the argument's name."""
    arrays = activations(5, 4, 3)
    arrays[place] = [[1, 2], [3]]
    name = ("a1", "a2", "a3", "W2", "sparsity")[place]
    with pytest.raises(DataError, match=f"{name} cannot be made an array"):
        sparsae.backprop(*arrays)
