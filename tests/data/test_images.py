"""Patches, normalisation, whitening, and the bundled data."""

import numpy as np
import pytest

import sparsae
from sparsae import DataError, ParameterError
from sparsae.data import extract_patches, load, normalise_patches, olshausen_filter, zca
from sparsae.errors import FileFormatError, FileMissingError


def test_digits_are_scaled_as_stated(digits):
    """X / 16 * 0.8 + 0.1."""
    data = load("digits")
    np.testing.assert_allclose(data.X, digits, rtol=1e-12)
    assert data.image_shape == (8, 8)


@pytest.mark.parametrize("source", ["patches", "photos"])
@pytest.mark.parametrize("whiten", ["none", "zca", "olshausen"])
def test_patches_of_real_photographs(source, whiten):
    """In [0.1, 0.9], mean near 0.5 for each patch, the same for the same seed, others for another."""
    data = load(source, n_patches=500, patch_size=6, whiten=whiten, seed=3)
    assert data.X.shape == (500, 36)
    assert data.image_shape == (6, 6)
    assert data.X.min() >= 0.1 - 1e-12
    assert data.X.max() <= 0.9 + 1e-12
    np.testing.assert_array_equal(data.X, load(source, n_patches=500, patch_size=6, whiten=whiten, seed=3).X)
    assert not np.array_equal(data.X, load(source, n_patches=500, patch_size=6, whiten=whiten, seed=4).X)
    sparsae.Objective(data.X, 3)  # a sigmoid output takes them


def test_normalisation_is_the_exercises():
    """Own mean removed, clipped at three standard deviations of all values, scaled to [0.1, 0.9]."""
    patches = np.random.default_rng(0).normal(5, 2, (200, 9))
    patches[0] *= 100
    X, limit = normalise_patches(patches)
    centred = patches - patches.mean(axis=1, keepdims=True)
    assert limit == pytest.approx(3 * centred.std())
    np.testing.assert_allclose(X, np.clip(centred, -limit, limit) / limit * 0.4 + 0.5, rtol=1e-12)
    again, same = normalise_patches(patches[:5], limit=limit)
    assert same == limit
    np.testing.assert_allclose(again, X[:5], rtol=1e-12)


def test_extracted_patches_are_pieces_of_the_images():
    """Every patch stands somewhere in its image, and each image gives its share."""
    images = [np.arange(100.0).reshape(10, 10), 1000 + np.arange(130.0).reshape(10, 13)]
    patches = extract_patches(images, 60, 3, seed=0)
    assert (patches[:, 0] < 1000).sum() == 30
    for patch in patches:
        columns = 10 if patch[0] < 1000 else 13
        expected = patch[0] + np.add.outer(columns * np.arange(3), np.arange(3))
        np.testing.assert_array_equal(patch.reshape(3, 3), expected)


def test_olshausens_filter_is_flat_for_a_natural_spectrum():
    """An image with a 1/f spectrum comes out white below the cut-off; the mean goes, the variance becomes one."""
    rng = np.random.default_rng(0)
    f = np.hypot(np.fft.fftfreq(128)[:, None], np.fft.rfftfreq(128)[None, :])
    f[0, 0] = np.inf
    image = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(128, 128))) / f) + 7
    out = olshausen_filter(image)
    assert abs(out.mean()) < 1e-12
    assert out.std() == pytest.approx(1)
    power = abs(np.fft.rfft2(out)) ** 2
    bands = [power[(f > low) & (f <= low + 0.05)].mean() for low in (0.05, 0.1, 0.15)]
    assert max(bands) / min(bands) < 1.4
    assert power[f > 0.6].mean() < 0.01 * bands[0]
    assert not olshausen_filter(np.ones((8, 8))).any()


def test_zca_whitens_and_stays_close():
    """Covariance becomes the identity where variance is well above the floor; the matrix is symmetric."""
    rng = np.random.default_rng(0)
    patches = rng.normal(size=(5000, 4)) @ rng.normal(size=(4, 4)) + 3
    matrix, mean = zca(patches, epsilon=1e-9)
    white = (patches - mean) @ matrix
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(4), atol=1e-6)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-10)


@pytest.mark.parametrize("whiten", ["none", "zca", "olshausen"])
def test_own_pictures_and_the_same_treatment_of_new_ones(tmp_path, whiten):
    """A folder of pictures; new patches are treated with the constants of the old ones."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("a.png", "b.jpg"):
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    data = load(f"patches:{tmp_path}", n_patches=300, patch_size=5, whiten=whiten)
    assert data.X.shape == (300, 25)
    other = load(f"patches:{tmp_path}/a.png", n_patches=100, like=data.preprocessing, seed=1)
    assert other.X.shape == (100, 25)
    assert other.preprocessing["limit"] == data.preprocessing["limit"]
    assert other.preprocessing["whiten"] == whiten


def test_unusable_pictures_and_options_are_named(tmp_path):
    """Missing, empty folder, no picture, too small, unknown whitening, sizes that are no sizes."""
    from PIL import Image

    with pytest.raises(FileMissingError, match="There is no file or folder"):
        load(f"patches:{tmp_path}/none.png")
    with pytest.raises(DataError, match=r"has no pictures; looked for \.png"):
        load(f"patches:{tmp_path}")
    (tmp_path / "x.png").write_text("not a picture")
    with pytest.raises(FileFormatError, match=r"x.png cannot be read as a picture"):
        load(f"patches:{tmp_path}/x.png")
    Image.new("L", (4, 4)).save(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"x.png has 4x4 pixels; patches of 8x8 do not fit"):
        load(f"patches:{tmp_path}/x.png")
    with pytest.raises(DataError, match="All patches are constant"):
        load(f"patches:{tmp_path}/x.png", patch_size=2)
    with pytest.raises(ParameterError, match="whiten must be one of none, zca, olshausen; given 'pca'"):
        load("patches", whiten="pca")
    with pytest.raises(ParameterError, match="n_patches must be an integer of at least 1, not 0"):
        load("patches", n_patches=0)
    with pytest.raises(ParameterError, match="patch_size must be an integer of at least 1, not -8"):
        load("patches", patch_size=-8)


def test_more_patches_than_fit_into_memory_are_refused():
    """With how many fit, before anything is allocated."""
    with pytest.raises(
        ParameterError, match=r"1,000,000,000,000 patches of 8x8 need 512 TB in memory; at most [\d,]+ f"
    ):
        load("patches", n_patches=10**12)


@pytest.mark.parametrize(("whiten", "name"), [("none", "limit"), ("zca", "zca_mean"), ("none", "patch_size")])
def test_a_damaged_record_of_patches_is_named(whiten, name):
    """A model file may lack what the same treatment needs."""
    record = dict(load("patches", n_patches=10, whiten=whiten).preprocessing)
    del record[name]
    with pytest.raises(DataError, match=f"record of the patches lacks {name}; it has kind"):
        load("patches", n_patches=10, like=record)


def test_models_of_patches_are_given_patches(tmp_path):
    """A matrix, or digits, given to a model of patches is refused with what is possible."""
    record = load("patches", n_patches=10).preprocessing
    with pytest.raises(DataError, match="The model was trained on image patches; give patches, photos"):
        load("digits", like=record)
    with pytest.raises(DataError, match="not on patches"):
        load("patches", like={"kind": "scaled", "offset": 0, "factor": 1})


@pytest.mark.parametrize(
    ("source", "option", "purpose"),
    [
        ("digits", {"whiten": "zca"}, "image patches"),
        ("digits", {"columns": np.array([0, 1])}, "files of samples"),
        ("digits", {"transpose": True}, "files of samples"),
        ("patches", {"columns": "1-3"}, "files of samples"),
        ("photos", {"header": False}, "files of samples"),
        ("x.npy", {"whiten": "olshausen"}, "image patches"),
        ("x.npy", {"n_patches": 100}, "image patches"),
        ("x.npy", {"patch_size": 2}, "image patches"),
    ],
)
def test_an_option_without_effect_on_the_source_is_refused(source, option, purpose, tmp_path, monkeypatch):
    """The data would not be those that were asked for, and nothing would say so."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.full((3, 4), 0.5))
    (name,) = option
    with pytest.raises(ParameterError, match=f"{name}=.* is for {purpose}.* no effect on {source}; leave it out"):
        load(source, **option)


def test_options_without_effect_are_allowed_at_their_defaults(tmp_path):
    """As a program passes them that has all of them."""
    np.save(tmp_path / "x.npy", np.full((3, 4), 0.5))
    assert load(tmp_path / "x.npy", n_patches=10_000, patch_size=8, whiten="none").X.shape == (3, 4)
    assert load("digits", columns=None, header=None, transpose=False, scale=True).X.shape == (1797, 64)
