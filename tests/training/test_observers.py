"""Observers see each iteration once; one that fails is dropped; one that has seen enough stops the fit."""

import sys
import types

import numpy as np
import pytest

import sparsae

X = np.random.default_rng(0).random((60, 5))


def plugin(function):
    """A plugin object with the hook."""
    return types.SimpleNamespace(sparsae_iteration=sparsae.hookimpl(function))


def test_each_observer_is_called_once_per_iteration_and_never_inside_an_evaluation():
    """Functions and plugins alike; iterations count up by one; evaluations may be more."""
    seen, hooked = [], []

    def sparsae_iteration(progress):
        hooked.append(progress.iteration)

    with pytest.warns(sparsae.ConvergenceWarning):
        result = sparsae.train(X, 3, max_iter=6, observers=[seen.append, plugin(sparsae_iteration)])
    iterations = [progress.iteration for progress in seen]
    assert iterations == hooked == list(range(iterations[0], iterations[0] + len(seen)))
    assert iterations[-1] == 6
    last = seen[-1]
    np.testing.assert_allclose(last.squared_error + last.weight_decay + last.sparsity, last.cost, rtol=1e-14)
    np.testing.assert_array_equal(last.parameters.flatten(), result.parameters.flatten())
    assert last.evaluations >= 6


def test_one_that_raises_is_reported_once_and_dropped():
    """The others and the fit go on."""
    calls, seen = [], []

    def clumsy(progress):
        calls.append(progress)
        raise KeyError("oops")

    with pytest.warns(sparsae.errors.SparsaeWarning) as caught:
        sparsae.train(X, 3, max_iter=4, observers=[clumsy, seen.append])
    dropped = [w for w in caught if issubclass(w.category, sparsae.errors.ObserverWarning)]
    assert len(calls) == len(dropped) == 1
    assert "clumsy raised KeyError: 'oops'; it was dropped and the fit goes on" in str(dropped[0].message)
    assert len(seen) >= 4


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
def test_an_observer_can_ask_to_stop():
    """True stops, Python's or NumPy's; any other answer does not."""
    for yes in (True, np.True_):
        result = sparsae.train(X, 3, max_iter=9, observers=[lambda progress, yes=yes: yes and progress.iteration >= 2])
        assert result.history.cost[-1] == result.cost
        assert len(result.history.cost) <= 4
    result = sparsae.train(X, 3, max_iter=3, observers=[lambda progress: "go on"])
    assert len(result.history.cost) >= 3


def test_what_cannot_observe_is_refused_at_the_door():
    """A number, an unknown name, a hook with another signature."""
    with pytest.raises(sparsae.ParameterError, match=r"must be a function of the progress, a plugin .* given 3"):
        sparsae.train(X, 3, observers=[3])
    with pytest.raises(sparsae.ParameterError, match="No observer named 'nobody'; registered are: none"):
        sparsae.train(X, 3, observers=["nobody"])

    def sparsae_iteration(step):
        pass

    with pytest.raises(sparsae.ParameterError, match="has a hook that does not fit"):
        sparsae.train(X, 3, observers=[plugin(sparsae_iteration)])


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
def test_no_hook_is_called_inside_an_evaluation():
    """Evaluations run no code of pluggy, and no hook of a plugin, however many there are."""
    called = []

    def trace(frame, event, argument):
        code = frame.f_code
        if event == "call" and ("pluggy" in code.co_filename or code.co_name.startswith("sparsae_")):
            called.append(code.co_name)

    with sparsae.Objective(X, 3, threads=1) as objective:
        theta = np.zeros(objective.size)
        objective(theta)
        sys.setprofile(trace)
        try:
            for _ in range(3):
                objective(theta)
            quiet = list(called)
            sparsae.train(X, 3, max_iter=0, observers=[plugin(sparsae_iteration)])
        finally:
            sys.setprofile(None)
    assert not quiet
    assert called.count("sparsae_iteration") == 1  # the trace does see hooks


def sparsae_iteration(progress):
    """A hook."""
