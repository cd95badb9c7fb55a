"""The options of an Objective are written once: keys, signature, help and documentation are in step."""

from __future__ import annotations

import inspect
import pydoc

import numpy as np
import pytest

import sparsae
from sparsae.objective import Objective, ObjectiveOptions

OPTIONS = list(ObjectiveOptions.__annotations__)
X = np.full((4, 3), 0.5)


def test_the_keys_are_the_keywords_of_objective():
    """In that order, with the same types."""
    keywords = {
        name: parameter.annotation
        for name, parameter in inspect.signature(Objective).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    types = {name: reference.__forward_arg__ for name, reference in ObjectiveOptions.__annotations__.items()}
    assert keywords == types


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_is_in_the_help_of_what_takes_it(name):
    """`help()` of the two functions names it, that of the two classes describes it."""
    for function in (sparsae.train, sparsae.cost_and_gradient):
        parameters = pydoc.render_doc(function, renderer=pydoc.plaintext).partition("Returns")[0]
        assert f" {name}," in parameters or f" {name}:" in parameters
    for described in (Objective, ObjectiveOptions):
        lines = [line.strip() for line in (described.__doc__ or "").splitlines()]
        assert any(line.partition(" : ")[0] in (name, f"beta, {name}", f"{name}, weight_decay") for line in lines)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sparsae.train(X, 2, wieght_decay=1), r"train\(\) has no keyword 'wieght_decay'; .* 'weight_decay'\?"),
        (lambda: sparsae.train(X, 2, max_iters=1), r"did you mean 'max_iter'\?"),
        (lambda: sparsae.train(X, 2, zzz=1), r"has no keyword 'zzz'. It takes activation, "),
        (lambda: sparsae.cost_and_gradient(sparsae.Parameters.random(3, 2), X, outptu=1), r"did you mean 'output'\?"),
    ],
)  # fmt: skip
def test_an_unknown_keyword_is_a_type_error_with_the_nearest_name(call, message):
    """A SparsaeError too, before anything is computed."""
    with pytest.raises(TypeError, match=message) as caught:
        call()
    assert isinstance(caught.value, sparsae.SparsaeError)
