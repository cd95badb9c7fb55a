"""Files of every format are opened by the workers themselves, with the bits of rows in memory here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import sparsae
from sparsae.cli import main
from sparsae.data import load
from sparsae.errors import DataError, FileMissingError

X = np.random.default_rng(0).random((3000, 6)) * 0.8 + 0.1
OPTIONS = {"backend": "numpy", "block_rows": 200}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder, with the same rows in each format; the workers were started in another one."""
    zarr, pa = pytest.importorskip("zarr"), pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)
    Path("parts").mkdir()
    np.save("parts/x-1.npy", X[:1300])
    np.save("parts/x-2.npy", X[1300:])
    zarr.create_array("x.zarr", shape=X.shape, dtype=X.dtype, chunks=(170, 6))[:] = X
    parquet.write_table(pa.table({name: X[:, i] for i, name in enumerate("abcdef")}), "x.parquet", row_group_size=700)
    return tmp_path


def evaluate(data, **options):
    with sparsae.Objective(data, 4, **OPTIONS, **options) as objective:
        found = objective.evaluate(sparsae.Parameters.random(objective.n_visible, 4, seed=1).flatten())
        return [found.cost, *found.gradient]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("source", ["x.npy", "parts", "x.zarr", "x.parquet"])
@pytest.mark.parametrize("options", [{}, {"columns": [4, 0, 1]}, {"transform": "standardise"}], ids=str)
def test_workers_open_files_for_themselves(client, source, options):
    """Cost and gradient have the bits of the rows in memory; columns and transforms come along."""
    output = {"output": "linear"} if "transform" in options else {}
    here = evaluate(load(source, **options).X, passes=1, **output)
    assert evaluate(load(source, stay=True, **options).X, cluster=client, **output) == here


@pytest.mark.usefixtures("folder")
def test_mini_batches_and_a_target_come_from_files_too(client):
    """Adam on a Zarr store, with another file as target."""
    np.save("y.npy", X[::-1])
    options = OPTIONS | {"method": sparsae.optimize.Adam(batch_rows=512), "max_iter": 1}
    with pytest.warns(sparsae.ConvergenceWarning):
        here = sparsae.train(X, 4, target=X[::-1].copy(), passes=1, **options)
    files = [load(name, stay=True).X for name in ("x.zarr", "y.npy")]
    with pytest.warns(sparsae.ConvergenceWarning):
        there = sparsae.train(files[0], 4, target=files[1], cluster=client, **options)
    assert np.array_equal(here.parameters.flatten(), there.parameters.flatten())


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("source", ["x.npy", "x.zarr", "parts"])
def test_a_file_that_only_the_client_can_see(client, source):
    """A worker that cannot open it says which file, on which host, and what to do."""
    rows = load(source, stay=True).X
    Path(source).rename("elsewhere")
    with pytest.raises(FileMissingError, match=rf"{source}.* That is so on .*same path\. Put it on storage that they"):
        evaluate(rows, cluster=client)


@pytest.mark.usefixtures("folder")
def test_another_file_under_the_same_path_is_refused(client):
    """What a worker finds must have the shape of what the client has opened."""
    rows = load("x.parquet", stay=True).X
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({name: X[:10, i] for i, name in enumerate("abcdef")}), "x.parquet")
    with pytest.raises(DataError, match=r"x\.parquet is another file on .*\(10, 6\).*\(3000, 6\)"):
        evaluate(rows, cluster=client)


@pytest.mark.usefixtures("folder")
def test_a_file_and_an_array_are_not_mixed(client):
    """The error says what to give."""
    with pytest.raises(DataError, match=r"x\.zarr stays in its file.*give both as files, or both as arrays"):
        evaluate(load("x.zarr", stay=True).X, target=X, cluster=client)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(("sent", "opened"), [(1 << 26, False), (0, True)])
def test_the_command_sends_small_data_and_has_workers_open_the_rest(client, monkeypatch, sent, opened):
    """With --cluster a file above the size stays in place: where it has vanished the workers say so."""
    monkeypatch.setattr("sparsae.cli.options.SENT_BYTES", sent)
    given = []

    def train(X, n_hidden, **options):
        given.append(X)
        raise DataError("enough")

    monkeypatch.setattr("sparsae.training.train.train", train)
    for source in ("x.npy", "x.zarr"):
        with pytest.raises(SystemExit):
            main(["train", source, "--cluster", client.scheduler.address])
    assert [isinstance(X, np.ndarray) for X in given] == [not opened, not opened]
    assert all(X.opens_elsewhere for X in given if opened)
