"""Fitted transforms of samples: a model file holds them, and raw data is transformed before it is encoded.

>>> import numpy as np
>>> from sparsae import transforms
>>> X = np.random.default_rng(0).normal(5, 2, (1000, 4))
>>> zca = transforms.fit(X, "zca")
>>> bool(np.allclose(zca.inverse(zca.apply(X)), X))
True
"""

from __future__ import annotations

from sparsae.transforms.affine import HIGH, LOW, Scale, Standardise, UnitRMS
from sparsae.transforms.base import Affine, Fitter, Transform, TransformedRows
from sparsae.transforms.chain import NAMES, Chain, chain, fit
from sparsae.transforms.images import Centre, Olshausen, Patches, olshausen_filter
from sparsae.transforms.record import from_record, to_record
from sparsae.transforms.whitening import ZCA

__all__ = [
    "HIGH",
    "LOW",
    "NAMES",
    "ZCA",
    "Affine",
    "Centre",
    "Chain",
    "Fitter",
    "Olshausen",
    "Patches",
    "Scale",
    "Standardise",
    "Transform",
    "TransformedRows",
    "UnitRMS",
    "chain",
    "fit",
    "from_record",
    "olshausen_filter",
    "to_record",
]
