"""Pictures: tiles as in the exercise, and files that are whole."""

import sys

import numpy as np
import pytest

from sparsae import ParameterError
from sparsae.errors import MissingExtraError
from sparsae.plots import feature_tiles, plot_features


def test_each_tile_is_scaled_by_its_own_largest_weight():
    """25 units of 8x8: a 5x5 sheet with borders; a unit without weights stays grey."""
    W1 = np.random.default_rng(0).normal(size=(25, 64)) * np.logspace(-3, 3, 25)[:, None]
    W1[7] = 0
    sheet = feature_tiles(W1)
    assert sheet.shape == (46, 46)
    for j in range(25):
        tile = sheet[(j // 5) * 9 + 1 : (j // 5) * 9 + 9, (j % 5) * 9 + 1 : (j % 5) * 9 + 9]
        np.testing.assert_allclose(tile, (W1[j] / (abs(W1[j]).max() or 1)).reshape(8, 8))
    assert np.isnan(sheet[0]).all()
    assert feature_tiles(W1[:3, :6], image_shape=(2, 3)).shape == (7, 9)


def test_samples_that_are_no_images_are_named(tmp_path):
    """Neither a square nor the shape that was given."""
    with pytest.raises(ParameterError, match=r"Samples of 6 inputs are not square images; give image_shape=\(rows"):
        feature_tiles(np.ones((2, 6)))
    with pytest.raises(ParameterError, match=r"Samples of 6 inputs are not 4x2 images"):
        feature_tiles(np.ones((2, 6)), image_shape=(4, 2))
    with pytest.raises(ParameterError, match=r"x.doc must end in .png, .svg, .pdf"):
        plot_features(tmp_path / "x.doc", np.ones((2, 4)))


@pytest.mark.parametrize(("hidden", "inputs"), [(3, 6), (100, 5), (2, 301)])
def test_samples_that_are_no_images_are_drawn_as_bars(tmp_path, monkeypatch, hidden, inputs):
    """A panel a unit, with a bar an input, at most 64 panels; a unit without weights too."""
    import matplotlib.figure

    panels = []
    make = matplotlib.figure.Figure.subplots

    def subplots(*args, **options):
        panels.append(make(*args, **options))
        return panels[-1]

    monkeypatch.setattr(matplotlib.figure.Figure, "subplots", subplots)
    W1 = np.random.default_rng(0).normal(size=(hidden, inputs))
    W1[0] = 0
    plot_features(tmp_path / "x.png", W1)
    assert (tmp_path / "x.png").read_bytes().startswith(b"\x89PNG")
    drawn = [axes for axes in panels[0].flat if axes.patches]
    assert len(drawn) == min(hidden, 64)
    assert {len(axes.patches) for axes in drawn} == {inputs}
    np.testing.assert_allclose([bar.get_height() for bar in drawn[1].patches], W1[1] / abs(W1[1]).max())


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_pictures_are_written_without_pyplot(tmp_path, ending):
    """Each format, and no global state of pyplot."""
    plot_features(tmp_path / f"x.{ending}", np.ones((2, 4)), title="two units")
    assert (tmp_path / f"x.{ending}").stat().st_size > 1000
    assert "matplotlib.pyplot" not in sys.modules or sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_a_missing_matplotlib_is_named_with_its_extra(tmp_path, monkeypatch):
    """The extra that brings it."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "sparsae.plots.picture", raising=False)
    with pytest.raises(MissingExtraError, match=r"pip install .*\[plot\]'"):
        plot_features(tmp_path / "x.png", np.ones((2, 4)))
