"""Transforms in files: what comes back, and what is damaged or foreign is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sparsae import ParameterError, transforms
from sparsae.transforms import ZCA, Olshausen, Scale, Standardise, Transform, UnitRMS, from_record, to_record

X = np.random.default_rng(0).normal(3, 2, (50, 4))


@pytest.mark.parametrize("steps", [[name] for name in transforms.NAMES] + [["standardise", "zca"]], ids=str)
def test_every_transform_comes_back_bit_for_bit(steps: list[str]) -> None:
    """It gives the same bits; names and settings are plain values."""
    fitted = transforms.fit(X, steps)
    settings, arrays = to_record(fitted)
    again = from_record(settings, arrays, 4)
    np.testing.assert_array_equal(again.apply(X), fitted.apply(X))
    assert [type(step) for step in again.steps] == [type(step) for step in fitted.steps]
    assert [step["name"] for step in settings] == steps


def test_the_filter_of_whole_images_comes_back() -> None:
    """Its image_shape is None."""
    made = Olshausen(n_visible=4, image_shape=None)
    assert from_record(*to_record(made), 4) == made


EYE = np.eye(2)
STANDARD = {"0.mean": np.zeros(2), "0.deviation": np.ones(2)}
WHITE = {"0.mean": np.zeros(2), "0.matrix": EYE}


def step(name: Any, **settings: Any) -> list[Any]:
    return [{"name": name, "settings": settings}]


@pytest.mark.parametrize(
    ("settings", "arrays", "message"),
    [
        (["zca"], {}, "its transform None is not one of scale, standardise"),
        (step("pca", n_visible=2), {}, "its transform 'pca' is not one of"),
        (step(["zca"]), {}, "its transform .* is not one of"),
        ([{"name": "zca"}], WHITE, "the transform 'zca' in it cannot be used: 'settings'"),
        ([{"name": "zca", "settings": 3}], WHITE, "the transform 'zca' in it cannot be used"),
        (step("zca", n_visible=2, epsilon=1), WHITE, "its settings are epsilon, n_visible and should be n_visible"),
        (step("zca", n_visible=3), WHITE, r"its matrix is float64 \(2, 2\) and should be float64 \(3, 3\)"),
        (step("zca", n_visible=2.0), WHITE, "its n_visible is 2.0 and should be a positive integer"),
        (step("zca", n_visible=0), WHITE, "its n_visible is 0 and should be a positive integer"),
        (step("zca", n_visible=2), {"0.mean": np.zeros(2)}, "its arrays are mean and should be matrix, mean"),
        (step("zca", n_visible=2), WHITE | {"0.x": EYE}, "its arrays are matrix, mean, x and should be matrix, mean"),
        (step("zca", n_visible=2), WHITE | {"1.x": EYE}, "it has arrays of transforms that it does not name"),
        (step("zca", n_visible=2), WHITE | {"0.matrix": EYE * np.nan}, "its matrix has values that are not finite"),
        (step("zca", n_visible=2), WHITE | {"0.matrix": -EYE}, "its matrix is not symmetric and positive definite"),
        (
            step("zca", n_visible=2),
            WHITE | {"0.matrix": np.array([[1.0, 1.0], [0.0, 1.0]])},
            "its matrix is not symmetric",
        ),
        (step("zca", n_visible=2), WHITE | {"0.matrix": EYE.astype("f4")}, "its matrix is float32"),
        (step("standardise", n_visible=2), STANDARD | {"0.deviation": np.zeros(2)}, "values that are not positive"),
        (step("scale", n_visible=2, low=1.0, high=0.0), {}, "its range is 1.0 to 0.0"),
        (step("scale", n_visible=2, low=-1.7e308, high=1.7e308), {}, "its range is -1.7e"),
        (step("scale", n_visible=2, low="a", high=0.0), {}, "its low is 'a' and should be a number"),
        (step("scale", n_visible=2, low=float("nan"), high=0.0), {}, "its low is nan and should be a number"),
        (step("scale", n_visible=2, low=True, high=2), {}, "its low is True and should be a number"),
        (step("unit_rms", n_visible=2, rms=0.0), {}, "its rms is 0.0 and should be positive"),
        (step("patches", n_visible=2, limit=-1.0), {}, "its limit is -1.0 and should be positive"),
        (step("olshausen", n_visible=2, image_shape=[2, 2], f0=0.4), {}, "its image_shape 2x2 does not give 2 columns"),
        (step("olshausen", n_visible=2, image_shape=[2], f0=0.4), {}, "cannot be used: not enough values"),
        (step("centre", n_visible=3), {}, "its transform 'centre' is for 3 columns and the model for 2"),
    ],
)
def test_what_is_damaged_or_foreign_is_refused(settings: list[Any], arrays: Any, message: str) -> None:
    """With the name of the transform and what is wrong."""
    with pytest.raises((ValueError, KeyError, TypeError), match=message):
        from_record(settings, arrays, 2)


def test_the_damaged_ones_are_sound_before_they_are_damaged() -> None:
    """So that each of them is refused for its own damage."""
    assert isinstance(from_record(step("zca", n_visible=2), WHITE, 2), ZCA)
    assert isinstance(from_record(step("standardise", n_visible=2), STANDARD, 2), Standardise)
    assert isinstance(from_record(step("scale", n_visible=2, low=0, high=2), {}, 2), Scale)
    assert isinstance(from_record(step("unit_rms", n_visible=2, rms=1.0), {}, 2), UnitRMS)


def test_a_transform_of_ones_own_cannot_be_stored() -> None:
    """It is said before a file is written that could not be read again."""

    class Mine(Transform):
        name = "mine"
        fitter = restore = settings = apply_rows = None  # type: ignore[assignment]
        summary = ""
        n_visible = 4

    for foreign in (Mine(), object()):
        with pytest.raises(ParameterError, match=r"cannot hold a transform of the class (Mine|object); those of spa"):
            to_record(foreign)
