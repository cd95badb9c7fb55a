"""Folders of other projects that are damaged, hostile, or hold what sparsae cannot compute: one clear line for each."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.exchange_models import P, edit_config, edit_weights, make_model

from sparsae import ParameterError
from sparsae.data.exchange import export_model, import_model
from sparsae.errors import FileAccessError, FileFormatError, FileMissingError, MissingExtraError
from sparsae.training.archive import read_archive, write_archive

Folder = Callable[[str, str], Path]


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Write a sound model, which is importable, and return its folder."""

    def write(format_name: str, activation: str) -> Path:
        export_model(make_model(activation), tmp_path / "sae", format=format_name)
        import_model(tmp_path / "sae")
        return tmp_path / "sae"

    return write


@pytest.mark.parametrize("format_name", ["saelens", "sparsify", "npz"])
def test_truncated_weights_are_refused(folder: Folder, format_name: str) -> None:
    """Cut anywhere, or with a byte too many."""
    path = folder(format_name, "topk")
    weights = next(file for file in path.iterdir() if file.suffix != ".json")
    whole = weights.read_bytes()
    for cut in (0, 4, 8, 20, len(whole) // 2, len(whole) - 1):
        weights.write_bytes(whole[:cut])
        with pytest.raises(
            FileFormatError, match=rf"{weights.name} is truncated or damaged|is empty|is not a"
        ) as caught:
            import_model(path)
        assert "\n" not in str(caught.value)
    if format_name != "npz":
        weights.write_bytes((1 << 40).to_bytes(8, "little") + whole[8:])
        with pytest.raises(FileFormatError, match="is truncated or damaged, or is no safetensors file"):
            import_model(path)


F4 = np.float32


@pytest.mark.parametrize(
    ("format_name", "activation", "changes", "message"),
    [
        (
            "saelens",
            "relu",
            {"W_gate": np.ones(3, F4)},
            "has W_gate, which it should not have; expected are W_dec, W_enc",
        ),
        ("saelens", "relu", {"threshold": np.ones(P, F4)}, "has threshold, which it should not have"),
        ("saelens", "jumprelu", {"threshold": None}, "lacks threshold; expected are"),
        ("saelens", "relu", {"W_enc": None, "encoder.weight": np.ones(3, F4)}, "lacks W_enc and has encoder.weight"),
        ("saelens", "relu", {"W_enc": np.ones((P, 5), F4)}, "d_in = 5 and the weights have 12"),
        ("saelens", "relu", {"W_enc": np.ones(5, F4)}, r"W_enc has shape \(5,\); expected \(d_in, d_sae\)"),
        ("saelens", "relu", {"W_dec": np.ones((5, P), F4)}, r"wrong shapes: W_dec \(5, 12\), not \(12, 5\)"),
        ("saelens", "relu", {"b_dec": np.ones((5, 1), F4)}, r"wrong shapes: b_dec \(5, 1\), not \(5,\)"),
        ("saelens", "relu", {"b_dec": np.ones(5, np.int64)}, "b_dec has dtype int64; weights are floats"),
        (
            "saelens",
            "relu",
            {"b_dec": np.ones(5, np.complex64)},
            "b_dec has dtype C64; weights are F64, F32, F16, BF16",
        ),
        ("saelens", "relu", {"b_dec": np.full(5, np.nan, F4)}, "b2 contains 5 values that are not finite"),
        ("saelens", "jumprelu", {"threshold": np.full(P, np.nan, F4)}, "threshold contains 12 values"),
        ("saelens", "relu", {"scaling_factor": np.full(P, 2, F4)}, "has a scaling_factor of its own"),
        ("sparsify", "topk", {"W_skip": np.ones((5, 5), F4)}, "has W_skip, which it should not have"),
        ("sparsify", "topk", {"W_dec": np.ones((5, P), F4)}, r"wrong shapes: W_dec \(5, 12\), not \(12, 5\)"),
        ("sparsify", "topk", {"encoder.weight": np.ones((5, P), F4)}, r"encoder.weight has shape \(5, 12\); d_in is 5"),
        ("sparsify", "topk", {"encoder.weight": np.ones(5, F4)}, r"encoder.weight has shape \(5,\); d_in is 5"),
    ],
)
def test_foreign_weights_are_refused(
    folder: Folder, format_name: str, activation: str, changes: dict[str, Any], message: str
) -> None:
    """Names, shapes, dtypes and values that are not those of the format."""
    path = folder(format_name, activation)
    edit_weights(next(path.glob("*.safetensors")), **changes)
    with pytest.raises(FileFormatError, match=message) as caught:
        import_model(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("format_name", "activation", "changes", "message"),
    [
        (
            "saelens",
            "relu",
            {"architecture": "gated"},
            "has the architecture 'gated'; known are standard, topk, jumprelu",
        ),
        ("saelens", "relu", {"activation_fn": "tanh-relu"}, "has the activation function 'tanh-relu'"),
        ("saelens", "relu", {"d_sae": 11}, "has d_sae = 11 and the weights have 12"),
        ("saelens", "relu", {"d_in": None}, "has d_in = None and the weights have 5"),
        ("saelens", "topk", {"k": None}, "has k = None; a topk model needs a positive integer"),
        ("saelens", "topk", {"k": 0}, "has k = 0; a topk model needs"),
        ("saelens", "topk", {"k": True}, "has k = True; a topk model needs"),
        ("saelens", "topk", {"k": 13}, "k = 13 exceeds its 12 hidden units"),
        (
            "saelens",
            "relu",
            {"normalize_activations": "layer_norm"},
            "normalize_activations 'layer_norm'; fold the scal",
        ),
        ("saelens", "relu", {"reshape_activations": "other"}, "has reshape_activations 'other'"),
        ("saelens", "relu", {"finetuning_scaling_factor": True}, "has a finetuning_scaling_factor"),
        ("sparsify", "topk", {"activation": "groupmax"}, "has the activation 'groupmax'; known is topk"),
        ("sparsify", "topk", {"skip_connection": True}, "has skip_connection, which sparsae does not have"),
        ("sparsify", "topk", {"transcode": True}, "has transcode, which sparsae does not have"),
        ("sparsify", "topk", {"k": "3"}, "has k = '3'; a topk model needs"),
        ("sparsify", "topk", {"k": 99}, "k = 99 exceeds its 12 hidden units"),
    ],
)
def test_foreign_configurations_are_refused(
    folder: Folder, format_name: str, activation: str, changes: dict[str, Any], message: str
) -> None:
    """What would make the model compute something else is never ignored."""
    path = folder(format_name, activation)
    edit_config(path, **changes)
    with pytest.raises(FileFormatError, match=message):
        import_model(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cfg.json is not JSON"),
        (b"[" * 10**5, "cfg.json is not JSON"),
        (b"\xff\xfe", "cfg.json is not JSON"),
        (b"[1]", "cfg.json holds list and not an object with fields"),
        (b" " * (2 << 20), "cfg.json has 2,097,152 bytes, which is no configuration"),
    ],
    ids=["cut", "nested without end", "no text", "a list", "huge"],
)
def test_a_configuration_that_is_none(folder: Folder, content: bytes, message: str) -> None:
    """One line that names the file."""
    path = folder("saelens", "relu")
    (path / "cfg.json").write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        import_model(path)


def test_folders_that_hold_no_model(folder: Folder, tmp_path: Path) -> None:
    """Nothing, two models, a file in place of the folder, a missing half, another format than is said."""
    with pytest.raises(FileMissingError, match=r"There is no folder .*none"):
        import_model(tmp_path / "none")
    with pytest.raises(FileFormatError, match=r"holds none of sae_weights.safetensors \(SAELens\), sae.safetensors"):
        import_model(tmp_path)
    path = folder("saelens", "topk")
    with pytest.raises(FileFormatError, match="is a file; give the folder that holds the weights and their config"):
        import_model(path / "sae_weights.safetensors")
    with pytest.raises(FileMissingError, match=r"There is no weights file .*sae.safetensors"):
        import_model(path, format="sparsify")
    with pytest.raises(
        ParameterError, match="format must be one of saelens, sparsify, npz, dictionary_learning; given"
    ):
        import_model(path, format="onnx")
    export_model(make_model("topk"), path, format="npz", force=True)
    with pytest.raises(FileFormatError, match="holds models in several formats; say format=saelens or format=npz"):
        import_model(path)
    (path / "cfg.json").unlink()
    with pytest.raises(FileMissingError, match=r"There is no configuration .*cfg.json"):
        import_model(path, format="saelens")
    (path / "cfg.json").mkdir()
    with pytest.raises(FileAccessError, match=r"cfg.json is a folder"):
        import_model(path, format="saelens")


def test_weights_beyond_the_memory_are_refused(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before they are read."""
    path = folder("saelens", "relu")
    monkeypatch.setattr("sparsae.data.exchange.files.memory_limit", lambda: 1000)
    with pytest.raises(FileFormatError, match="more than a quarter of the memory"):
        import_model(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"activation": "swish"}, "header.activation is 'swish', not one of 'sigmoid', 'relu'"),
        ({"output": "softmax"}, "header.output is 'softmax', not one of 'sigmoid', 'linear'"),
        ({"activation": "jumprelu"}, "is damaged: 'threshold'"),
        ({"pre_bias": 1}, "header.pre_bias is int"),
        ({"transform": [{"name": "pca"}]}, "its transform 'pca' is not one of"),
        ({"format": "other"}, "is not a file of arrays of sparsae"),
        ({"version": 2}, "format version 2 and this sparsae reads up to 1"),
        ({"W1": np.ones(3)}, "W1 must be a non-empty matrix|is damaged: tuple index"),
        ({"b1": np.ones(3)}, "Shapes do not fit together"),
    ],
    ids=str,
)
def test_arrays_made_by_hand_are_checked(folder: Folder, changes: dict[str, Any], message: str) -> None:
    """Their checksums are right."""
    path = folder("npz", "relu") / "weights.npz"
    header, arrays = read_archive(path, kind="sparsae arrays", version=1, what="file")
    header |= {name: value for name, value in changes.items() if not isinstance(value, np.ndarray)}
    arrays |= {name: value for name, value in changes.items() if isinstance(value, np.ndarray)}
    with path.open("wb") as file:
        write_archive(file, header, arrays)
    with pytest.raises(FileFormatError, match=message):
        import_model(path.parent)


def test_a_pickle_is_refused_without_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing in it runs; the message has the way to convert it.  A torch file asks for torch."""
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    (tmp_path / "config.json").write_text('{"trainer": {"dict_class": "AutoEncoder"}}')

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "exploded",))

    (tmp_path / "ae.pt").write_bytes(pickle.dumps({"bias": Bomb()}))
    with pytest.raises(
        FileFormatError, match=r"is a pickle, which can run code when it is read. .*safetensors.torch.sa"
    ):
        import_model(tmp_path)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Bomb()))
    (tmp_path / "ae.pt").write_bytes(file.getvalue())
    with pytest.raises(MissingExtraError, match=r"Reading ae.pt needs torch: pip install .*\[torch\]'"):
        import_model(tmp_path)
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize("trainer", [None, [], {}, {"dict_class": "GatedAutoEncoder"}, {"dict_class": 3}], ids=str)
def test_dictionaries_that_are_not_known(tmp_path: Path, trainer: Any) -> None:
    """Before any weights are read."""
    import json

    (tmp_path / "config.json").write_text(json.dumps({"trainer": trainer}))
    (tmp_path / "ae.pt").write_bytes(b"x")
    with pytest.raises(
        FileFormatError, match=r"has the dict_class .*; known are AutoEncoder, AutoEncoderNew, AutoEncoderT"
    ):
        import_model(tmp_path)
