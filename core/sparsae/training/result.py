"""What training returns: `TrainResult`, with its `History` and its `Status`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from html import escape
from typing import Any, Literal, final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sparsae._facts import details_html, facts_html, facts_text
from sparsae._types import Array
from sparsae.encoding import Decoder, Encoder, check_columns, encode, map_blocks
from sparsae.engine.sources import common_dtype
from sparsae.errors import MissingExtraError
from sparsae.model import Parameters
from sparsae.plots.features import draw_features
from sparsae.plots.files import check_format, write_figure
from sparsae.plots.history import draw_history
from sparsae.receipt import Receipt
from sparsae.training.report import fit_facts, history_html, history_line, result_title
from sparsae.transforms import Transform

Reason = Literal[
    "converged",
    "iteration limit",
    "evaluation limit",
    "time limit",
    "stalled",
    "stopped",
    "interrupted",
    "cost rose",
    "not finite",
    "imported",
]
COUNTED = ("iteration", "evaluations")  # columns of the learning curve that are integers


@final
@dataclass(frozen=True)
class Status:
    """Why training ended: a value, not an exception.

    Attributes
    ----------
    reason : str
        "converged", "iteration limit", "evaluation limit", "time limit", "stalled" (the line search found no decrease),
        "stopped" (by an observer), "interrupted" (Ctrl-C or SIGTERM), "cost rose" (it ended above its start, as with a
        learning rate that is too large), "not finite" (the cost became NaN or infinite), "imported" (trained by another
        program).
    summary : str
        What happened, in one sentence.
    advice : str
        What to do about it, in terms of the Python interface; empty where there is nothing to do.
    """

    reason: Reason
    summary: str
    advice: str = ""

    @property
    def converged(self) -> bool:
        """Whether a stop rule of the optimiser was met."""
        return self.reason == "converged"

    @property
    def message(self) -> str:
        """Summary and advice."""
        return f"{self.summary} {self.advice}".strip()


@final
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class History:
    """The learning curve: one entry per iteration, the starting point included (iteration 0).

    Attributes
    ----------
    iteration, evaluations : ndarray of int64
        Iteration number, and evaluations of the objective so far.
    cost, squared_error, weight_decay, sparsity : ndarray of float64
        The cost and its three terms, which add up to it.
    gradient_max : ndarray of float64
        Largest absolute component of the gradient.
    seconds, evaluation_seconds : ndarray of float64
        Wall time since the start, and how much of it the evaluations took.
    explained_variance : ndarray of float64
        1 - |a3 - target|^2 / |target - mean target|^2, both means over rows; NaN where the data is constant.
    l0 : ndarray of float64
        Mean number of active units in a row; NaN for sigmoid units, which are always active.
    dead_share : ndarray of float64
        Share of the units that were active in no row; of sigmoid units, those whose mean activation is below rho / 10.

    Notes
    -----
    Of full-batch methods an entry is of all rows at its parameters.  Of mini-batch methods it is of the rows of an
    epoch, each at the parameters of its time, and that of iteration 0 is of the first mini-batch; the mean activation
    of sigmoid units is the running mean.
    """

    iteration: NDArray[np.int64]
    evaluations: NDArray[np.int64]
    cost: NDArray[np.float64]
    squared_error: NDArray[np.float64]
    weight_decay: NDArray[np.float64]
    sparsity: NDArray[np.float64]
    gradient_max: NDArray[np.float64]
    seconds: NDArray[np.float64]
    evaluation_seconds: NDArray[np.float64]
    explained_variance: NDArray[np.float64]
    l0: NDArray[np.float64]
    dead_share: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.iteration)

    def __repr__(self) -> str:
        return history_line(self)

    def _repr_html_(self) -> str:
        return f"<div><strong>{escape(history_line(self))}</strong>{history_html(self)}</div>"

    def to_frame(self) -> Any:
        """Return a pandas.DataFrame with a row for each iteration, which is the index, and a column for each field.

        Raises
        ------
        MissingExtraError
            When pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise MissingExtraError(
                "A frame needs pandas: pip install pandas. dataclasses.asdict(history) gives a dict of arrays."
            ) from error
        return pd.DataFrame({column.name: getattr(self, column.name) for column in fields(self)}).set_index("iteration")


@final
@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class TrainResult:
    """A trained model and how it came about.

    Two results are equal only when they are one object; compare their fields to compare models.

    Attributes
    ----------
    parameters : Parameters
        float64.
    cost : float
        At these parameters.
    history : History
    receipt : Receipt
    status : Status
    settings : mapping
        Hyper-parameters and options of the fit: rho, beta, weight_decay, output, method, max_iter, ...
    transform : Transform or None
        What was done to the samples before, which `encode` and `reconstruct` do to raw ones; None: nothing.
    data : mapping
        What the training data was, as far as it is known: source, image_shape.
    metrics : mapping
        Figures of merit at the final parameters, such as explained variance.
    """

    parameters: Parameters
    cost: float
    history: History
    receipt: Receipt
    status: Status
    settings: Mapping[str, Any] = field(default_factory=dict)
    transform: Transform | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)

    def __repr__(self) -> str:
        return facts_text(result_title(self), fit_facts(self))

    def _repr_html_(self) -> str:
        folded = {
            "learning curve": self.history._repr_html_(),
            "parameters": self.parameters._repr_html_(),
            "receipt": self.receipt._repr_html_(),
        }
        below = "".join(details_html(name, content) for name, content in folded.items())
        return facts_html(result_title(self), fit_facts(self) | {"message": self.message}, below=below)

    @property
    def success(self) -> bool:
        """Whether training converged, as in the results of `scipy.optimize`."""
        return self.status.converged

    @property
    def message(self) -> str:
        """Why training ended, for a person, as in the results of `scipy.optimize`."""
        return self.status.message

    @property
    def n_iter(self) -> int:
        """Number of iterations done; epochs for mini-batch methods."""
        return int(self.history.iteration[-1])

    def prepared(self) -> TrainResult:
        """Return the same model for samples that its transform was applied to already, such as those of `load`."""
        return replace(self, transform=None)

    def encode(self, X: ArrayLike, *, threads: int | None = None, out: NDArray[Any] | None = None) -> Array:
        """Return the hidden activations (n_samples, n_hidden) of raw data (n_samples, n_visible).

        The model's own transform is applied first.  Where the training data had been prepared without the knowledge of
        `train` (`transform` is None), X must be prepared in the same way.

        Parameters
        ----------
        X, threads, out
            As in `sparsae.encode`: any container, read block by block, on the thread budget.

        Raises
        ------
        DataError, ParameterError
            When X is not a matrix of finite real numbers with n_visible columns, or `threads` or `out` cannot be used.
        """
        return encode(self, self._samples(X), threads=threads, out=out)

    def decode(self, A: ArrayLike, *, threads: int | None = None, out: NDArray[Any] | None = None) -> Array:
        """Return the outputs (n_samples, n_visible) for hidden activations (n_samples, n_hidden).

        They are in the units of the raw data where the model's transform has an inverse (``transform.invertible``),
        else they are transformed samples.

        Raises
        ------
        DataError, ParameterError
            As `encode`.
        """
        decoder = Decoder(self)
        source = check_columns("A", A, decoder.n_hidden, "n_hidden")
        decode, undo = decoder.in_dtype(common_dtype(source, None)), self._undo
        return map_blocks(source, lambda a: undo(decode(a)), decoder.n_visible, threads, out)

    def reconstruct(self, X: ArrayLike, *, threads: int | None = None, out: NDArray[Any] | None = None) -> Array:
        """Return what the model makes of raw data (n_samples, n_visible): ``decode(encode(X))``, block by block.

        Raises
        ------
        DataError, ParameterError
            As `encode`.
        """
        encoder, decoder = Encoder(self), Decoder(self)
        source = check_columns("X", self._samples(X), encoder.n_visible, "n_visible")
        dtype = common_dtype(source, None)
        encode, decode, undo = encoder.in_dtype(dtype), decoder.in_dtype(dtype), self._undo
        return map_blocks(source, lambda x: undo(decode(encode(x))), decoder.n_visible, threads, out)

    def _samples(self, X: Any) -> Any:
        """Return the samples that the model sees of raw data."""
        return X if self.transform is None else self.transform.view(X)

    def _undo(self, outputs: Array) -> Array:
        """Return a block of outputs in the units of the raw data, where that can be done."""
        if self.transform is None or not self.transform.invertible:
            return outputs
        return self.transform.invert_block(outputs)

    def plot_features(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        image_shape: tuple[int, int] | None = None,
        title: str = "",
    ) -> Any:
        """Draw the encoder weights: as images where samples are images, else as bars.

        Parameters
        ----------
        path : path, optional
            A .png, .svg or .pdf file to write the picture into.
        image_shape : (int, int), optional
            Rows and columns of a sample; when left out, what is known from the data, or a square.
        title : str

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it.

        Raises
        ------
        ParameterError
            When samples are no images of that shape, or the file has another ending.
        MissingExtraError
            When matplotlib is not installed.
        FileAccessError
            When the file cannot be written.
        """
        shape = self.data.get("image_shape") if image_shape is None else image_shape
        return self._drawn(
            path,
            lambda: draw_features(self.parameters.W1, image_shape=shape, title=title),
        )

    def plot_history(self, path: str | os.PathLike[str] | None = None, *, title: str = "") -> Any:
        """Draw the cost and its terms against the iterations, and below explained variance, dead units and L0.

        Parameters
        ----------
        path : path, optional
            A .png, .svg or .pdf file to write the picture into.
        title : str

        Returns
        -------
        matplotlib.figure.Figure
            A notebook shows it.

        Raises
        ------
        ParameterError, MissingExtraError, FileAccessError
            As `plot_features`.
        """
        return self._drawn(path, lambda: draw_history(self.history, title=title))

    def _drawn(self, path: str | os.PathLike[str] | None, draw: Callable[[], Any]) -> Any:
        """Return a figure, after it was written where a path is given."""
        if path is None:
            return draw()
        check_format(path)
        figure = draw()
        write_figure(path, figure)
        return figure
