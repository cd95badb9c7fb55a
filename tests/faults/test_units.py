"""Hidden units that cannot be: each line of bad input says what was given, what is possible, and what to do."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import sparsae
from sparsae.cli import main
from sparsae.optimize import Adam

pytestmark = pytest.mark.filterwarnings("ignore::sparsae.ConvergenceWarning")
X = np.random.default_rng(0).normal(size=(50, 8))
START = sparsae.Parameters.random(8, 10, init="transpose")
NAN = np.array([0.1] * 9 + [np.nan])
OF_TOPK = "activation, aux, dead_after, init, k, k_aux, output, pre_bias, unit_norm, weight_decay"


def zero_column() -> sparsae.Parameters:
    W2 = START.W2.copy()
    W2[:, 3] = 0
    return START._replace(W2=W2)


BAD: list[tuple[dict[str, Any], str]] = [
    *(({"activation": unit, "k": 0}, "k must be an integer of at least 1, not 0.") for unit in ("topk", "batchtopk")),
    ({"activation": "topk", "k": -1}, "k must be an integer of at least 1, not -1."),
    ({"activation": "topk", "k": 11}, "k=11 exceeds n_hidden=10: no row has so many activations."),
    ({"activation": "topk", "k": 2.5}, "k must be an integer of at least 1, not 2.5."),
    ({"activation": "topk", "k": True}, "k must be an integer of at least 1, not True."),
    ({"activation": "topk"}, "activation='topk' needs k, the number of activations kept in a row."),
    (
        {"activation": "topk", "k": 3, "rho": 0.1},
        f"rho does not belong to activation='topk'; its keywords are {OF_TOPK}.",
    ),
    ({"activation": "relu", "k": 3}, "k does not belong to activation='relu'; its keywords are activation, init, l1, "),
    ({"activation": "relu", "l1": -1}, "l1 must be at least 0; given -1."),
    ({"activation": "relu", "l1": np.nan}, "l1 must be finite; given nan."),
    ({"activation": "jumprelu", "l0": -1}, "l0 must be at least 0; given -1."),
    ({"activation": "jumprelu", "bandwidth": 0}, "bandwidth must be above 0; given 0.0."),
    (
        {"activation": "relu", "unit_norm": True, "method": "lbfgs"},
        "unit_norm=True cannot be used with lbfgs: it steps along straight lines, which columns of fixed length leave.",
    ),
    (
        {"activation": "topk", "k": 3, "initial": zero_column()},
        "unit_norm: 1 column of W2 without direction, all zeros; give other starting weights, or unit_norm=False.",
    ),
    (
        {"activation": "jumprelu", "initial": START._replace(threshold=NAN)},
        "threshold contains 1 value that is not finite.",
    ),
]


@pytest.mark.parametrize(
    ("options", "message"), BAD, ids=lambda value: None if isinstance(value, str) else str([*value])
)
def test_options_of_a_fit(options: dict[str, Any], message: str) -> None:
    """In Python."""
    with pytest.raises(sparsae.ParameterError) as caught:
        sparsae.train(X, 10, max_iter=1, backend="numpy", **options)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("parameters", "options", "message"),
    [
        (START, {"activation": "topk", "k": 0}, "activation='topk' needs k from 1 to n_hidden=10; given 0."),
        (START, {"activation": "topk"}, "activation='topk' needs k from 1 to n_hidden=10; given None."),
        (
            START,
            {"activation": "relu", "k": 3},
            "k does not belong to activation='relu'; it is for topk and batchtopk.",
        ),
        (START, {"activation": "jumprelu"}, "activation='jumprelu' needs a threshold; give parameters that have one."),
        (
            START,
            {"activation": "batchtopk"},
            "activation='batchtopk' needs a threshold; training finds it: encode with",
        ),
        (
            START._replace(threshold=np.zeros(10)),
            {"activation": "topk", "k": 3},
            "activation='topk' has no threshold, and the parameters have one: give activation='jumprelu' or",
        ),
        (START._replace(threshold=NAN), {"activation": "jumprelu"}, "threshold contains 1 value that is not finite."),
    ],
)
def test_options_of_encode(parameters: sparsae.Parameters, options: dict[str, Any], message: str) -> None:
    """The same rules."""
    with pytest.raises(sparsae.ParameterError) as caught:
        sparsae.encode(parameters, X, **options)
    assert message in str(caught.value)


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Run the command, which must fail with exit code 2 and one line; return it."""
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", X)

    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main([*words])
        out, err = capsys.readouterr()
        assert (ended.value.code, out, len(err.splitlines())) == (2, "", 1), err
        return err

    return run


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("topk --k 0", "k must be an integer of at least 1, not 0."),
        ("topk --k 11", "--k 11 exceeds --hidden 10: no row has so many activations."),
        ("topk --k 2.5", "Invalid value for '--k': '2.5' is not a valid integer."),
        ("topk", "--activation 'topk' needs --k, the number of activations kept in a row."),
        (
            "topk --k 3 --rho 0.1",
            "--rho does not belong to --activation 'topk'; its keywords are --activation, --aux, ",
        ),
        ("relu --l1 -1", "l1 must be at least 0; given -1.0."),
        ("relu --unit-norm --method lbfgs", "--unit-norm cannot be used with lbfgs"),
        ("tanh", "Invalid value for '--activation': 'tanh' is not one of 'sigmoid', 'relu', 'topk'"),
    ],
)
def test_options_of_the_command(refused: Callable[..., str], words: str, message: str) -> None:
    """In its own words, before anything is written."""
    said = refused("train", "x.npy", "--hidden", "10", "-o", "m.npz", "--max-iter", "1", "--activation", *words.split())
    assert message in said
    assert not Path("m.npz").exists()


def test_a_pickle_is_refused_at_the_command(refused: Callable[..., str]) -> None:
    """With the way to convert it."""
    Path("ae").mkdir()
    Path("ae/ae.pt").write_bytes(pickle.dumps({"weight": [1.0]}))
    Path("ae/config.json").write_text(json.dumps({"trainer": {"dict_class": "AutoEncoder"}}))
    said = refused("import", "ae", "-o", "i.npz")
    assert "would run code when it is read: refused" in said or "is a pickle, which can run code" in said
    assert "Where you trust it, convert it: load it with torch.load(path, weights_only=False) and write" in said


def test_half_precision_is_converted_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At the command and in the receipt of the model, which computes in float32."""
    safetensors = pytest.importorskip("safetensors.numpy")
    result = sparsae.train(X, 10, activation="topk", k=3, max_iter=1)
    sparsae.data.exchange.export_model(result, tmp_path / "sae", format="saelens")
    path = tmp_path / "sae" / "sae_weights.safetensors"
    halves = {name: array.astype(np.float16) for name, array in safetensors.load_file(path).items()}
    safetensors.save_file(halves, path)
    with pytest.raises(SystemExit) as ended:
        main(["import", str(tmp_path / "sae"), "-o", str(tmp_path / "i.npz")])
    said = "float16 weights of sae_weights.safetensors were converted to float32."
    assert (ended.value.code or 0, said in "".join(capsys.readouterr())) == (0, True)
    assert said in sparsae.load(tmp_path / "i.npz").receipt.notes


@pytest.mark.parametrize("rows", [1, 2, 50])
@pytest.mark.parametrize("unit", ["relu", "topk", "batchtopk", "jumprelu"])
def test_fewer_rows_than_a_mini_batch(unit: str, rows: int) -> None:
    """All of them make one, and the receipt says so; with one row, scales of the data are given."""
    given: dict[str, Any] = {"relu": {"l1": 0.1}, "jumprelu": {"l0": 0.1, "bandwidth": 0.1}}.get(unit, {"k": 3})
    result = sparsae.train(
        X[:rows], 10, activation=unit, method=Adam(batch_rows=4096), max_iter=2, backend="numpy", init="uniform",
        pre_bias=False, **given,
    )  # fmt: skip
    words = "1 row" if rows == 1 else f"{rows} rows"
    note = f"Mini-batches of {words}, all there are for batch_rows=4096, ran in 1 block on 1 row worker."
    assert note in result.receipt.notes
    assert np.isfinite(result.history.cost).all()
