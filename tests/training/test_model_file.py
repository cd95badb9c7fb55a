"""Model files: whole or not there, and readable without pickle or backend."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import sparsae
from sparsae.errors import FileAccessError, FileFormatError, FileMissingError, OutputExistsError, ParameterError
from sparsae.files import atomic_write, check_writable


@pytest.fixture(scope="module")
def result():
    """A short fit, with a transform that holds arrays."""
    X = np.random.default_rng(0).uniform(0.1, 0.9, (40, 6))
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sparsae.train(X, 3, max_iter=5, transform=["zca", "scale"])


def as_bytes(header):
    """A header as the file holds it."""
    return np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)


def test_everything_comes_back(result, tmp_path):
    """Parameters and history bit for bit; settings, status, receipt, transform as they were."""
    sparsae.save(tmp_path / "m.npz", result)
    again = sparsae.load(tmp_path / "m.npz")
    for a, b in zip(result.parameters, again.parameters, strict=True):
        np.testing.assert_array_equal(a, b)
    for name, column in vars(result.history).items():
        np.testing.assert_array_equal(column, getattr(again.history, name))
    assert (again.cost, again.status, again.receipt) == (result.cost, result.status, result.receipt)
    assert again.settings == json.loads(json.dumps(dict(result.settings)))
    (zca, scale), (before, _) = again.transform.steps, result.transform.steps
    np.testing.assert_array_equal(zca.matrix, before.matrix)
    np.testing.assert_array_equal(zca.mean, before.mean)
    assert scale == result.transform.steps[1]


def test_models_load_without_any_backend(result, tmp_path):
    """No plugin is looked for when a model is loaded and used."""
    sparsae.save(tmp_path / "m.npz", result)
    code = (
        "import sys, sparsae, numpy as np; m = sparsae.load(sys.argv[1]);"
        "sparsae.encode(m.parameters, np.zeros((2, 6)));"
        "assert not [n for n in sys.modules if 'sparsae_backends' in n or n == 'pluggy'], sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "m.npz"], check=True)


def test_missing_truncated_foreign_and_newer_files_are_refused(result, tmp_path):
    """Each by its own message, none by a traceback from inside."""
    path = tmp_path / "m.npz"
    with pytest.raises(FileMissingError, match=r"There is no model file .*m.npz"):
        sparsae.load(path)
    sparsae.save(path, result)
    whole = path.read_bytes()
    for cut in (0, 10, len(whole) // 2, len(whole) - 30):
        path.write_bytes(whole[:cut])
        with pytest.raises(FileFormatError, match=r"m.npz is truncated or damaged, or is not a model file"):
            sparsae.load(path)
    np.savez(path, X=np.zeros(3))
    with pytest.raises(FileFormatError, match="is not a model file of sparsae"):
        sparsae.load(path)
    np.savez(path, header=as_bytes({"format": "other"}))
    with pytest.raises(FileFormatError, match="is not a model file of sparsae"):
        sparsae.load(path)
    np.savez(path, header=as_bytes({"format": "sparsae checkpoint"}))
    with pytest.raises(FileFormatError, match="is not a model file of sparsae; it is a sparsae checkpoint"):
        sparsae.load(path)
    np.savez(path, header=as_bytes({"format": "sparsae model", "version": 99}))
    with pytest.raises(FileFormatError, match="format version 99 and this sparsae reads up to 1; upgrade"):
        sparsae.load(path)
    np.save(tmp_path / "m.npy", np.zeros(3))
    with pytest.raises(FileFormatError, match="not a model file"):
        sparsae.load(tmp_path / "m.npy")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    """An exception in the middle, a full disk: the old content stays, no temporary file is left."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"old")

    def full(file):
        file.write(b"half of the new")
        raise OSError(28, "No space left on device")

    with pytest.raises(FileAccessError, match=r"Cannot write .*x.bin: No space left on device"):
        atomic_write(path, full)

    def fails(file):
        file.write(b"half")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        atomic_write(path, fails)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["x.bin"]


def test_files_get_ordinary_permissions(tmp_path):
    """As open() would give them, not the private ones of a temporary file; an existing file keeps its own."""
    atomic_write(tmp_path / "new", lambda file: file.write(b"1"))
    (tmp_path / "plain").write_bytes(b"")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "new").chmod(0o640)
    atomic_write(tmp_path / "new", lambda file: file.write(b"2"))
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640


def test_outputs_are_checked_before_the_work(tmp_path):
    """Existing, no such folder, a folder itself; and the check leaves nothing behind."""
    with pytest.raises(OutputExistsError, match=r"exists and would be overwritten; use another name, or --force"):
        check_writable(__file__)
    assert check_writable(__file__, force=True) == Path(__file__)
    with pytest.raises(FileAccessError, match=r"Cannot write .*/none/x: No such file or directory"):
        check_writable(tmp_path / "none" / "x")
    with pytest.raises(FileAccessError, match="is a folder; give the name of a file in it"):
        check_writable(tmp_path)
    check_writable(tmp_path / "x")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
def test_the_largest_seed_and_the_longest_fit_can_be_read_again(tmp_path):
    """What is larger is refused before the fit, since no file could give it back."""
    X = np.random.default_rng(0).uniform(0.1, 0.9, (20, 4))
    options = {"max_iter": 1, "seed": 2**512 - 1, "checkpoint": tmp_path / "run"}
    fit = sparsae.train(X, 2, **options)
    sparsae.save(tmp_path / "m.npz", fit)
    assert sparsae.load(tmp_path / "m.npz").receipt.seed == 2**512 - 1
    assert sparsae.train(X, 2, resume=True, **options).receipt.seed == 2**512 - 1
    with pytest.raises(ParameterError, match=r"^seed must be an integer below 2\*\*512; given one of 513 bits\.$"):
        sparsae.train(X, 2, seed=2**512)
    with pytest.raises(ParameterError, match=r"^max_iter must be an integer below 2\*\*53; given one of 54 bits\.$"):
        sparsae.train(X, 2, max_iter=2**53)
