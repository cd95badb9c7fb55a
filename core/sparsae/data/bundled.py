"""Real data that ships inside scikit-learn and scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparsae.data.pictures import to_grey
from sparsae.errors import MissingExtraError

NATURAL = ("camera", "grass", "gravel", "brick")
INSTALL = "install it with: pip install 'sparsae[data]'. Or give a file of your own (docs: Data)."


def load_digits() -> np.ndarray[Any, Any]:
    """scikit-learn's handwritten digits, (1797, 64), values 0 to 16."""
    try:
        from sklearn import datasets
    except ImportError as error:
        raise MissingExtraError(f"'digits' is part of scikit-learn, which is not installed; {INSTALL}") from error
    return np.asarray(datasets.load_digits().data, dtype=np.float64)


def load_natural_images() -> list[NDArray[np.float64]]:
    """scikit-image's photographs camera, grass, gravel and brick, 512x512 each."""
    try:
        from skimage import data
    except ImportError as error:
        raise MissingExtraError(
            f"'patches' cuts patches from photographs of scikit-image, which is not installed; {INSTALL}"
        ) from error
    return [to_grey(np.asarray(getattr(data, name)())) for name in NATURAL]


def load_photographs() -> list[NDArray[np.float64]]:
    """scikit-learn's two photographs, china and flower, 427x640 each."""
    try:
        from sklearn.datasets import load_sample_images
    except ImportError as error:
        raise MissingExtraError(
            f"'photos' cuts patches from photographs of scikit-learn, which is not installed; {INSTALL}"
        ) from error
    return [to_grey(np.asarray(image)) for image in load_sample_images().images]
