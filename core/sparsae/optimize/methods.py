"""Methods by name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from sparsae._text import suggest
from sparsae.errors import ParameterError
from sparsae.optimize.base import Method
from sparsae.optimize.lbfgs import LBFGS
from sparsae.optimize.scipy_ import DENSE, LIMITED, PREFIX, ScipyMethod
from sparsae.optimize.stochastic import SGD, Adam

_CLASSES: dict[str, type[LBFGS | Adam | SGD]] = {"lbfgs": LBFGS, "adam": Adam, "sgd": SGD}


def method_names() -> tuple[str, ...]:
    """Return every name that `get_method` takes."""
    return (*_CLASSES, *(PREFIX + method for method in (*LIMITED, *DENSE)))


def get_method(method: str | Method, **settings: Any) -> Method:
    """Return the optimiser of that name with those settings, or the optimiser itself.

    Parameters
    ----------
    method : str or optimiser
        "lbfgs", "adam", "sgd", "scipy:L-BFGS-B", ..., or an instance such as ``LBFGS(memory=50)``.
    **settings
        Fields of the optimiser; with a name only.

    Raises
    ------
    ParameterError
        When there is no such method, or it has no such setting.
    """
    if isinstance(method, Method):
        if settings:
            raise ParameterError(f"Settings {', '.join(settings)} go with a method's name, not with an instance of it.")
        return method
    if isinstance(method, type) and issubclass(method, Method):
        raise ParameterError(f"method is the class {method.__name__}; use an instance: {method.__name__}().")
    if not (str(method) in _CLASSES or str(method).startswith(PREFIX)):
        hint = suggest(method, method_names())
        raise ParameterError(f"No method named {method!r}{hint} Available: {', '.join(method_names())}.")
    known = {field.name for field in fields(_CLASSES.get(method, ScipyMethod))} - {"name"}
    unknown = [name for name in settings if name not in known]
    if unknown:
        raise ParameterError(
            f"Method {method!r} has no setting {', '.join(unknown)}; it has {', '.join(sorted(known))}."
        )
    if method.startswith(PREFIX):
        return ScipyMethod(method, **settings)
    return _CLASSES[method](**settings)


def describe(method: Method) -> dict[str, Any]:
    """Return name and settings as plain values; of a bundled method ``get_method(**describe(method))`` makes a copy."""
    return {"method": method.name, **method.settings()}
