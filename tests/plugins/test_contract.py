"""The contract: what a kernel class and a Backend must be, and what is said of one that is not."""

from __future__ import annotations

import inspect
import operator

import numpy as np
import pytest
from tests.support.kernels import WholeKernel

import sparsae
from sparsae import Backend, Kernel, Parameters, Problem, SimpleKernel, Sums
from sparsae.engine.kernel_calls import author_frame, call_kernel, describe_exception, make_kernel
from sparsae.errors import (
    BackendBrokenError,
    BackendDeclinedError,
    BackendError,
    BackendWrongError,
    ParameterError,
    UnknownOptionError,
)
from sparsae.plugins.kernel import METHODS
from sparsae.plugins.kernel_checks import check_gradient_sums

PROBLEM = Problem(n_visible=3, n_hidden=2, dtype=np.dtype(np.float64))
X = np.random.default_rng(0).random((12, 3))


class Right(SimpleKernel):
    """A correct kernel."""

    def backprop(self, a1, a2, a3, W2, sparsity, target):
        delta3 = (a3 - target) * self.problem.output_slope(a3)  # (m, n)
        delta2 = (delta3 @ W2 + sparsity) * self.problem.slope(a2)  # (m, p)
        return Parameters(delta2.T @ a1, delta2.sum(axis=0), delta3.T @ a2, delta3.sum(axis=0))


@pytest.mark.parametrize("lacking", METHODS)
def test_a_kernel_that_lacks_one_of_the_five_is_refused_with_its_name(lacking):
    """By `Backend`, and where a factory makes one; the message names what is there, what is missing, and the hint."""
    body = {name: getattr(WholeKernel, name) for name in METHODS if name != lacking}
    kernel = type("Partial", (Kernel,), body)
    message = f"Partial defines {', '.join(body)} of the methods of sparsae.Kernel and lacks {lacking}. .*SimpleKernel"
    with pytest.raises(BackendBrokenError, match=message):
        Backend("mine", kernel)
    with pytest.raises(BackendBrokenError, match=message):
        make_kernel(Backend("mine", lambda problem: kernel(problem)), PROBLEM)


@pytest.mark.parametrize("overridden", METHODS)
def test_a_simple_kernel_that_defines_some_of_the_five_is_refused(overridden):
    """The other four would be handed what they do not expect."""
    kernel = type("Half", (Right,), {overridden: lambda self, *arguments: None})
    missing = ", ".join(name for name in METHODS if name != overridden)
    with pytest.raises(BackendBrokenError, match=f"Half defines {overridden} .* and lacks {missing}"):
        Backend("mine", kernel)


def test_a_kernel_with_backprop_alone_is_told_of_the_simple_kernel():
    """A simple kernel without it, that it is the one required method; another class, what to derive from."""
    with pytest.raises(BackendBrokenError, match=r"Old defines none of .* derive from sparsae.SimpleKernel and define"):
        Backend("mine", type("Old", (Kernel,), {"backprop": Right.backprop}))
    with pytest.raises(BackendBrokenError, match=r"Empty defines no backprop; it is the one method"):
        Backend("mine", type("Empty", (SimpleKernel,), {}))
    with pytest.raises(BackendBrokenError, match=r"int is no sparsae.Kernel: derive it from sparsae.SimpleKernel"):
        Backend("mine", int)


def test_a_method_that_cannot_be_called_as_the_contract_calls_it_is_refused():
    """With the arguments that it takes and should take, its file and line; defaults and *arguments are accepted."""

    def short(self, a1, a2, a3, W2, sparsity):
        return None

    with pytest.raises(BackendBrokenError, match=r"Short.backprop\(self, a1, .*cannot be called as .*test_contract.py"):
        Backend("mine", type("Short", (SimpleKernel,), {"backprop": short}))
    with pytest.raises(BackendBrokenError, match=r"__init__\(self\) cannot be called as __init__\(self, problem\)"):
        Backend("mine", type("Without", (Right,), {"__init__": lambda self: None}))
    Backend("mine", type("Generous", (Right,), {"backprop": lambda self, *arrays, extra=1: None}))


def test_a_kernel_whose_constructor_forgets_the_problem_is_one_error():
    """It says what to call."""
    forgetful = type("Forgetful", (Right,), {"__init__": lambda self, problem: None})
    with pytest.raises(BackendBrokenError, match=r"without a problem: its __init__ must call super"):
        sparsae.Objective(X, 2, backend=Backend("mine", forgetful))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: None, r"backprop returned a NoneType; expected sparsae.Parameters\(W1, b1, W2, b2\)"),
        (lambda g: g[:3], r"backprop returned arrays of shapes \(2, 3\), \(2,\), \(3, 2\); expected"),
        (lambda g: g._replace(W1=g.W1.T), r"shapes \(3, 2\), \(2,\), \(3, 2\), \(3,\); expected .* for 3 inputs and 2"),
        (lambda g: g._replace(b1=g.b1[:, None]), r"test_contract.py, line \d+"),
    ],
)
def test_a_result_of_the_wrong_shape_is_named_with_the_authors_line(change, message):
    """In an evaluation, and in `sparsae.backprop`: not a broadcasting error in a file of sparsae."""

    class Wrong(Right):
        def backprop(self, *arrays):
            return change(super().backprop(*arrays))

    backend = Backend("mine", Wrong)
    with pytest.raises(BackendWrongError, match=message):
        sparsae.cost_and_gradient(Parameters.random(3, 2), X, backend=backend)
    with pytest.raises(BackendWrongError, match=message):
        sparsae.backprop(X, X[:, :2], X, np.ones((3, 2)), np.ones(2), backend=backend)


def test_a_compiled_method_has_no_line_and_its_result_is_checked_all_the_same():
    """Neither its signature nor its file can be read."""
    backend = Backend("mine", type("Compiled", (SimpleKernel,), {"backprop": staticmethod(max)}))
    with pytest.raises(BackendError, match=r"Backend 'mine' failed|Compiled.backprop returned"):
        sparsae.backprop(X[:1], X[:1, :2], X[:1], np.ones((3, 2)), np.ones(2), backend=backend)
    returns = type("Returns", (SimpleKernel,), {"backprop": staticmethod(operator.itemgetter(0))})
    with pytest.raises(BackendWrongError, match=r"Returns.backprop returned a ndarray; .* 2 hidden units."):
        check_gradient_sums(returns(PROBLEM), X)


def test_backprop_is_declined_by_a_kernel_without_one():
    """A complete kernel computes evaluations; nothing else computes in its place."""
    evaluates = type("Evaluates", (Kernel,), {name: getattr(WholeKernel, name) for name in METHODS})
    with pytest.raises(BackendDeclinedError, match=r"Backend 'mine' computes whole evaluations only"):
        sparsae.backprop(X, X[:, :2], X, np.ones((3, 2)), np.ones(2), backend=Backend("mine", evaluates))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "my backend"}, "name must be an identifier"),
        ({"name": None}, "name must be an identifier"),
        ({"kernel": 3}, "kernel must be callable"),
        ({"threading": "gpu"}, "threading must be one of workers, blas, own, none; given 'gpu'"),
        ({"summary": 3}, "summary must be a str; given 3"),
        ({"install": None}, "install must be a str"),
        ({"limit_threads": print}, "limit_threads goes with threading='own' only"),
        ({"limit_threads": 2, "threading": "own"}, "limit_threads must be a function or None"),
        ({"block_rows": 64}, "block_rows must be a function or None; given 64"),
        ({"outputs": "sigmoid"}, "outputs must be a tuple of str"),
        ({"dtypes": (float,)}, "dtypes must be a tuple of str"),
        ({"requires": ["numexpr"]}, "requires must be a tuple of str"),
    ],
)
def test_wrong_arguments_of_a_backend_name_the_field(options, message):
    """A SparsaeError, and a ValueError."""
    with pytest.raises(ParameterError, match=message):
        Backend(**({"name": "mine", "kernel": Right} | options))


def test_a_keyword_that_a_backend_does_not_have_is_named_with_the_nearest():
    """A SparsaeError, and a TypeError; the signature is that of the fields."""
    with pytest.raises(UnknownOptionError, match=r"Backend\(\) has no keyword 'thredding'; did you mean 'threading'"):
        Backend("mine", Right, thredding="workers")
    assert list(inspect.signature(Backend).parameters)[:3] == ["name", "kernel", "summary"]


class Loud(BaseException):
    """An exception that `except Exception` lets through."""

    def __str__(self):
        raise ValueError


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), StopIteration(), Loud(), MemoryError("no memory")])
@pytest.mark.parametrize("method", ["__init__", *METHODS, "backprop"])
def test_everything_but_an_interrupt_is_a_backend_error(method, error):
    """SystemExit would end a fit with exit code 0 and no model; each path names the backend and chains the cause."""

    def fail(self, *arguments):
        raise error

    backend = Backend("mine", type("Fails", (WholeKernel,), {method: fail}))

    def call(passes):
        if method == "backprop":
            sparsae.backprop(X, X[:, :2], X, np.ones((3, 2)), np.ones(2), backend=backend)
        else:
            sparsae.Objective(X, 2, backend=backend, passes=passes)(np.zeros(17))

    for passes in (1, 2):
        with pytest.raises(BackendError, match=f"Backend 'mine' .*{type(error).__name__}") as caught:
            call(passes)
        assert caught.value.__cause__ is error
        assert "test_contract.py, line" in str(caught.value)


def test_an_interrupt_passes():
    """Ctrl-C is the user's."""

    def interrupted(self, *arguments):
        raise KeyboardInterrupt

    kernel = type("Interrupted", (WholeKernel,), {"begin": interrupted})(PROBLEM)
    with pytest.raises(KeyboardInterrupt):
        call_kernel("mine", kernel, "begin", Parameters.random(3, 2))


def test_the_place_of_a_mistake_is_the_last_line_of_the_author():
    """Not NumPy's file below it, and not sparsae's above it."""

    class Mistaken(Right):
        def backprop(self, *arrays):
            return self.helper(*arrays)

        def helper(self, a1, *others):
            return np.linalg.inv(a1)  # not square: raised in numpy/linalg

    with pytest.raises(BackendError) as caught:
        sparsae.Objective(X, 2, backend=Backend("mine", Mistaken))(np.zeros(17))
    frame = author_frame(caught.value.__cause__)
    assert frame is not None
    assert (frame.name, frame.filename) == ("helper", __file__)
    assert "LinAlgError" in describe_exception(caught.value.__cause__)
    assert f"({__file__}, line {frame.lineno})" in str(caught.value)


def test_the_units_of_a_problem_and_their_slopes_agree():
    """The slope computed from the activation is the derivative of the unit, by central differences."""
    z = np.linspace(-3, 3, 13)
    for output in ("sigmoid", "linear"):
        problem = Problem(n_visible=3, n_hidden=2, dtype=np.dtype(float), output=output)
        for unit, slope in ((problem.activate, problem.slope), (problem.output_activate, problem.output_slope)):
            numeric = (unit(z + 1e-5) - unit(z - 1e-5)) / 2e-5
            np.testing.assert_allclose(slope(unit(z)), numeric, rtol=1e-8)


def test_the_layout_of_sums_says_where_each_view_starts():
    """For compiled code; the head ends where the q-sums start."""
    sums = Sums(3, 2)
    sums.vector[:] = np.arange(sums.vector.size)
    for name in ("hidden", "W1", "b1", "W2", "b2", "W1_sparsity", "b1_sparsity"):
        assert getattr(sums, name).flat[0] == getattr(sums.layout, name)
    assert (sums.vector[sums.layout.rows], sums.vector[sums.layout.squared_error]) == (sums.rows, sums.squared_error)
    assert sums.layout.size == len(sums.vector)
    assert len(sums.head) == sums.layout.W1_sparsity == sums.layout.head_size
    with pytest.raises(ParameterError, match=r"Sums\(3, 2\) needs a vector \(35,\) of float64 or float32"):
        Sums(3, 2, np.zeros(4))


def test_accumulate_encodes_by_itself_with_a_known_sparsity_vector_too(backend):
    """One pass with s given (a penalty that does not depend on the data) equals two."""
    kernel = make_kernel(sparsae.get_backend(backend), PROBLEM)
    weights, block, s = kernel.begin(Parameters.random(3, 2)), kernel.prepare(X, X, True), np.array([0.5, -2.0])
    one, two = Sums(3, 2), Sums(3, 2)
    kernel.accumulate(weights, block, None, s, one)
    kernel.accumulate(weights, block, kernel.encode(weights, block)[0], s, two)
    np.testing.assert_allclose(one.head, two.head, rtol=1e-12)
