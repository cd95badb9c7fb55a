"""`sparsae.backprop` on given activations."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest

import sparsae
from sparsae import Backend, DataError, Parameters, SimpleKernel, backpropagation
from sparsae.engine.backprop_engine import calls_for


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


def test_what_is_kept_between_calls_does_not_outlast_what_it_is_for(monkeypatch):
    """Other rows, sizes, dtype, unit, backend or threads in between; a backend that is taken out of use is refused."""
    calls = [
        lambda: sparsae.backprop(*activations(40, 4, 3)),
        lambda: sparsae.backprop(*activations(50, 4, 3)),
        lambda: sparsae.backprop(*activations(40, 5, 3)),
        lambda: sparsae.backprop(*activations(40, 4, 3, np.float32)),
        lambda: sparsae.backprop(*activations(40, 4, 3), output="linear"),
        lambda: sparsae.backprop(*activations(40, 4, 3), backend="dot"),
        lambda: sparsae.backprop([list(row) for row in activations(40, 4, 3)[0]], *activations(40, 4, 3)[1:]),
    ]
    alone = []
    for call in calls:
        monkeypatch.setattr(backpropagation, "_LOCAL", threading.local())
        alone.append(call())
    for first in range(len(calls)):
        for second in range(len(calls)):
            calls[first]()
            again = calls[second]()
            assert all(np.array_equal(a, b) for a, b in zip(again, alone[second], strict=True)), (first, second)
    with sparsae.use_backend("einsum"):
        calls[0]()
        assert backpropagation._LOCAL.kept[1].backend.name == "einsum"
    monkeypatch.setenv("SPARSAE_DISABLE", "dot")
    calls[0]()
    with pytest.raises(sparsae.BackendError, match="disabled"):
        calls[5]()


def test_sums_of_large_models_are_not_kept():
    """The engine that stays for the next call holds kernels, and of sums those that are small."""
    for n, made_again in ((4, False), (300, True)):
        sparsae.backprop(*activations(3, n, 300), backend="numpy")
        before = backpropagation._LOCAL.kept[1]._tree
        sparsae.backprop(*activations(3, n, 300), backend="numpy")
        assert (backpropagation._LOCAL.kept[1]._tree is not before) == made_again


def test_a_call_that_fails_keeps_nothing():
    """A kernel that was interrupted may still be at it: the next call has another."""
    made = []

    class Interrupted(SimpleKernel):
        def backprop(self, a1, a2, a3, W2, sparsity, target):
            if self not in made:
                made.append(self)
                raise KeyboardInterrupt
            return expected(a1, a2, a3, W2, sparsity)

    stopped = Backend("stopped", Interrupted, threading="none")
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            sparsae.backprop(*activations(5, 4, 3), backend=stopped)
    assert len(made) == 2


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
    assert [calls_for(m) for m in (1, 2999, 3000, 4500, 6000, 10_000, 17_999, 18_000, 10**7)] == [
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


UNITS = {"sigmoid": {}, "relu": {}, "topk": {"k": 3}, "batchtopk": {"k": 3}, "jumprelu": {}}


def activated(m, n, p, activation, dtype=np.float64, **options):
    """Rows, activations, outputs and decoder weights of a random model with such units."""
    rng = np.random.default_rng(m)
    X = rng.normal(size=(m, n)).astype(dtype)
    parameters = Parameters.random(n, p, seed=1, init="transpose").astype(dtype)
    if activation in ("batchtopk", "jumprelu"):
        parameters = parameters._replace(threshold=np.full(p, 0.7, dtype))
    a2 = sparsae.encode(parameters, X, activation=activation, **options)
    return X, a2, sparsae.decode(parameters, a2, output="linear"), parameters.W2


@pytest.mark.parametrize(
    ("shape", "dtype", "tolerance"), [((70, 5, 9), np.float64, 1e-12), ((60, 100, 120), np.float32, 2e-4)]
)
def test_every_unit_gives_the_sums_of_the_formulas(backend, shape, dtype, tolerance):
    """Slopes of all units but the sigmoid are 1 where a unit is active; narrow and wide layers; with and without s."""
    supported = sparsae.get_backend(backend).activations
    units = [unit for unit in UNITS if unit in supported or (unit == "batchtopk" and "jumprelu" in supported)]
    assert len(units) >= 3
    for unit in units:
        X, a2, a3, W2 = activated(*shape, unit, dtype, **UNITS[unit])
        s = np.random.default_rng(2).normal(size=W2.shape[1]).astype(dtype)
        for given in ({}, {"sparsity": s}):
            got = sparsae.backprop(
                X, a2, a3, W2, **given, activation=unit, output="linear", backend=backend, **UNITS[unit]
            )
            d3, h = (a3 - X).astype(np.float64), a2.astype(np.float64)
            d2 = (d3 @ W2 + given.get("sparsity", 0)) * (h * (1 - h) if unit == "sigmoid" else h != 0)
            truth = Parameters(d2.T @ X, d2.sum(0), d3.T @ h, d3.sum(0))
            for part, true in zip(got, truth, strict=True):
                np.testing.assert_allclose(part, true, rtol=tolerance, atol=tolerance * abs(true).max())


def test_a_unit_that_a_backend_does_not_support_is_declined():
    """With what it supports; batch top-k says what it is to kernels."""
    arrays = activated(6, 4, 5, "relu")
    with pytest.raises(sparsae.BackendError, match="activation is 'jumprelu' and backend 'dot' supports sigmoid, relu"):
        sparsae.backprop(*arrays, backend="dot", activation="jumprelu")
    with pytest.raises(sparsae.BackendError, match="batchtopk is jumprelu with one threshold"):
        sparsae.backprop(*arrays, backend="dot", activation="batchtopk", k=2)


@pytest.mark.parametrize(
    ("activation", "penalty"),
    [("relu", {"l1": 0.3, "l1_weighted": False}), ("topk", {"k": 3, "aux": 0.0}), ("sigmoid", {"weight_decay": 0.0})],
)
def test_it_gives_the_gradient_of_the_cost(activation, penalty):
    """With a pre-bias, as the documentation says to use it, and the sparsity vector of the penalty."""
    rng = np.random.default_rng(3)
    X = rng.uniform(0.1, 0.9, (50, 8))
    pre_bias = activation != "sigmoid"
    parameters = Parameters.random(8, 12, seed=2)._replace(b2=rng.normal(size=8) * pre_bias)
    options = {"activation": activation, **({"k": 3} if activation == "topk" else {})}
    _, gradient = sparsae.cost_and_gradient(parameters, X, pre_bias=pre_bias, activation=activation, **penalty)
    a2 = sparsae.encode(parameters, X, pre_bias=pre_bias, **options)
    a3 = sparsae.decode(parameters, a2, output="linear" if pre_bias else "sigmoid")
    rho_hat = np.clip(a2.mean(axis=0), 1e-6, 1 - 1e-6)
    s = {"relu": np.full(12, 0.3), "topk": None, "sigmoid": 3 * (0.99 / (1 - rho_hat) - 0.01 / rho_hat)}[activation]
    sums = sparsae.backprop(X - parameters.b2 * pre_bias, a2, a3, parameters.W2, s, target=X, **options)
    if pre_bias:
        sums = sums._replace(b2=sums.b2 - parameters.W1.T @ sums.b1)
    for part, true in zip(sums, gradient, strict=True):
        np.testing.assert_allclose(part / len(X), true, rtol=1e-10, atol=1e-12)


def test_options_of_units_that_cannot_be_used_are_refused():
    """Each with what was given, what is possible and what to do."""
    X, a2, a3, W2 = activated(6, 4, 5, "relu")
    relu = {"activation": "relu"}
    topk = {"activation": "topk"}
    for options, message in (
        ({"activation": "tanh"}, "activation must be one of sigmoid, relu, topk, batchtopk, jumprelu; given 'tanh'"),
        ({**relu, "k": 2}, "k does not belong to activation='relu'; it is for topk and batchtopk"),
        ({"k": 2}, "k does not belong to activation='sigmoid'"),
        (topk, "activation='topk' needs k, the number of activations kept in a row"),
        ({**topk, "k": 0}, "k must be an integer of at least 1, not 0"),
        ({**topk, "k": 6}, "k=6 exceeds n_hidden=5"),
        ({"activation": "batchtopk", "k": 2.5}, "k must be an integer of at least 1, not 2.5"),
        ({**relu, "output": "softmax"}, "output must be one of sigmoid, linear; given 'softmax'"),
    ):
        with pytest.raises(sparsae.ParameterError, match=message):
            sparsae.backprop(X, a2, a3, W2, **options)
    with pytest.raises(DataError, match=r"a2 has \d activations that are not 0 in row \d, and k=1: .* a larger k"):
        sparsae.backprop(X, a2, a3, W2, **topk, k=1)


def test_the_output_unit_follows_the_hidden_unit():
    """As it does everywhere else: linear, unless hidden units are sigmoids."""
    X, a2, a3, W2 = activated(6, 4, 5, "relu")
    for activation, output in (("relu", "linear"), ("sigmoid", "sigmoid")):
        left_out = sparsae.backprop(X, a2, a3, W2, activation=activation)
        given = sparsae.backprop(X, a2, a3, W2, activation=activation, output=output)
        other = sparsae.backprop(
            X, a2, a3, W2, activation=activation, output={"linear": "sigmoid"}.get(output, "linear")
        )
        assert np.array_equal(left_out.W2, given.W2)
        assert not np.array_equal(left_out.W2, other.W2)
