"""Fitted transforms as plain values and arrays, as model files hold them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from sparsae._text import printable
from sparsae.errors import ParameterError
from sparsae.transforms.base import Transform
from sparsae.transforms.chain import KINDS, NAMES, chain


def to_record(transform: object) -> tuple[list[dict[str, Any]], dict[str, NDArray[Any]]]:
    """Return settings for JSON, one object for each step, and arrays by "STEP.NAME".

    Raises
    ------
    ParameterError
        When it is no transform of sparsae, which a file could not give back.
    """
    steps = transform.steps if isinstance(transform, Transform) else ()
    foreign = [step for step in steps if type(step) not in KINDS.values()] if steps else [transform]
    if foreign:
        raise ParameterError(
            f"A model file cannot hold a transform of the class {type(foreign[0]).__name__}; "
            f"those of sparsae.transforms it can: {', '.join(NAMES)}."
        )
    settings = [{"name": step.name, "settings": step.settings()} for step in steps]
    return settings, {f"{i}.{name}": array for i, step in enumerate(steps) for name, array in step.arrays().items()}


def from_record(settings: Sequence[Any], arrays: Mapping[str, NDArray[Any]], n_visible: int) -> Transform:
    """Return the transform that `to_record` was given.

    Raises
    ------
    ValueError, KeyError, TypeError
        When a step is not known, damaged, or not for samples of that many columns; says which.
    """
    if sorted({name.partition(".")[0] for name in arrays} - {str(i) for i in range(len(settings))}):
        raise ValueError("it has arrays of transforms that it does not name")
    steps = []
    for number, step in enumerate(settings):
        name = step["name"] if isinstance(step, Mapping) else None
        if not isinstance(name, str) or name not in KINDS:
            raise ValueError(f"its transform {printable(repr(name))} is not one of {', '.join(NAMES)}")
        own = {key.partition(".")[2]: array for key, array in arrays.items() if key.startswith(f"{number}.")}
        try:
            steps.append(KINDS[name].restore(step["settings"], own))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"the transform {name!r} in it cannot be used: {error}") from error
        if steps[-1].n_visible != n_visible:
            raise ValueError(
                f"its transform {name!r} is for {steps[-1].n_visible} columns and the model for {n_visible}"
            )
    return chain(steps)
