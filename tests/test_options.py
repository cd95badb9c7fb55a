"""The options of an Objective are written once: keys, signature, help and documentation are in step."""

from __future__ import annotations

import inspect
import pydoc
import re

import numpy as np
import pytest

import sparsae
from sparsae import ModelOptions, ModelSettings
from sparsae.objective import Objective, ObjectiveOptions

OPTIONS = list(ObjectiveOptions.__annotations__)
X = np.full((4, 3), 0.5)


def test_the_keys_are_the_keywords_of_objective():
    """In that order, with the same types; those that say what is trained are the fields of the settings."""
    keywords = {
        name: parameter.annotation
        for name, parameter in inspect.signature(Objective).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    model = list(ModelOptions.__annotations__)
    assert list(ModelSettings.__dataclass_fields__) == model
    types = {name: reference.__forward_arg__ for name, reference in ObjectiveOptions.__annotations__.items()}
    assert keywords == {name: annotation for name, annotation in types.items() if name not in model}
    assert [*model, *keywords] == OPTIONS
    assert inspect.signature(Objective).parameters["model_options"].annotation == "Unpack[ModelOptions]"


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_is_in_the_help_of_what_takes_it(name):
    """`help()` of what takes it names it, that of one class, or two, describes it."""
    for function in (sparsae.train, sparsae.cost_and_gradient):
        parameters = pydoc.render_doc(function, renderer=pydoc.plaintext).partition("Returns")[0]
        assert re.search(rf"\s{name}[,:]", parameters)
    of_model = name in ModelOptions.__annotations__
    assert not of_model or re.search(rf"\s{name},", Objective.__doc__ or "")
    for described in (ModelOptions,) if of_model else (Objective, ObjectiveOptions):
        lines = [line.strip() for line in (described.__doc__ or "").splitlines()]
        assert any(line.partition(" : ")[0] == name for line in lines)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sparsae.train(X, 2, wieght_decay=1), r"train\(\) has no keyword 'wieght_decay'; .* 'weight_decay'\?"),
        (lambda: sparsae.train(X, 2, max_iters=1), r"did you mean 'max_iter'\?"),
        (lambda: Objective(X, 2, treads=1), r"Objective\(\) has no keyword 'treads'; did you mean 'threads'\?"),
        (lambda: sparsae.train(X, 2, epochs=1), r"no keyword 'epochs'; did you mean 'max_iter'\?"),
        (lambda: sparsae.train(X, 2, batch_size=9), r"; write method=sparsae.optimize.Adam\(batch_rows=\.\.\.\)\."),
        (lambda: sparsae.train(X, 2, tol=1e-3), r"'tol'; write stop=sparsae.Stop\(gradient=\.\.\.\)\."),
        (lambda: sparsae.train(X, 2, zzz=1), r"has no keyword 'zzz'. It takes activation, "),
        (lambda: sparsae.cost_and_gradient(sparsae.Parameters.random(3, 2), X, outptu=1), r"did you mean 'output'\?"),
    ],
)  # fmt: skip
def test_an_unknown_keyword_is_a_type_error_with_the_nearest_name(call, message):
    """A SparsaeError too, before anything is computed; it lists each keyword once."""
    with pytest.raises(TypeError, match=message) as caught:
        call()
    assert isinstance(caught.value, sparsae.SparsaeError)
    listed = str(caught.value).partition("It takes ")[2].rstrip(".").split(", ")
    assert len(listed) == len(set(listed)) > 20
