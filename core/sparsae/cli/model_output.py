"""What `encode` and `reconstruct` make of data, piece by piece, with the figures of their reports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, final

if TYPE_CHECKING:
    import numpy as np

    from sparsae._types import Array
    from sparsae.training.result import TrainResult


@final
class ModelOutput:
    """Hidden activations, or outputs in the units of the data where the model's transform has an inverse.

    Parameters
    ----------
    result : TrainResult
    X : array_like (n_samples, n_visible)
        Transformed samples; read once, in order.
    reconstruct : bool
        Whether outputs are wanted and not activations.

    Attributes
    ----------
    shape : (int, int)
        Of all pieces together.
    dtype : numpy.dtype
    mean : float
        Of all values, once the last piece was taken.
    mean_squared_error : float
        Of outputs, once the last piece was taken.

    Raises
    ------
    DataError
        When the samples have other columns than the model.
    """

    def __init__(self, result: TrainResult, X: Any, *, reconstruct: bool) -> None:
        from sparsae.encoding import Decoder, Encoder, check_columns
        from sparsae.engine.sources import common_dtype

        encoder = Encoder(result)
        self._source = check_columns("X", X, encoder.n_visible, "n_visible")
        self.dtype: np.dtype[Any] = common_dtype(self._source, None)
        columns = encoder.n_visible if reconstruct else encoder.n_hidden
        self.shape = self._source.shape[0], columns
        self._encode, self._decode = encoder.in_dtype(self.dtype), None
        transform = result.transform
        self._undo = transform.invert_block if transform is not None and transform.invertible else lambda block: block
        if reconstruct:
            self._decode = Decoder(result).in_dtype(self.dtype)
        self._sum = self._squares = 0.0

    def pieces(self) -> Iterator[Array]:
        """Yield the rows in order.

        Raises
        ------
        DataError
            When samples cannot be read, or are not finite.
        """
        import numpy as np

        from sparsae.encoding import map_pieces

        self._sum = self._squares = 0.0
        for rows, values in map_pieces(self._source, self._function, self.shape[1]):
            self._sum += float(values.sum(dtype=np.float64))
            if self._decode is not None:
                self._squares += float(np.square(values - self._undo(rows)).sum(dtype=np.float64))
            yield values

    def _function(self, rows: Array) -> Array:
        hidden = self._encode(rows)
        return hidden if self._decode is None else self._undo(self._decode(hidden))

    @property
    def mean(self) -> float:
        """Mean of all values."""
        return self._sum / (self.shape[0] * self.shape[1])

    @property
    def mean_squared_error(self) -> float:
        """Mean of the squared differences between outputs and data."""
        return self._squares / (self.shape[0] * self.shape[1])
