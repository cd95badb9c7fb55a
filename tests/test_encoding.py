"""`encode` and `decode`: formulas of every unit, settings, blocks, threads, messages."""

from __future__ import annotations

import numpy as np
import pytest

import sparsae
from sparsae import DataError, ParameterError, Parameters, encoding

RNG = np.random.default_rng(3)
X = RNG.normal(size=(300, 5))
MADE = Parameters(RNG.normal(size=(7, 5)), RNG.normal(size=7), RNG.normal(size=(5, 7)), RNG.normal(size=5))


def test_encode_and_decode_are_the_formulas():
    """Against the formulas in plain NumPy, both output units, both dtypes."""
    made = Parameters.random(4, 2, seed=1)
    X = np.random.default_rng(0).random((5, 4))
    a2 = 1 / (1 + np.exp(-(X @ made.W1.T + made.b1)))
    np.testing.assert_allclose(sparsae.encode(made, X), a2, rtol=1e-14)
    z3 = a2 @ made.W2.T + made.b2
    np.testing.assert_allclose(sparsae.decode(made, a2), 1 / (1 + np.exp(-z3)), rtol=1e-14)
    np.testing.assert_allclose(sparsae.decode(made, a2, output="linear"), z3, rtol=1e-14)
    assert sparsae.encode(made, X.astype(np.float32)).dtype == np.float32
    assert sparsae.encode(made, [[0, 1, 0, 1]]).dtype == np.float64


def test_encode_and_decode_name_what_is_wrong():
    """Shapes, dtypes and output units that do not fit give one clear error each."""
    made = Parameters.random(4, 2, seed=1)
    with pytest.raises(DataError, match=r"X has shape \(5, 3\); expected \(n_samples, 4\): n_visible is 4"):
        sparsae.encode(made, np.zeros((5, 3)))
    with pytest.raises(DataError, match=r"A .*shape \(4,\)"):
        sparsae.decode(made, np.zeros(4))
    with pytest.raises(DataError, match="X has dtype object"):
        sparsae.encode(made, np.zeros((5, 4), dtype=object))
    with pytest.raises(DataError, match="X contains 1 value that is not finite"):
        sparsae.encode(made, [[0, 0, np.inf, 0]])
    with pytest.raises(ParameterError, match="output must be one of sigmoid, linear; given 'relu'"):
        sparsae.decode(made, np.zeros((1, 2)), output="relu")


def test_every_unit_and_the_pre_bias_are_the_formulas():
    """Batch top-k compares with a threshold at inference; without a keyword, a pre-bias follows the activation."""
    z = (X - MADE.b2) @ MADE.W1.T + MADE.b1
    with_threshold = MADE._replace(threshold=np.linspace(0, 1, 7))
    kth = np.sort(z, axis=1)[:, -3, None]
    expected = {
        "relu": np.maximum(z, 0),
        "topk": np.where(z >= kth, np.maximum(z, 0), 0),
        "jumprelu": np.where(z > with_threshold.threshold, z, 0),
        "batchtopk": np.where(z > with_threshold.threshold, z, 0),
    }
    for activation, a2 in expected.items():
        made = with_threshold if activation in ("jumprelu", "batchtopk") else MADE
        k = 3 if activation == "topk" else None
        found = sparsae.encode(made, X, activation=activation, k=k)
        np.testing.assert_allclose(found, a2, rtol=1e-12, atol=1e-13, err_msg=activation)
        again = sparsae.encode(made, X, activation=activation, k=k, pre_bias=True)
        np.testing.assert_array_equal(found, again)
        assert np.abs(sparsae.encode(made, X, activation=activation, k=k, pre_bias=False) - a2).max() > 0.1


@pytest.mark.filterwarnings("ignore::sparsae.errors.ThreadsWarning")
def test_threads_and_the_container_change_no_bit(monkeypatch, tmp_path):
    """Blocks are cut by shape alone; a memory map is read and written block by block."""
    monkeypatch.setattr(encoding, "BLOCK_BYTES", 2048)
    monkeypatch.setattr(encoding, "ALONE", 0)
    np.save(tmp_path / "x.npy", X)
    one = sparsae.encode(MADE, X, activation="topk", k=2, threads=1)
    into = np.lib.format.open_memmap(tmp_path / "out.npy", mode="w+", dtype=np.float64, shape=(300, 7))
    for threads in (2, 3):
        for data in (X, np.load(tmp_path / "x.npy", mmap_mode="r"), np.asfortranarray(X)):
            found = sparsae.encode(MADE, data, activation="topk", k=2, threads=threads, out=into)
            assert found is into
            np.testing.assert_array_equal(found, one)
            found[...] = 0
    np.testing.assert_array_equal(
        sparsae.decode(MADE, one, output="linear", threads=1), sparsae.decode(MADE, one, output="linear", threads=3)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"activation": "rely"}, "activation must be one of sigmoid, .* given 'rely'"),
        ({"activation": "topk"}, "activation='topk' needs k from 1 to n_hidden=7; given None"),
        ({"activation": "topk", "k": 8}, "needs k from 1 to n_hidden=7; given 8"),
        ({"activation": "jumprelu"}, "activation='jumprelu' needs a threshold; give parameters that have one"),
        ({"activation": "batchtopk"}, "needs a threshold; training finds it"),
        ({"out": np.empty((300, 6))}, r"out must be a writeable array of float64 \(300, 7\); given float64 \(300, 6\)"),
        ({"out": [0]}, "out must be a writeable array .* given list"),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_named(options, message):
    """Before anything is computed."""
    with pytest.raises(ParameterError, match=message):
        sparsae.encode(MADE, X, **options)
