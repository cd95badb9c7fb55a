"""Patches, normalisation, whitening, and the bundled data."""

import numpy as np
import pytest

import sparsae
from sparsae import DataError, ParameterError
from sparsae.data import extract_patches, load
from sparsae.errors import FileFormatError, FileMissingError
from sparsae.transforms import Patches, Scale, fit


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


def test_extracted_patches_are_pieces_of_the_images():
    """Every patch stands somewhere in its image, and each image gives its share."""
    images = [np.arange(100.0).reshape(10, 10), 1000 + np.arange(130.0).reshape(10, 13)]
    patches = extract_patches(images, 60, 3, seed=0)
    assert (patches[:, 0] < 1000).sum() == 30
    for patch in patches:
        columns = 10 if patch[0] < 1000 else 13
        expected = patch[0] + np.add.outer(columns * np.arange(3), np.arange(3))
        np.testing.assert_array_equal(patch.reshape(3, 3), expected)


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
    other = load(f"patches:{tmp_path}/a.png", n_patches=100, like=data.transform, seed=1)
    assert other.X.shape == (100, 25)
    assert other.transform.steps[-1].limit == data.transform.steps[-1].limit
    names = {"none": ["patches"], "zca": ["centre", "zca", "patches"], "olshausen": ["olshausen", "patches"]}
    assert [step.name for step in other.transform.steps] == names[whiten]


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
    with pytest.raises(DataError, match=r"All patches of patches:.*x.png are constant"):
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


def test_models_of_patches_are_given_images_or_patches(tmp_path):
    """A matrix of patches is taken as it is, but not where whole images were filtered; other data is refused."""
    rows = np.random.default_rng(0).normal(size=(20, 64))
    np.save(tmp_path / "patches.npy", rows)
    np.save(tmp_path / "other.npy", rows[:, :5])
    for whiten in ("none", "zca"):
        made = load("patches", n_patches=50, whiten=whiten).transform
        np.testing.assert_array_equal(load(tmp_path / "patches.npy", like=made).X, made.apply(rows))
    with pytest.raises(DataError, match=r"trained on image patches of 64 pixels and .*other.npy has 5 columns; give p"):
        load(tmp_path / "other.npy", like=made)
    filtered = load("patches", n_patches=10, whiten="olshausen").transform
    with pytest.raises(DataError, match=r"patches of images that were filtered as a whole .*give the images: patches:"):
        load(tmp_path / "patches.npy", like=filtered)
    with pytest.raises(DataError, match=r"trained on other data \(scale\), not on patches; give a file"):
        load("patches", like=Scale(n_visible=64, low=0.0, high=1.0))
    with pytest.raises(DataError, match="takes 5 inputs, which are no square patch"):
        load("patches", like=Patches(n_visible=5, limit=1.0))
    with pytest.raises(DataError, match=r"other.npy has 5 columns and the model takes 64\."):
        load(tmp_path / "other.npy", like=Scale(n_visible=64, low=0.0, high=1.0))


def test_one_wish_at_a_time():
    """`like`, `transform` and `scale` say the same thing; patches have `whiten`."""
    with pytest.raises(ParameterError, match="transform=zca and scale=True both say what is done to the samples"):
        load("digits", transform="zca", scale=True)
    with pytest.raises(ParameterError, match="transform=zca is for files of samples and has no effect on patches"):
        load("patches", transform="zca")


def test_digits_take_another_transform(digits):
    """Fitted to the raw values 0 to 16; without one they are scaled."""
    raw = (digits - 0.1) * 20
    made = load("digits", transform=["standardise", "olshausen"])
    np.testing.assert_allclose(made.X, fit(raw, ["standardise", "olshausen"]).apply(raw), atol=1e-9)
    np.testing.assert_array_equal(load("digits", like=made.transform).X, made.X)


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
