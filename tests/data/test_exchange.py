"""Models of other projects: the same functions there and here, the same bits there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from tests.support.exchange_models import (
    K,
    N,
    P,
    X,
    edit_config,
    edit_weights,
    make_model,
    saelens_forward,
    sparsify_forward,
)

import sparsae
from sparsae import ParameterError, TrainResult, transforms
from sparsae.data.exchange import export_model, import_model
from sparsae.errors import MissingExtraError, OutputExistsError

FORWARD = {"saelens": saelens_forward, "sparsify": sparsify_forward}
WRITTEN = [
    ("saelens", "relu"),
    ("saelens", "topk"),
    ("saelens", "jumprelu"),
    ("saelens", "batchtopk"),
    ("sparsify", "topk"),
]


def parts(result: TrainResult) -> list[bytes]:
    """The bits of the parameters."""
    return [np.ascontiguousarray(part).tobytes() for part in result.parameters]


@pytest.mark.parametrize(("format_name", "activation"), WRITTEN)
@pytest.mark.parametrize("pre_bias", [True, False])
def test_their_forward_pass_gives_our_numbers(
    tmp_path: Path, format_name: str, activation: Any, *, pre_bias: bool
) -> None:
    """Activations and reconstruction, before export and after import; names, shapes and fields are theirs."""
    result = make_model(activation, pre_bias=pre_bias)
    notes = export_model(result, tmp_path, format=format_name)
    a, out = FORWARD[format_name](tmp_path, X)
    tolerance = 1e-12 if format_name == "saelens" or pre_bias else 1e-5
    for model in (result, import_model(tmp_path)):
        np.testing.assert_allclose(model.encode(X), a, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(model.reconstruct(X), out, rtol=tolerance, atol=tolerance)
    assert 0 < np.count_nonzero(a) < a.size
    if activation == "batchtopk":
        assert notes == ("Batch top-k is written as jumprelu with the constant threshold that it uses after training.",)
    elif format_name == "sparsify" and not pre_bias:
        assert notes[0] == "The format subtracts b2 from the input: b1 + W1 b2 was written for b1."
    else:
        assert notes == ()


@pytest.mark.parametrize(("format_name", "activation"), [*WRITTEN, ("npz", "relu"), ("npz", "jumprelu")])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_there_and_back_bit_for_bit(tmp_path: Path, format_name: str, activation: Any, dtype: Any) -> None:
    """The parameters, the settings, and the files when they are written again."""
    result = make_model(activation)
    assert not result.parameters.W1.flags.c_contiguous
    export_model(result, tmp_path / "a", format=format_name, dtype=dtype)
    again = import_model(tmp_path / "a")
    assert parts(again) == parts(result)
    wanted = "jumprelu" if activation == "batchtopk" else activation
    assert (again.settings["activation"], again.settings["k"]) == (wanted, K if activation == "topk" else None)
    assert again.settings["pre_bias"] is True
    export_model(again, tmp_path / "b", format=format_name, dtype=dtype)
    files = {path.name: path.read_bytes() for path in (tmp_path / "a").iterdir()}
    assert len(files) == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "b").iterdir()} == files


def test_an_imported_model_is_a_model(tmp_path: Path) -> None:
    """It is saved, loaded, evaluated and shown, says where it comes from, and starts a fit."""
    export_model(make_model("relu"), tmp_path / "a", format="saelens")
    result = import_model(tmp_path / "a", format="saelens")
    assert (result.status.reason, result.success) == ("imported", False)
    assert result.message == f"Imported from {tmp_path / 'a'} (SAELens); nothing was trained here."
    assert result.message in repr(result)
    assert result.data == {"source": str(tmp_path / "a")}
    sparsae.save(tmp_path / "m.npz", result)
    again = sparsae.load(tmp_path / "m.npz")
    assert parts(again) == parts(result)
    assert again.status == result.status
    assert np.isnan(again.cost)
    np.testing.assert_array_equal(again.encode(X), result.encode(X))
    found = sparsae.metrics.evaluate(again, X)
    assert found.l0 == pytest.approx((result.encode(X) > 0).sum(axis=1).mean())


@pytest.mark.parametrize("steps", ["standardise", "unit_rms", "scale", ["standardise", "zca"]], ids=str)
@pytest.mark.parametrize(
    ("format_name", "activation"), [("saelens", "relu"), ("saelens", "jumprelu"), ("sparsify", "topk")]
)
@pytest.mark.parametrize("pre_bias", [True, False])
def test_a_transform_is_folded_into_the_weights(
    tmp_path: Path, steps: Any, format_name: str, activation: Any, *, pre_bias: bool
) -> None:
    """Their forward pass takes raw data and gives raw data; the import has no transform and the same numbers."""
    result = make_model(activation, pre_bias=pre_bias, transform=transforms.fit(X, steps))
    notes = export_model(result, tmp_path, format=format_name, dtype=np.float64)
    assert notes[0].startswith("The transform ")
    a, out = FORWARD[format_name](tmp_path, X)
    np.testing.assert_allclose(a, result.encode(X), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(out, result.reconstruct(X), rtol=1e-9, atol=1e-9)
    again = import_model(tmp_path)
    assert again.transform is None
    np.testing.assert_allclose(again.reconstruct(X), out, rtol=1e-12, atol=1e-12)
    single = export_model(result, tmp_path, format=format_name, force=True)
    assert single[-1] == "Weights were rounded to float32."


def test_arrays_hold_everything(tmp_path: Path) -> None:
    """Sigmoid units and output, a transform that cannot be folded; NumPy reads the file alone."""
    result = make_model("sigmoid", output="sigmoid", pre_bias=False, transform=transforms.fit(X, ["centre", "zca"]))
    assert export_model(result, tmp_path, format="npz") == ()
    again = import_model(tmp_path)
    np.testing.assert_array_equal(again.encode(X), result.encode(X))
    np.testing.assert_array_equal(again.reconstruct(X), result.reconstruct(X))
    with np.load(tmp_path / "weights.npz") as file:
        np.testing.assert_array_equal(file["W1"], result.parameters.W1)
        assert file["transform.1.matrix"].shape == (N, N)
    assert json.loads((tmp_path / "cfg.json").read_text())["transform"][0]["name"] == "centre"


def test_the_fields_are_those_of_the_loaders(tmp_path: Path) -> None:
    """Names and types as the projects read them."""
    export_model(make_model("topk"), tmp_path / "a", format="saelens")
    config = json.loads((tmp_path / "a" / "cfg.json").read_text())
    assert {name: config[name] for name in config if name != "metadata"} == {
        "architecture": "topk",
        "d_in": N,
        "d_sae": P,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": True,
        "normalize_activations": "none",
        "reshape_activations": "none",
        "k": K,
        "rescale_acts_by_decoder_norm": False,
    }
    W = make_model("topk").parameters.W2
    unit = make_model("topk").parameters._replace(W2=W / np.linalg.norm(W, axis=0))
    for name, parameters, normal in (("b", make_model("topk").parameters, False), ("c", unit, True)):
        export_model(make_model("topk", parameters=parameters), tmp_path / name, format="sparsify")
        assert json.loads((tmp_path / name / "cfg.json").read_text()) == {
            "activation": "topk",
            "expansion_factor": 32,
            "normalize_decoder": normal,
            "num_latents": P,
            "k": K,
            "multi_topk": False,
            "skip_connection": False,
            "transcode": False,
            "d_in": N,
        }


@pytest.mark.parametrize(("kind", "dtype"), [("F16", np.float16), ("BF16", None)])
def test_half_precision_is_converted_and_said(tmp_path: Path, kind: str, dtype: Any) -> None:
    """Every value exactly; bfloat16 without a library that knows it."""
    export_model(make_model("relu"), tmp_path, format="saelens")
    path = tmp_path / "sae_weights.safetensors"
    arrays = {name: bytes(v["data"]) for name, v in safetensors.deserialize(path.read_bytes())}
    shapes = {"W_enc": [N, P], "b_enc": [P], "W_dec": [P, N], "b_dec": [N]}
    halves, exact = {}, {}
    for name, data in arrays.items():
        values = np.frombuffer(data, np.float32)
        if dtype is not None:
            half = values.astype(dtype)
            exact[name], raw = half.astype(np.float64), half.tobytes()
        else:
            bits = values.view(np.uint32) & 0xFFFF0000
            exact[name], raw = bits.view(np.float32).astype(np.float64), (bits >> 16).astype(np.uint16).tobytes()
        halves[name] = raw
    write_raw(path, kind, halves, shapes)
    result = import_model(tmp_path)
    np.testing.assert_array_equal(result.parameters.W1.T.ravel(), exact["W_enc"])
    np.testing.assert_array_equal(result.parameters.b2, exact["b_dec"])
    word = {"F16": "float16", "BF16": "bfloat16"}[kind]
    assert result.receipt.notes == (f"{word} weights of sae_weights.safetensors were converted to float32.",)


def write_raw(path: Path, kind: str, arrays: dict[str, bytes], shapes: dict[str, list[int]]) -> None:
    """A safetensors file, byte by byte: the length of the header, the header, the values."""
    header, at = {}, 0
    for name, data in arrays.items():
        header[name] = {"dtype": kind, "shape": shapes[name], "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(arrays.values()))


def test_what_saelens_does_otherwise_is_folded(tmp_path: Path) -> None:
    """Activations scaled by decoder norms, a relu before negative thresholds, top-k before version 6."""
    export_model(make_model("topk"), tmp_path / "a", format="saelens")
    edit_config(tmp_path / "a", rescale_acts_by_decoder_norm=True)
    result = import_model(tmp_path / "a")
    a, out = saelens_forward(tmp_path / "a", X)
    np.testing.assert_allclose(result.encode(X), a, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(result.reconstruct(X), out, rtol=1e-5, atol=1e-5)
    assert "rescale_acts_by_decoder_norm was folded" in result.receipt.notes[0]

    export_model(make_model("jumprelu"), tmp_path / "b", format="saelens")
    weights = tmp_path / "b" / "sae_weights.safetensors"
    edit_weights(weights, threshold=np.linspace(-1, 1, P).astype(np.float32))
    result = import_model(tmp_path / "b")
    np.testing.assert_allclose(result.encode(X), saelens_forward(tmp_path / "b", X)[0], rtol=1e-12, atol=1e-12)
    assert result.receipt.notes == ("6 negative thresholds were set to 0, which is what they mean behind a relu.",)

    export_model(make_model("topk"), tmp_path / "c", format="saelens")
    old = {"architecture": None, "k": None, "metadata": None, "activation_fn_str": "topk"}
    edit_config(tmp_path / "c", **old, activation_fn_kwargs={"k": K}, normalize_activations=False)
    assert (import_model(tmp_path / "c").settings["activation"], import_model(tmp_path / "c").settings["k"]) == (
        "topk",
        K,
    )


@pytest.mark.parametrize(
    ("format_name", "activation", "changes", "message"),
    [
        ("saelens", "sigmoid", {}, "SAELens has no sigmoid architecture; it has standard, topk, jumprelu. Export with"),
        ("saelens", "relu", {"output": "sigmoid"}, "SAELens has no sigmoid output, only a linear one"),
        (
            "sparsify",
            "relu",
            {},
            "sparsify has top-k units and a linear output alone; this model has relu units and line",
        ),
        ("sparsify", "topk", {"output": "sigmoid"}, "this model has topk units and sigmoid output"),
        (
            "saelens",
            "relu",
            {"transform": transforms.fit(X, "centre")},
            "no place for the transform centre .* cannot be",
        ),
        (
            "sparsify",
            "topk",
            {"transform": transforms.fit(X, "patches")},
            "sparsify has no place for the transform patc",
        ),
        ("onnx", "relu", {}, "format must be one of saelens, sparsify, npz; given 'onnx'"),
        (
            "dictionary_learning",
            "relu",
            {},
            "format must be one of saelens, sparsify, npz; given 'dictionary_learning'",
        ),
    ],
)
def test_what_a_format_has_no_place_for_is_refused(
    tmp_path: Path, format_name: str, activation: Any, changes: dict[str, Any], message: str
) -> None:
    """With the reason and the way out."""
    with pytest.raises(ParameterError, match=message):
        export_model(make_model(activation, **changes), tmp_path / "x", format=format_name)


def test_options_and_places_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dtype that is none, files that exist, a folder that cannot be, a library that is not there."""
    result = make_model("relu")
    for dtype in (np.int32, "nonsense"):
        with pytest.raises(ParameterError, match="dtype must be float32 or float64; given"):
            export_model(result, tmp_path, format="saelens", dtype=dtype)
    export_model(result, tmp_path, format="saelens")
    with pytest.raises(OutputExistsError, match=r"has sae_weights.safetensors and cfg.json already, .* or --force"):
        export_model(result, tmp_path, format="saelens")
    export_model(result, tmp_path, format="saelens", force=True)
    with pytest.raises(sparsae.errors.FileAccessError, match=r"cfg.json/x cannot be made"):
        export_model(result, tmp_path / "cfg.json" / "x", format="saelens")
    unfinished = make_model("batchtopk")
    bare = sparsae.Parameters(*tuple(unfinished.parameters)[:4])
    with pytest.raises(ParameterError, match="batch top-k model has no threshold yet"):
        export_model(make_model("batchtopk", parameters=bare), tmp_path / "y", format="saelens")
    monkeypatch.setitem(__import__("sys").modules, "safetensors", None)
    with pytest.raises(MissingExtraError, match=r"needs safetensors: pip install .*\[exchange\]'"):
        export_model(result, tmp_path / "z", format="saelens")
    with pytest.raises(MissingExtraError, match="needs safetensors"):
        import_model(tmp_path)
