"""Data is what it looks like, or is refused: never exit 0 and wrong numbers."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sparsae.data import load
from sparsae.errors import DataWarning


@pytest.mark.parametrize("mode", ["I;16", "I", "F"])
def test_deep_pictures_keep_their_grey_levels(mode: str, tmp_path: Path) -> None:
    """16-bit and float pictures are scaled by their own range, 32-bit ones refused by name."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    levels = np.linspace(0, 4095, 4096).reshape(64, 64)
    top = {"I;16": 65535, "I": 65535, "F": 1.0}[mode]
    dtype = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
    Image.fromarray((levels / 4095 * top).astype(dtype)).save(folder / "p.tiff")
    if mode == "I":
        with pytest.raises(ValueError, match=r"p\.tiff has 32-bit integers"):
            load(f"patches:{folder}")
    else:
        assert len(np.unique(load(f"patches:{folder}").X)) > 500


def test_hidden_files_are_skipped(tmp_path: Path) -> None:
    """MacOS's ``._a.png`` does not stop a folder; a damaged picture is named."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(folder / "a.png")
    (folder / "._a.png").write_bytes(b"\x00\x05\x16\x07")
    assert load(f"patches:{folder}").X.shape[1] == 64
    (folder / "b.png").write_bytes(b"nothing")
    with pytest.raises(ValueError, match=r"b\.png"):
        load(f"patches:{folder}")


@pytest.mark.parametrize(
    ("text", "columns", "said"),
    [
        ("0,1,2\n" + "0.1,0.2,0.3\n" * 8, 3, None),
        (",0,1\n" + "".join(f"{i},0.5,0.25\n" for i in range(8)), 2, "column 1 has no name; .* --columns 1-"),
        ('"a","b"\n' + "".join(f'"{i}",0.5,0.25\n' for i in range(1, 9)), 2, "one name less .* --columns 1-"),
    ],
    ids=["number names", "pandas index", "row names"],
)
def test_headers_and_indices_of_csv(text: str, columns: int, said: str | None, tmp_path: Path) -> None:
    """A header of numbers is no sample, an index is no input; what was left out is said, with the way to keep it."""
    path = tmp_path / "x.csv"
    path.write_text(text)
    with pytest.warns(DataWarning, match=said) if said else nullcontext():
        data = load(str(path))
    assert data.X.shape == (8, columns)
    assert data.X.max() <= 0.5


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "a;b\n0,5;0,25\n0,1;0,2\n"),
        ("x.tsv", "a\tb\n0,5\t0,25\n0,1\t0,2\n"),
        ("y.tsv", "a\tb\n0.5\t0.25\n0.1\t0.2\n"),
        ("y.csv", '"one; name";b\n0.5;0.25\n0.1;0.2\n'),
    ],
)
def test_delimiters_and_decimal_commas(name: str, text: str, tmp_path: Path) -> None:
    """Two columns stay two columns; decimal commas are read."""
    path = tmp_path / name
    path.write_text(text)
    data = load(str(path))
    assert data.X.tolist() == [[0.5, 0.25], [0.1, 0.2]]


@pytest.mark.parametrize(
    ("dtype", "low", "step"), [("float32", 1e6, 0.0625), ("float16", 1000, 1), ("float64", 1e-310, 1e-312)]
)
def test_scale_keeps_its_levels(run, tmp_path: Path, dtype: str, low: float, step: float) -> None:
    """``--scale`` works in float64: 17 levels far from zero stay 17 levels; nothing becomes NaN."""
    values = (low + step * (np.arange(170) % 17)).reshape(34, 5).astype(dtype)
    levels = len(np.unique(values))
    np.save(tmp_path / "x.npy", values)
    scaled = load(str(tmp_path / "x.npy"), scale=True).X
    assert np.isfinite(scaled).all()
    assert len(np.unique(scaled)) == levels
    assert scaled.min() == pytest.approx(0.1, abs=1e-3) or scaled.min() == 0
    np.save(tmp_path / "wide.npy", np.array([[-1.7e308, 1.7e308], [0, 1]]))
    assert run("train", "wide.npy", "--scale").code == 2


def test_outputs_do_not_touch_the_data_or_each_other(run, rows: Path) -> None:
    """Equal paths, resolved, are refused before training."""
    before = rows.read_bytes()
    link = rows.with_name("link.npy")
    link.symlink_to(rows)
    for words in (
        ("--log", rows),
        ("-o", rows, "--force"),
        ("-o", link, "--force"),
        ("--checkpoint", rows),
        ("-o", "m.npz", "--log", "m.npz"),
        ("-o", "m.npz", "--checkpoint", "m.npz"),
        ("--checkpoint", "a", "--log", "./a"),
    ):
        said = run("train", rows, "--hidden", 2, "--max-iter", 1, *words)
        assert (said.code, said.is_one_error_line) == (2, True), (words, said)
    assert rows.read_bytes() == before
