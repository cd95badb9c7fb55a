"""The scikit-learn estimator `SparseAutoencoder` (extra ``[sklearn]``).

Where scikit-learn is missing or too old, the class is there too, so that ``help(sparsae)`` and
``from sparsae import *`` work; making one then says what to install.
"""

from __future__ import annotations

from typing import Any

from sparsae.errors import MissingExtraError

__all__ = ["SparseAutoencoder"]

OLDEST = "1.6"  # the first with validate_data and __sklearn_tags__


def _unavailable(error: ImportError) -> Any:
    """Return a class that cannot be made; its error says what to install."""

    class SparseAutoencoder:
        """The scikit-learn estimator; it needs ``pip install 'sparsae[sklearn]'``."""

        def __init__(self, *_: object, **__: object) -> None:
            raise MissingExtraError(
                f"SparseAutoencoder needs scikit-learn {OLDEST} or newer ({error}): pip install 'sparsae[sklearn]'. "
                f"sparsae.train does without."
            ) from error

    SparseAutoencoder.__module__ = __name__
    SparseAutoencoder.__qualname__ = SparseAutoencoder.__name__
    return SparseAutoencoder


try:
    from sparsae.estimator.autoencoder import SparseAutoencoder as SparseAutoencoder
except ImportError as _error:
    if (_error.name or "").partition(".")[0] != "sklearn":
        raise
    SparseAutoencoder = _unavailable(_error)  # type: ignore[misc]  # stands in for the class
