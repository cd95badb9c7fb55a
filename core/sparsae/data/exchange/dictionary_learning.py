"""dictionary_learning: ``config.json`` and ``ae.pt``, read only.

Source: https://github.com/saprmarks/dictionary_learning, dictionary.py, utils.py and trainers.
Its encoder.weight is W1, its decoder.weight is W2.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sparsae.data.exchange.files import check_arrays, check_shapes, read_config, read_torch
from sparsae.data.exchange.portable import PortableModel
from sparsae.errors import FileFormatError
from sparsae.model import Parameters

NAME = "dictionary_learning"
CONFIG, WEIGHTS = "config.json", "ae.pt"
BIASES = {  # class: names of b2, and whether it is subtracted from the input
    "AutoEncoder": ("bias", True),
    "AutoEncoderNew": ("decoder.bias", False),
    "AutoEncoderTopK": ("b_dec", True),
    "BatchTopKSAE": ("b_dec", True),
}


def read(folder: Path) -> PortableModel:
    """Read the two files.

    Raises
    ------
    FileMissingError, FileFormatError, MissingExtraError
        When one is missing, damaged or of a class that is not known, or torch is missing.
    """
    path, weights = folder / CONFIG, folder / WEIGHTS
    config = read_config(path)
    trainer = config.get("trainer")
    kind = trainer.get("dict_class") if isinstance(trainer, Mapping) else None
    if kind not in BIASES:
        raise FileFormatError(f"{path} has the dict_class {kind!r}; known are {', '.join(BIASES)}.")
    assert isinstance(trainer, Mapping)
    arrays, notes = read_torch(weights)
    bias, pre_bias = BIASES[kind]
    names = ["encoder.weight", "encoder.bias", "decoder.weight", bias]
    check_arrays(weights, arrays, names, ["k", "threshold"])
    W1 = arrays["encoder.weight"]
    if W1.ndim != 2:
        raise FileFormatError(f"{weights}: encoder.weight has shape {W1.shape}; expected (dict_size, activation_dim).")
    p, n = W1.shape
    check_shapes(weights, arrays, {"encoder.bias": (p,), "decoder.weight": (n, p), bias: (n,)})
    parts = [W1, arrays["encoder.bias"], arrays["decoder.weight"], arrays[bias]]
    if kind == "BatchTopKSAE":
        threshold, more = _threshold(weights, arrays)
        parts.append(np.full(p, threshold, W1.dtype))
        return PortableModel(
            parameters=Parameters(*parts), activation="jumprelu", pre_bias=pre_bias, notes=(*notes, *more)
        )
    topk = kind == "AutoEncoderTopK"
    return PortableModel(
        parameters=Parameters(*parts),
        activation="topk" if topk else "relu",
        k=_k(weights, arrays, trainer) if topk else None,
        pre_bias=pre_bias,
        notes=notes,
    )


def _k(weights: Path, arrays: Mapping[str, Any], trainer: Mapping[str, Any]) -> int:
    """Return k, of the weights or else of the configuration."""
    k = arrays["k"].tolist() if "k" in arrays else trainer.get("k")
    if isinstance(k, bool) or not isinstance(k, int) or k < 1:
        raise FileFormatError(f"{weights} has k = {k!r}; a topk model needs a positive integer.")
    return k


def _threshold(weights: Path, arrays: Mapping[str, Any]) -> tuple[float, tuple[str, ...]]:
    """Return the threshold of inference; it is negative where training was too short to find one."""
    found = arrays.get("threshold")
    if found is None or found.shape != () or not np.isfinite(found):
        raise FileFormatError(f"{weights} has no threshold, which a BatchTopKSAE needs after training.")
    threshold = float(found)
    if threshold >= 0:
        return threshold, ("Batch top-k is read as jumprelu with its constant threshold.",)
    return 0.0, ("The threshold was never set in training: every positive activation counts, as in relu.",)
