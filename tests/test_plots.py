"""Pictures: tiles as in the exercise, and files that are whole."""

import sys

import numpy as np
import pytest

from sparsae import MissingExtraError, ParameterError
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
    with pytest.raises(ParameterError, match="no square image does not fit n_visible=6; give image_shape"):
        feature_tiles(np.ones((2, 6)))
    with pytest.raises(ParameterError, match=r"image_shape \(4, 2\) does not fit n_visible=6"):
        feature_tiles(np.ones((2, 6)), image_shape=(4, 2))
    with pytest.raises(ParameterError, match=r"x.doc must end in .png, .svg, .pdf"):
        plot_features(tmp_path / "x.doc", np.ones((2, 4)))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_pictures_are_written_without_pyplot(tmp_path, ending):
    """Each format, and no global state of pyplot."""
    plot_features(tmp_path / f"x.{ending}", np.ones((2, 4)), title="two units")
    assert (tmp_path / f"x.{ending}").stat().st_size > 1000
    assert "matplotlib.pyplot" not in sys.modules or sys.modules["matplotlib.pyplot"].get_fignums() == []


def test_a_missing_matplotlib_is_named_with_its_extra(tmp_path, monkeypatch):
    """The extra that brings it."""
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'sparsae\[plot\]'"):
        plot_features(tmp_path / "x.png", np.ones((2, 4)))
