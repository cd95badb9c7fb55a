"""Pictures: every depth scaled by its own range or refused; which files of a folder count; errors name the file."""

import io
import logging
import os

import numpy as np
import pytest
from PIL import Image, ImageOps

from sparsae import DataError
from sparsae.data import load
from sparsae.data.pictures import read_pictures, to_grey
from sparsae.data.readers import limits
from sparsae.errors import FileAccessError, FileFormatError, FileMissingError

RAMP = np.arange(4096).reshape(64, 64)  # every grey level once


@pytest.mark.parametrize(
    ("name", "dtype", "levels"),
    [("x.png", "u1", 256), ("x.tif", "u1", 256), ("x.png", "u2", 4096), ("x.tif", "u2", 4096), ("x.tif", ">u2", 4096)],
)
def test_all_grey_levels_are_kept(tmp_path, name, dtype, levels):
    """8 and 16 bits are scaled by their own range: black is 0, white is 1, no level is lost."""
    white = np.iinfo(dtype).max
    pixels = (RAMP * white // 4095).astype(dtype)
    mode = "I;16B" if dtype == ">u2" else None
    if mode:
        Image.frombytes(mode, (64, 64), pixels.tobytes()).save(tmp_path / name)
    else:
        Image.fromarray(pixels).save(tmp_path / name)
    (grey,) = read_pictures(tmp_path / name)
    np.testing.assert_allclose(grey, pixels.astype(float) / white, rtol=1e-15)
    assert len(np.unique(grey)) == levels
    assert (grey.min(), grey.max()) == (0, 1)


def test_twelve_bits_are_scaled_by_4095(tmp_path):
    """A TIFF with 12 bits in each sample, as microscopes and radiographs have them."""
    rows = []
    for row in RAMP:
        pairs = row.reshape(-1, 2)
        rows += [b for a, c in pairs.tolist() for b in (a >> 4, (a & 15) << 4 | c >> 8, c & 255)]
    data = bytes(rows)
    tags = [(256, 64), (257, 64), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1), (278, 64), (279, len(data))]
    directory = len(tags).to_bytes(2, "little")
    for tag, value in tags:
        directory += tag.to_bytes(2, "little") + (4).to_bytes(2, "little") + (1).to_bytes(4, "little")
        directory += value.to_bytes(4, "little")
    header = b"II*\0" + (8 + len(data)).to_bytes(4, "little")
    (tmp_path / "x.tif").write_bytes(header + data + directory + bytes(4))
    (grey,) = read_pictures(tmp_path / "x.tif")
    np.testing.assert_allclose(grey, RAMP / 4095, rtol=1e-15)


def test_deep_pgm_is_scaled_by_its_own_maximum(tmp_path):
    """A PGM declares its white: 1,023 here."""
    pixels = (RAMP % 1024).astype(">u2")
    (tmp_path / "x.pgm").write_bytes(b"P5 64 64 1023\n" + pixels.tobytes())
    (grey,) = read_pictures(tmp_path / "x.pgm")
    np.testing.assert_allclose(grey, pixels / 1023, atol=1e-5)
    assert len(np.unique(grey)) == 1024


def test_floats_are_kept_or_refused(tmp_path):
    """In [0, 1] as they are; any other range has no white."""
    pixels = (RAMP / 4095).astype(np.float32)
    Image.fromarray(pixels).save(tmp_path / "x.tif")
    np.testing.assert_array_equal(read_pictures(tmp_path / "x.tif")[0], pixels)
    for bad, words in ((pixels * 255, "0 to 255"), (pixels - 0.5, "-0.5 to 0.5"), (pixels * np.nan, "nan to nan")):
        Image.fromarray(bad).save(tmp_path / "x.tif")
        with pytest.raises(FileFormatError, match=rf"x.tif has floats from {words} as pixels; scale them to \[0, 1\]"):
            read_pictures(tmp_path / "x.tif")


def test_32_bit_integers_are_refused(tmp_path):
    """Their white is not known."""
    Image.fromarray(RAMP.astype(np.int32)).save(tmp_path / "x.tif")
    with pytest.raises(FileFormatError, match=r"x.tif has 32-bit integers, of which the largest grey value is not"):
        read_pictures(tmp_path / "x.tif")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "CMYK", "YCbCr", "LA", "RGBA", "PA"])
def test_opaque_pictures_of_every_mode_are_read(tmp_path, mode):
    """Palettes, CMYK, luminance and colour with an opaque alpha channel: the grey values of the same RGB picture."""
    rng = np.random.default_rng(0)
    rgb = Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8))
    kind = {"CMYK": "TIFF", "YCbCr": "JPEG", "PA": "PNG"}.get(mode, "PNG")
    made = rgb.convert("P").convert("PA") if mode == "PA" else rgb.convert(mode)
    if mode == "PA":
        made = made.convert("RGBA")
    file = io.BytesIO()
    made.save(file, kind)
    (tmp_path / f"x.{kind.lower()}").write_bytes(file.getvalue())
    (grey,) = read_pictures(tmp_path / f"x.{kind.lower()}")
    with Image.open(file) as image:
        expected = to_grey(np.asarray(image.convert("RGB")))
    np.testing.assert_allclose(grey, expected, atol=1e-12)


@pytest.mark.parametrize("name", ["x.png", "x.gif", "palette.png"])
def test_transparent_pixels_are_refused(tmp_path, name):
    """They have a colour that nobody sees."""
    image = Image.new("RGBA", (9, 9), (255, 0, 0, 255))
    image.putpixel((3, 3), (0, 255, 0, 0))
    (image.convert("P") if name == "palette.png" else image).save(
        tmp_path / name, **({"transparency": 0} if name == "palette.png" else {})
    )
    if name == "palette.png":
        made = Image.new("P", (9, 9), 0)
        made.save(tmp_path / name, transparency=0)
    with pytest.raises(FileFormatError, match=rf"{name} has transparent pixels, which have no grey value; flatten"):
        read_pictures(tmp_path / name)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_the_camera_was_held(tmp_path, orientation):
    """The orientation in EXIF, as Pillow applies it."""
    image = Image.fromarray(np.arange(96, dtype=np.uint8).reshape(8, 12))
    exif = image.getexif()
    exif[0x0112] = orientation
    image.save(tmp_path / "x.png", exif=exif)
    with Image.open(tmp_path / "x.png") as saved:
        expected = np.asarray(ImageOps.exif_transpose(saved))
    np.testing.assert_array_equal(read_pictures(tmp_path / "x.png")[0], expected / 255)


def test_pictures_with_several_frames_are_refused(tmp_path):
    """An animation, a TIFF of several pages: the first frame alone would be taken in silence."""
    frames = [Image.new("L", (9, 9), value) for value in (0, 100, 200)]
    for name in ("x.gif", "x.tif", "x.png", "x.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        with pytest.raises(FileFormatError, match=rf"{name} has 3 frames; save each as a picture of its own"):
            read_pictures(tmp_path / name)


def test_hidden_files_and_folders_in_a_folder_are_skipped(tmp_path):
    """MacOS writes ._a.png beside a.png; only hidden files are no pictures."""
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7Mac OS X")
    (tmp_path / "sub.png").mkdir()
    with pytest.raises(DataError, match=r"has no pictures \(1 hidden file skipped\); looked for \.png"):
        read_pictures(tmp_path)
    Image.new("L", (9, 9), 51).save(tmp_path / "a.png")
    assert [grey[0, 0] for grey in read_pictures(tmp_path)] == [0.2]


def test_errors_name_the_file_of_the_folder(tmp_path):
    """No picture, truncated, too small, empty, a folder that does not exist, a pipe."""
    Image.new("L", (9, 9), 51).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    for content, message in (
        (b"text", "b.png cannot be read as a picture; known formats are PNG, JPEG"),
        (whole[:-20], "b.png is damaged or not a picture"),
        (b"", "b.png cannot be read as a picture"),
    ):
        (tmp_path / "b.png").write_bytes(content)
        with pytest.raises(FileFormatError, match=message):
            load(f"patches:{tmp_path}")
    Image.new("L", (9, 5), 51).save(tmp_path / "b.png")
    with pytest.raises(DataError, match=r"b.png has 5x9 pixels; patches of 8x8 do not fit into it"):
        load(f"patches:{tmp_path}")
    (tmp_path / "b.png").unlink()
    os.mkfifo(tmp_path / "b.png")
    with pytest.raises(FileAccessError, match=r"b.png is a named pipe"):
        load(f"patches:{tmp_path}")
    for name in ("none", "x" * 300, "a\0b"):
        with pytest.raises(FileMissingError, match="There is no file or folder"):
            load(f"patches:{tmp_path}/{name}")


def test_the_library_writes_nothing_of_its_own_to_the_terminal(tmp_path, capfd, monkeypatch):
    """Pillow logs some damage of a TIFF before it raises: the error is the one line that is shown."""
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own would take the line
    Image.new("RGB", (9, 9)).save(tmp_path / "x.tif")
    content = (tmp_path / "x.tif").read_bytes()
    at = content.index((277).to_bytes(2, "little") + (3).to_bytes(2, "little"))  # samples per pixel
    (tmp_path / "x.tif").write_bytes(content[: at + 8] + (60_000).to_bytes(2, "little") + content[at + 10 :])
    with pytest.raises(FileFormatError, match=r"x.tif"):
        read_pictures(tmp_path / "x.tif")
    assert capfd.readouterr() == ("", "")


def test_postscript_is_not_decoded(tmp_path):
    """Pillow would start Ghostscript for it: only formats that are decoded in this process are read."""
    (tmp_path / "x.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    with pytest.raises(FileFormatError, match="cannot be read as a picture"):
        read_pictures(tmp_path / "x.png")


def test_the_pictures_of_a_folder_share_the_memory(tmp_path, monkeypatch):
    """Each fits, all together do not: refused at the first that is too much, by its declared size."""
    for name in ("a.png", "b.png", "c.png"):
        Image.new("L", (100, 100), 51).save(tmp_path / name)
    monkeypatch.setattr(limits, "memory_limit", lambda: 2 * 300_000)
    with pytest.raises(FileFormatError, match=r"c.png needs 320 kB in memory; at most 300 kB are used"):
        read_pictures(tmp_path)


def test_more_images_than_patches(tmp_path):
    """Some images give none."""
    for name in ("a.png", "b.png", "c.png"):
        Image.fromarray(np.arange(100, dtype=np.uint8).reshape(10, 10)).save(tmp_path / name)
    assert load(f"patches:{tmp_path}", n_patches=2, patch_size=3).X.shape == (2, 9)
