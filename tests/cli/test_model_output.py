"""`encode` and `reconstruct` read and write piece by piece: the same bits, little memory, no half-written file."""

from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.support.command import Ended

import sparsae
from sparsae import encoding
from sparsae.cli.matrix_output import matrix_writer
from sparsae.cli.model_output import ModelOutput
from sparsae.data import load

Run = Callable[..., Ended]
ROWS = 3000


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of some tens of rows, pieces of some hundreds."""
    monkeypatch.setattr(encoding, "BLOCK_BYTES", 1 << 12)
    monkeypatch.setattr(encoding, "PIECE_BYTES", 1 << 15)


def rows() -> np.ndarray:
    """3,000 samples of the six inputs of the model."""
    return np.random.default_rng(1).uniform(0.1, 0.9, (ROWS, 6))


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("ending", ["npy", "npz", "csv", "parquet"])
def test_many_pieces_have_the_bits_of_one_call(run: Run, model: str, folder: Path, ending: str) -> None:
    """In each format; the report has the figures of all of them."""
    np.save("new.npy", rows())
    result = sparsae.load(model)
    for word, column, expected in (
        ("encode", "hidden", result.encode(rows())),
        ("reconstruct", "output", result.reconstruct(rows())),
    ):
        ended = run(word, model, "new.npy", "-o", f"{word}.{ending}")
        assert ended.code == 0, ended.err
        if ending == "csv":
            found = np.loadtxt(f"{word}.csv", delimiter=",", skiprows=1)
        elif ending == "parquet":
            table = pytest.importorskip("pyarrow.parquet").read_table(f"{word}.parquet")
            assert table.column_names == [f"{column}{number}" for number in range(expected.shape[1])]
            found = np.stack([table[name].to_numpy() for name in table.column_names], axis=1)
        else:
            found = np.load(f"{word}.{ending}")
            found = found[column] if ending == "npz" else found
        np.testing.assert_array_equal(found, expected)
        assert f"{expected.mean():.4g}"[:4] in ended.out
    assert f"{np.square(expected - rows()).mean():.4g}"[:4] in ended.out


@pytest.mark.usefixtures("pieces")
def test_a_transform_is_applied_and_undone_in_each_piece(run: Run, folder: Path) -> None:
    """Rows that stay in a Parquet file, of which columns are chosen and rows left out."""
    import pyarrow as pa
    import pyarrow.parquet

    X = rows()
    X[1234, 2] = np.nan
    names = [f"x{j}" for j in range(6)]
    table = pa.table([*X.T.copy(), pa.array(["a"] * ROWS)], names=[*names, "label"])
    pyarrow.parquet.write_table(table, "x.parquet", row_group_size=700)
    choice = ("--select", "!label", "--drop-missing")
    fit = ("--hidden", 3, "--max-iter", 2, "--transform", "standardise", "--output", "linear", "--quiet")
    assert run("train", "x.parquet", *choice, *fit, "-o", "m.npz").code == 0
    ended = run("reconstruct", "m.npz", "x.parquet", *choice, "-o", "r.npy")
    assert ended.code == 0, ended.err
    assert "x.parquet: 1 of 3,000 rows was left out for missing values: 1 in column 3 (x2)." in ended.err
    assert "the transform is undone" in ended.err
    whole = np.delete(X, 1234, axis=0)
    np.testing.assert_allclose(np.load("r.npy"), sparsae.load("m.npz").reconstruct(whole), rtol=1e-12)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("name", ["wide.npy", "wide.zarr", "wide.csv"])
def test_samples_as_columns_are_turned(run: Run, folder: Path, name: str) -> None:
    """By --transpose, in training and afterwards: the numbers of the matrix with samples as rows."""
    import zarr

    X = rows()[:300]
    if name.endswith("npy"):
        np.save(name, X.T)
    elif name.endswith("zarr"):
        zarr.create_array(name, shape=X.T.shape, dtype=X.dtype, chunks=(6, 50))[:] = X.T
    else:
        np.savetxt(name, X.T, delimiter=",", fmt="%.17g")
    np.save("tall.npy", X)
    fit = ("--hidden", 3, "--max-iter", 2, "--quiet")
    assert run("train", name, "--transpose", *fit, "-o", "turned.npz").code == 0
    assert run("train", "tall.npy", *fit, "-o", "m.npz").code == 0
    assert run("encode", "turned.npz", name, "--transpose", "-o", "turned.npy").code == 0
    assert run("encode", "m.npz", "tall.npy", "-o", "codes.npy").code == 0
    np.testing.assert_array_equal(np.load("turned.npy"), np.load("codes.npy"))


@pytest.mark.usefixtures("pieces")
def test_what_is_found_in_a_late_piece_leaves_no_file(run: Run, model: str, folder: Path) -> None:
    """The row is that of the file; an old file stays as it was."""
    bad = rows()
    bad[2900, 4] = np.nan
    np.save("bad.npy", bad)
    (folder / "codes.npy").write_bytes(b"old")
    ended = run("encode", model, "bad.npy", "-o", "codes.npy", "--force")
    assert (ended.code, ended.out) == (2, "")
    assert "1 value that is not finite; the first is nan in row 2900, column 4 (counted from 0)." in ended.err
    assert "leave their rows out: --drop-missing" in ended.err
    assert (folder / "codes.npy").read_bytes() == b"old"
    assert sorted(path.name for path in folder.iterdir()) == ["bad.npy", "codes.npy", "m.npz", "x.npy"]


@pytest.mark.parametrize("ending", ["npy", "npz"])
def test_memory_does_not_grow_with_the_rows(model: str, folder: Path, ending: str, monkeypatch) -> None:
    """26 MB of activations for 2 MB of samples: less than a quarter of that is held."""
    monkeypatch.setattr(encoding, "PIECE_BYTES", 1 << 20)
    monkeypatch.setattr(encoding, "BLOCK_BYTES", 1 << 18)
    np.save("many.npy", np.random.default_rng(0).random((40_000, 6)))
    wide = sparsae.Parameters.random(6, 80)
    result = sparsae.load(model)
    object.__setattr__(result, "parameters", wide)
    made = ModelOutput(result, load("many.npy", stay=True).X, reconstruct=False)
    write = matrix_writer(Path(f"codes.{ending}"))

    class Counted(io.RawIOBase):
        """Takes bytes and keeps none."""

        size = 0

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            n = memoryview(data).nbytes  # type: ignore[arg-type]
            Counted.size += n
            return n

    tracemalloc.start()
    write(Counted(), made.pieces(), made.shape, made.dtype, "hidden")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert Counted.size > 25_600_000
    assert peak < 25_600_000 / 4
