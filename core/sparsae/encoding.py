"""`encode` and `decode`: hidden activations of data, and outputs of hidden activations, block by block.

Rows are cut into blocks by shape alone, and blocks are spread over threads, each with BLAS at one thread: the number
of threads changes no bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, final, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsae._types import ACTIVATIONS, OUTPUTS, Activation, Array, Output
from sparsae.engine.sources import DataSource, common_dtype
from sparsae.errors import DataError, ParameterError
from sparsae.machine.limits import limit, limit_this_worker
from sparsae.machine.threads import grant
from sparsae.model import Parameters, cast_parameters, check_parameters
from sparsae.model.checks import check_word
from sparsae.model.settings import DEFAULTS, kernel_activation
from sparsae.model.units import HIDDEN_UNITS, OUTPUT_UNITS

BlockFunction = Callable[[Array], Array]
BLOCK_BYTES = 1 << 22  # of the input and output rows of a block
PIECE_BYTES = 1 << 25  # of those of a piece, which is a whole number of blocks
ALONE = 200_000  # multiplications up to which OpenBLAS uses one thread, and a limit would cost more than the work


@runtime_checkable
class Model(Protocol):
    """What has parameters and settings, as a `TrainResult` does."""

    @property
    def parameters(self) -> Parameters:
        """The parameters."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Keywords and values."""


def encode(
    parameters: Parameters | Model,
    X: ArrayLike,
    *,
    activation: Activation | None = None,
    k: int | None = None,
    pre_bias: bool | None = None,
    threads: int | None = None,
    out: NDArray[Any] | None = None,
) -> Array:
    """Hidden activations a2 = f(X W1' + b1), or f((X - b2) W1' + b1) with a pre-bias.

    Parameters
    ----------
    parameters : Parameters or TrainResult
        A result is used with its own settings.
    X : array_like (n_samples, n_visible)
        Any container that `Objective` takes; read block by block.
    activation : {"sigmoid", "relu", "topk", "batchtopk", "jumprelu"}, optional
        Hidden unit f; "sigmoid" when left out.  "batchtopk" compares each activation with the threshold that training
        has found, so that a row does not depend on its neighbours.
    k : int, optional
        Activations kept in a row; required for "topk".
    pre_bias : bool, optional
        Whether b2 is subtracted from the input; when left out as by default in training: not for "sigmoid".
    threads : int, optional
        Thread budget; else `use_backend`, ``SPARSAE_THREADS``, the CPU budget.
    out : ndarray (n_samples, n_hidden), optional
        Where to write the activations, for example a memory map; a new array when left out.

    Returns
    -------
    ndarray (n_samples, n_hidden)
        float32 where X is float32 or float16, else float64.

    Raises
    ------
    DataError, ParameterError
        When shapes or settings do not fit, or X is not a matrix of finite real numbers.
    """
    encoder = Encoder(parameters, activation=activation, k=k, pre_bias=pre_bias)
    source = check_columns("X", X, encoder.n_visible, "n_visible")
    return map_blocks(source, encoder.in_dtype(common_dtype(source, None)), encoder.n_hidden, threads, out)


def decode(
    parameters: Parameters | Model,
    A: ArrayLike,
    *,
    output: Output | None = None,
    threads: int | None = None,
    out: NDArray[Any] | None = None,
) -> Array:
    """Reconstruction a3 = f(A W2' + b2) from hidden activations, f the output unit.

    Parameters
    ----------
    parameters : Parameters or TrainResult
        A result is used with its own output unit.
    A : array_like (n_samples, n_hidden)
        Hidden activations, as returned by `encode`.
    output : {"sigmoid", "linear"}, optional
        The output unit that the model was trained with; "sigmoid" when left out.
    threads, out
        As in `encode`.

    Returns
    -------
    ndarray (n_samples, n_visible)

    Raises
    ------
    DataError, ParameterError
        When shapes do not fit or A is not a matrix of finite real numbers.
    """
    decoder = Decoder(parameters, output=output)
    source = check_columns("A", A, decoder.n_hidden, "n_hidden")
    return map_blocks(source, decoder.in_dtype(common_dtype(source, None)), decoder.n_visible, threads, out)


@final
class Encoder:
    """The function from rows to their hidden activations; parameters and settings are checked once.

    Parameters
    ----------
    model, activation, k, pre_bias
        As in `encode`.

    Attributes
    ----------
    n_visible, n_hidden : int

    Raises
    ------
    ParameterError
        When settings or parameters cannot be used.
    """

    def __init__(
        self,
        model: Parameters | Model,
        *,
        activation: Activation | None = None,
        k: int | None = None,
        pre_bias: bool | None = None,
    ) -> None:
        made, settings = _model(model)
        activation = check_word("activation", activation or settings.get("activation", "sigmoid"), ACTIVATIONS)
        self._k = settings.get("k") if k is None else k
        if k is not None and "k" not in DEFAULTS[activation]:
            raise ParameterError(f"k does not belong to activation={activation!r}; it is for topk and batchtopk.")
        if pre_bias is None:
            pre_bias = bool(settings.get("pre_bias", DEFAULTS[activation]["pre_bias"]))
        self._unit = kernel_activation(activation)
        self._limited = _check_threshold(activation, made) is not None
        self.n_visible, self.n_hidden = made.n_visible, made.n_hidden
        if self._unit == "topk" and not (isinstance(self._k, (int, np.integer)) and 1 <= self._k <= self.n_hidden):
            raise ParameterError(f"activation='topk' needs k from 1 to n_hidden={self.n_hidden}; given {self._k!r}.")
        self._parameters = made._replace(b1=np.asarray(made.b1 - made.W1 @ made.b2)) if pre_bias else made

    def in_dtype(self, dtype: np.dtype[Any]) -> BlockFunction:
        """Return the function of rows (k, n_visible) of that dtype."""
        cast = cast_parameters(self._parameters, dtype)
        W1T, b1, k = cast.W1.T, cast.b1, self._k  # (n, p), (p,)
        limits = cast.threshold if self._limited else None
        unit = HIDDEN_UNITS[self._unit].function
        return lambda x: unit(x @ W1T + b1, k, limits)


@final
class Decoder:
    """The function from hidden activations to outputs; parameters are checked once.

    Parameters
    ----------
    model, output
        As in `decode`.

    Attributes
    ----------
    n_visible, n_hidden : int

    Raises
    ------
    ParameterError
        When settings or parameters cannot be used.
    """

    def __init__(self, model: Parameters | Model, *, output: Output | None = None) -> None:
        self._parameters, settings = _model(model)
        self._unit = check_word("output", output or settings.get("output", "sigmoid"), OUTPUTS)
        self.n_visible, self.n_hidden = self._parameters.n_visible, self._parameters.n_hidden

    def in_dtype(self, dtype: np.dtype[Any]) -> BlockFunction:
        """Return the function of activations (k, n_hidden) of that dtype."""
        cast = cast_parameters(self._parameters, dtype)
        W2T, b2 = cast.W2.T, cast.b2  # (p, n), (n,)
        unit = OUTPUT_UNITS[self._unit].function
        return lambda a: unit(a @ W2T + b2)


def _model(model: Parameters | Model) -> tuple[Parameters, Mapping[str, Any]]:
    """Return checked parameters, and settings where there are any."""
    if isinstance(model, Parameters) or not isinstance(model, Model):
        return check_parameters(model), {}
    return check_parameters(model.parameters), model.settings


def _check_threshold(activation: Activation, parameters: Parameters) -> Array | None:
    """Return the thresholds of units that have one, or raise `ParameterError`."""
    if activation not in ("jumprelu", "batchtopk"):
        if parameters.threshold is not None:
            raise ParameterError(
                f"activation={activation!r} has no threshold, and the parameters have one: give activation='jumprelu' "
                f"or 'batchtopk', or parameters without it (parameters._replace(threshold=None))."
            )
        return None
    if parameters.threshold is None:
        found = "training finds it: encode with the result, or give" if activation == "batchtopk" else "give"
        raise ParameterError(f"activation={activation!r} needs a threshold; {found} parameters that have one.")
    return parameters.threshold


def check_columns(name: str, value: ArrayLike, columns: int, meaning: str) -> DataSource:
    """Return rows with that many columns, or raise `DataError`."""
    source = DataSource(value, name)
    if source.shape[1] != columns:
        raise DataError(f"{name} has shape {source.shape}; expected (n_samples, {columns}): {meaning} is {columns}.")
    return source


def map_blocks(
    source: DataSource, function: BlockFunction, columns: int, threads: int | None, out: NDArray[Any] | None
) -> Array:
    """Apply a function to all rows, block by block, on the thread budget."""
    (m, width), dtype = source.shape, common_dtype(source, None)
    found = _check_out(out, (m, columns), dtype)
    step = _block_rows(width, columns, dtype)

    def work(start: int) -> None:
        where = slice(start, min(start + step, m))
        rows = source.rows(where, dtype, scratch=True)
        source.check_block(rows, where, unit_range=False)
        found[where] = function(rows)

    starts = range(0, m, step)
    if len(starts) == 1 and m * width * columns <= ALONE:
        work(0)
        return found
    from sparsae.plugins.selection import (
        requested_threads,  # imports the plugin system, which a small call can do without
    )

    workers = min(grant(requested_threads() if threads is None else threads, "workers").workers, len(starts))
    with limit(1):
        if workers == 1:
            for start in starts:
                work(start)
        else:
            with ThreadPoolExecutor(workers, "sparsae-encode", limit_this_worker, (1,)) as pool:
                for _ in pool.map(work, starts):
                    pass
    return found


def map_pieces(
    source: DataSource, function: BlockFunction, columns: int, threads: int | None = None
) -> Iterator[tuple[Array, Array]]:
    """Yield rows and what `map_blocks` makes of them, piece by piece: neither has to fit into memory as a whole.

    The bits are those of `map_blocks`; rows are read by one thread, once and in order.
    """
    (m, width), dtype = source.shape, common_dtype(source, None)
    block = _block_rows(width, columns, dtype)
    step = block * max(1, PIECE_BYTES // (block * (width + columns) * dtype.itemsize))
    for start in range(0, m, step):
        where = slice(start, min(start + step, m))
        rows = source.rows(where, dtype)
        source.check_block(rows, where, unit_range=False)
        yield rows, map_blocks(DataSource(rows, source.name), function, columns, threads, None)


def _block_rows(width: int, columns: int, dtype: np.dtype[Any]) -> int:
    """Return how many rows a block has."""
    return max(16, BLOCK_BYTES // ((width + columns) * dtype.itemsize) // 16 * 16)


def _check_out(out: object, shape: tuple[int, int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return where to write, or raise `ParameterError`."""
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype or not out.flags.writeable:
        given = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ParameterError(f"out must be a writeable array of {dtype} {shape}; given {given}.")
    return out
