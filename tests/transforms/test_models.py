"""Models that hold their transform: raw data in, raw units out, in Python, in files and at the command."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.command import Ended, run_here

import sparsae
from sparsae import transforms
from sparsae.errors import DataError, FileFormatError, ParameterError

pytestmark = pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
Run = Callable[..., Ended]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command in this process, in a folder with raw.npy: 80 samples of 9 inputs around 50."""
    monkeypatch.chdir(tmp_path)
    np.save("raw.npy", raw())
    return partial(run_here, capsys)


def raw() -> np.ndarray[Any, Any]:
    rng = np.random.default_rng(3)
    return rng.normal(size=(80, 9)) @ rng.normal(size=(9, 9)) + 50


@pytest.mark.parametrize("steps", ["standardise", ["centre", "zca"], "unit_rms"], ids=str)
def test_training_with_a_transform_is_training_on_transformed_data(steps: Any) -> None:
    """The same bits; the result applies it to raw data, and undoes it in its outputs where that can be done."""
    X, options = raw(), {"output": "linear", "max_iter": 10}
    with_it = sparsae.train(X, 3, transform=steps, **options)
    fitted = transforms.fit(X, steps)
    without = sparsae.train(fitted.apply(X), 3, **options)
    for a, b in zip(with_it.parameters, without.parameters, strict=True):
        np.testing.assert_array_equal(a, b)
    assert without.transform is None
    np.testing.assert_array_equal(with_it.encode(X), without.encode(fitted.apply(X)))
    outputs = without.reconstruct(fitted.apply(X))
    if fitted.invertible:
        outputs = fitted.inverse(outputs)
    np.testing.assert_array_equal(with_it.reconstruct(X), outputs)
    with pytest.raises(DataError, match="X has 4 columns and the transform"):
        with_it.encode(X[:, :4])


def test_a_target_is_transformed_like_the_samples() -> None:
    """As denoising needs: the clean data stands in the same units as the noisy one."""
    clean = raw()
    noisy = clean + np.random.default_rng(0).normal(size=clean.shape)
    fitted = transforms.fit(noisy, "standardise")
    options: dict[str, Any] = {"output": "linear", "max_iter": 5}
    one = sparsae.train(noisy, 3, target=clean, transform="standardise", **options)
    other = sparsae.train(fitted.apply(noisy), 3, target=fitted.apply(clean), **options)
    np.testing.assert_array_equal(one.parameters.W1, other.parameters.W1)


def test_a_resumed_fit_fits_the_same_transform(tmp_path: Path) -> None:
    """So that its data is the checkpoint's."""
    X, options = raw(), {"output": "linear", "transform": ["standardise", "zca"]}
    whole = sparsae.train(X, 3, max_iter=8, **options)
    sparsae.train(X, 3, max_iter=4, checkpoint=tmp_path / "c", **options)
    resumed = sparsae.train(X, 3, max_iter=8, checkpoint=tmp_path / "c", resume=True, **options)
    np.testing.assert_array_equal(resumed.parameters.W1, whole.parameters.W1)
    assert resumed.transform is not None


@pytest.mark.parametrize("steps", [[name] for name in transforms.NAMES] + [["standardise", "zca"]], ids=str)
def test_every_transform_goes_through_the_command(run: Run, steps: list[str]) -> None:
    """Train with it, then encode and reconstruct of raw data, which say what they did; info names it."""
    words = [word for name in steps for word in ("--transform", name)]
    small = ("--hidden", 3, "--max-iter", 3, "--output", "linear", "--quiet", "-o", "m.npz")
    code, _, err = run("train", "raw.npy", *words, *small)
    assert code == 0, err
    result = sparsae.load("m.npz")
    assert result.transform is not None
    assert [step.name for step in result.transform.steps] == steps
    assert result.data["source"] == "raw.npy"

    code, _, err = run("encode", "m.npz", "raw.npy", "-o", "codes.npy")
    assert (code, err) == (0, f"The model's transform was applied to raw.npy: {result.transform.summary}.\n")
    np.testing.assert_array_equal(np.load("codes.npy"), result.encode(raw()))
    code, out, err = run("reconstruct", "m.npz", "raw.npy", "-o", "again.npy", "--json")
    outputs = np.load("again.npy")
    np.testing.assert_array_equal(outputs, result.reconstruct(raw()))
    invertible = result.transform.invertible
    assert (
        "in the units of the data" if invertible else "outputs are transformed samples: the transform has no"
    ) in err
    wanted = raw() if invertible else result.transform.apply(raw())
    assert json.loads(out)["mean_squared_error"] == pytest.approx(np.square(outputs - wanted).mean())
    code, out, _ = run("info", "m.npz")
    assert result.transform.summary.partition(" ")[0] in out
    assert json.loads(run("info", "m.npz", "--json").out)["transform"][0]["name"] == steps[0]


def test_the_old_options_say_the_same(run: Run) -> None:
    """--scale is --transform scale, and not both at once; a name that there is not is one line."""
    small = ("--hidden", 3, "--max-iter", 2, "--quiet")
    assert run("train", "raw.npy", "--scale", *small, "-o", "a.npz").code == 0
    assert run("train", "raw.npy", "--transform", "scale", *small, "-o", "b.npz").code == 0
    a, b = sparsae.load("a.npz"), sparsae.load("b.npz")
    assert a.transform == b.transform
    np.testing.assert_array_equal(a.parameters.W1, b.parameters.W1)
    for words, message in (
        (("--scale", "--transform", "zca"), "--transform zca and --scale both say what is done to the samples"),
        (("--transform", "zac"), "There is no transform 'zac'; did you mean 'zca'?"),
        (("--transform", "zca"), "a sigmoid output reproduces values in [0, 1]"),
    ):
        code, _, err = run("train", "raw.npy", *words, *small)
        assert (code, err.count("\n")) == (2, 1)
        assert message in err


def test_images_at_the_command(run: Run) -> None:
    """--whiten stands in the model; new images are treated the same; a matrix of filtered patches cannot be."""
    words = ("--patches", 60, "--patch-size", 3, "--hidden", 3, "--max-iter", 2, "--quiet")
    for whiten, refused in (("zca", False), ("olshausen", True)):
        assert run("train", "patches", "--whiten", whiten, *words, "-o", f"{whiten}.npz").code == 0
        code, _, err = run("encode", f"{whiten}.npz", "photos", "--patches", 20, "-o", f"{whiten}.npy")
        assert code == 0
        assert f"applied to photos: {'olshausen (whole images' if refused else 'centre'}" in err
        code, _, err = run("encode", f"{whiten}.npz", "raw.npy", "-o", f"{whiten}2.npy")
        assert code == (2 if refused else 0), err
    assert "give the images: patches:PATH" in err


def edited(path: Path, **parts: Any) -> None:
    """Write the model again with other arrays or another header, sound in all checksums."""
    from sparsae.training.archive import read_archive, write_archive

    header, arrays = read_archive(path, kind="sparsae model", version=1, what="model file")
    header |= {name: value for name, value in parts.items() if name in header}
    arrays |= {name: value for name, value in parts.items() if name not in header}
    with path.open("wb") as file:
        write_archive(file, header, {name: value for name, value in arrays.items() if value is not None})


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"transform": [{"name": "pca", "settings": {}}]}, "its transform 'pca' is not one of scale"),
        ({"transform": []}, "it has arrays of transforms that it does not name"),
        ({"transform": {"name": "zca"}}, "header.transform is dict"),
        ({"transform.0.matrix": np.full((9, 9), np.nan)}, "'zca' in it cannot be used: its matrix has values that are"),
        ({"transform.0.matrix": np.eye(8)}, r"its matrix is float64 \(8, 8\) and should be float64 \(9, 9\)"),
        ({"transform.0.mean": None}, "its arrays are matrix and should be matrix, mean"),
        ({"transform": [{"name": "centre", "settings": {"n_visible": 4}}], "transform.0.mean": None,
          "transform.0.matrix": None}, "'centre' is for 4 columns and the model for 9"),
        ({"data": 3}, "header.data is int"),
    ],
    ids=str,
)  # fmt: skip
def test_a_damaged_or_foreign_transform_is_refused(tmp_path: Path, parts: dict[str, Any], message: str) -> None:
    """When the file is read, in one line that names file and transform."""
    path = tmp_path / "m.npz"
    sparsae.save(path, sparsae.train(raw(), 2, transform="zca", output="linear", max_iter=1))
    edited(path)
    assert sparsae.load(path).transform is not None
    edited(path, **parts)
    with pytest.raises(FileFormatError, match=rf"m\.npz is damaged: .*{message}") as caught:
        sparsae.load(path)
    assert "\n" not in str(caught.value)


def test_a_model_with_a_transform_that_no_file_can_hold_is_not_written(tmp_path: Path) -> None:
    """Said before anything is written."""
    result = replace(sparsae.train(raw(), 2, output="linear", max_iter=1), transform=object())  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match="A model file cannot hold a transform of the class object"):
        sparsae.save(tmp_path / "m.npz", result)
    assert not list(tmp_path.iterdir())
