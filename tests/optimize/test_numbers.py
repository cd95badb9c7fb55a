"""Numbers among the settings: whatever is one becomes a float, and nothing else is taken for one."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae import Checkpoint, Stop
from sparsae.errors import ParameterError
from sparsae.optimize import LBFGS, SGD, Adam, ScipyMethod

X = np.random.default_rng(0).uniform(0.1, 0.9, (12, 4))
SETTINGS = [
    *((Stop, name) for name in ("gradient", "decrease", "seconds")),
    *(
        (Adam, name)
        for name in ("learning_rate", "rho_decay", "held_out", "decay", "clip", "beta1", "beta2", "epsilon")
    ),
    *((SGD, name) for name in ("learning_rate", "momentum")),
    *((LBFGS, name) for name in ("decrease", "curvature")),
]
A_TENTH = [Fraction(1, 10), Decimal("0.1"), np.array(0.1), np.float64(0.1)]
NO_NUMBERS = ["0.1", b"0.1", True, np.True_, [0.1], np.array([0.1]), 1j, object(), np.array("x")]


@pytest.mark.parametrize(("made", "name"), SETTINGS)
def test_numbers_of_every_kind_become_floats(made: Any, name: str) -> None:
    """So that a fit, a checkpoint and a message can use them."""
    for value in A_TENTH:
        given = getattr(made(**{name: value}), name)
        assert type(given) is float
        assert given == 0.1


@pytest.mark.parametrize(("made", "name"), [*SETTINGS, (lambda **given: Checkpoint("c", **given), "seconds")])
def test_what_is_no_number_is_refused_by_name(made: Any, name: str) -> None:
    """Text, truth values, sequences and complex numbers, before anything is computed."""
    for value in NO_NUMBERS:
        with pytest.raises(ParameterError, match=f"^{name} must be a number; given "):
            made(**{name: value})


@pytest.mark.parametrize("name", ["rho", "beta", "weight_decay"])
def test_keywords_of_the_model_are_floats_in_its_file(name: str) -> None:
    """The result's settings hold the float of what was given; text is no number."""
    for value in A_TENTH:
        result = sparsae.train(X, 2, stop=Stop(gradient=1e9), backend="numpy", **{name: value})
        assert type(result.settings[name]) is float
        assert result.settings[name] == 0.1
    for value in NO_NUMBERS:
        with pytest.raises(ParameterError, match=f"^{name} must be a number; given "):
            sparsae.train(X, 2, backend="numpy", **{name: value})


def test_scipys_settings_are_checked() -> None:
    """The name is text, and L-BFGS-B keeps a whole number of pairs."""
    with pytest.raises(ParameterError, match=r"^memory must be an integer of at least 1, not '5'"):
        ScipyMethod("scipy:L-BFGS-B", memory="5")  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"^No method named 3; the methods of SciPy"):
        ScipyMethod(3)  # type: ignore[arg-type]
