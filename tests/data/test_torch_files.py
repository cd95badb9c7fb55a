"""torch's .pt: tensors are read without the numbers of others, and nothing in the file runs."""

import os
import pickle
import sys
import warnings

import numpy as np
import pytest

from sparsae import DataError
from sparsae.data import load
from sparsae.data.readers import limits
from sparsae.errors import FileFormatError, MissingExtraError

X = np.random.default_rng(0).random((200, 6)).astype(np.float32)


class Evil:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("pwned",)


@pytest.fixture
def torch():
    return pytest.importorskip("torch")


@pytest.mark.peers
def test_tensors_give_the_rows_of_their_array(torch, tmp_path, monkeypatch):
    """Float, half and integer; transposed, a slice of rows, a slice of columns; old files; in and out of memory."""
    x = torch.from_numpy(X)
    half = x.to(torch.bfloat16)
    tensors = {
        "plain": (x, X),
        "transposed": (torch.from_numpy(X.T.copy()).T, X),
        "rows": (x[20:90], X[20:90]),
        "columns": (x[:, ::2], X[:, ::2]),
        "parameter": (torch.nn.Parameter(x), X),
        "half": (x.half(), X.astype(np.float16)),
        "bfloat16": (half, half.float().numpy()),
        "int8": ((x * 100).to(torch.int8), (X * 100).astype(np.int8)),
        "bool": (x > 0.5, X > 0.5),
    }
    for name, (tensor, expected) in tensors.items():
        path = tmp_path / f"{name}.pt"
        for new in (True, False):
            torch.save(tensor, path, _use_new_zipfile_serialization=new)
            data = load(path)
            np.testing.assert_array_equal(data.X, expected)
            assert data.X.dtype == expected.dtype
        torch.save({"layer": {"acts": tensor}, "step": 5, "names": ["a"]}, path)
        np.testing.assert_array_equal(load(f"{path}::layer/acts").X, expected)
        if name == "columns":
            continue
        monkeypatch.setattr(limits, "memory_limit", lambda size=expected.nbytes: 2 * size - 2)
        rows = load(path).X
        assert type(rows).__name__ == "BinaryFile"
        np.testing.assert_array_equal(rows[10:60], expected[10:60])
        monkeypatch.undo()


@pytest.mark.peers
def test_the_tensors_of_a_file_are_listed(torch, tmp_path):
    """Where several fit or none does."""
    x = torch.from_numpy(X)
    torch.save({"a": x, "b": [x, x.to_sparse()], "c": x.to(torch.complex64)}, tmp_path / "x.pt")
    with pytest.raises(
        DataError, match=r"2 matrices; name one as .*x.pt::NAME. It has a \(200x6 float32\), b/0 \(200x6 f"
    ):
        load(tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"b/1 \(200x6 float32, sparse_coo\) is not an array of real numbers"):
        load(f"{tmp_path}/x.pt::b/1")
    torch.save([1, "a"], tmp_path / "x.pt")
    with pytest.raises(DataError, match=r"has no matrix of numbers; name one as .* It has no arrays"):
        load(tmp_path / "x.pt")


@pytest.mark.peers
def test_a_file_that_wants_to_run_code_is_refused_with_the_way_out(torch, tmp_path, monkeypatch):
    """A new file, an old one, a bare pickle: nothing runs."""
    monkeypatch.chdir(tmp_path)
    for new in (True, False):
        torch.save({"x": torch.from_numpy(X), "evil": Evil()}, "x.pt", _use_new_zipfile_serialization=new)
        message = r"x.pt holds objects beside tensors \(posix.mkdir\), .* can run code\. Save the tensor alone, .*torch"
        with pytest.raises(FileFormatError, match=message):
            load("x.pt")
    for protocol in (2, 4, 5):
        (tmp_path / "x.pt").write_bytes(pickle.dumps(Evil(), protocol))
        with pytest.raises(FileFormatError, match=r"x.pt is a pickle, which can run code when it is read"):
            load("x.pt")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.peers
def test_a_damaged_torch_file_is_refused(torch, tmp_path):
    """Cut, or with bytes changed; and while it is read."""
    path = tmp_path / "x.pt"
    torch.save(torch.from_numpy(X), path)
    whole = path.read_bytes()
    for content in (whole[:1000], whole[: len(whole) // 2], whole[:200] + bytes(100) + whole[300:]):
        path.write_bytes(content)
        with pytest.raises(FileFormatError, match=r"x\.pt"):
            load(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        path.write_bytes(whole)
        load(path)


def test_without_torch_a_file_says_what_to_install(tmp_path, monkeypatch):
    """The library and the extra; a zip archive of NumPy is none of torch."""
    monkeypatch.setitem(sys.modules, "torch", None)
    name = b"x/data.pkl"
    (tmp_path / "x.pt").write_bytes(b"PK\x03\x04".ljust(26, b"\0") + bytes([len(name), 0, 0, 0]) + name + bytes(50))
    with pytest.raises(MissingExtraError, match=r"x.pt is a torch file, which needs torch; .*\[torch\]'"):
        load(tmp_path / "x.pt")
    np.savez(tmp_path / "x.npz", X=X)
    np.testing.assert_array_equal(load(tmp_path / "x.npz").X, X)
