"""Transforms that move and stretch: `Scale`, `Standardise`, `UnitRMS`.  Each has an inverse."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import NDArray

from sparsae.engine.moments import ColumnMoments
from sparsae.errors import DataError, ParameterError
from sparsae.transforms.base import Affine, Rows, Transform
from sparsae.transforms.checks import check_names, read_array, read_number, read_size

LOW, HIGH = 0.1, 0.9
"""The range that `Scale` maps to: a sigmoid output reaches it with small weights."""

SMALL_SPAN = 2.0**-960  # below it 0.8 / span overflows, or differences have lost digits
SHIFT = 512  # such values are multiplied by 2 to this power first, which is exact


@final
@dataclass(frozen=True, kw_only=True)
class Scale(Transform):
    """Maps the range of all values to [0.1, 0.9]: ``(X - low) * 0.8 / (high - low) + 0.1``.

    New data outside the range keeps its place outside [0.1, 0.9].

    Attributes
    ----------
    low, high : float
        The ends of the range.
    """

    name: ClassVar[str] = "scale"
    n_visible: int
    low: float
    high: float

    @classmethod
    def fitter(cls, n_visible: int, **options: Any) -> RangeFitter:
        """Return what finds the range; there are no options."""
        return RangeFitter(n_visible, **options)

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make it from low and high."""
        check_names("settings", settings, ("n_visible", "low", "high"))
        check_names("arrays", arrays, ())
        low, high = read_number(settings, "low"), read_number(settings, "high")
        if not (low < high and np.isfinite(high - low)):
            raise ValueError(f"its range is {low!r} to {high!r}")
        return cls(n_visible=read_size(settings, "n_visible"), low=low, high=high)

    def settings(self) -> dict[str, Any]:
        """Return n_visible, low and high."""
        return {"n_visible": self.n_visible, "low": self.low, "high": self.high}

    @property
    def summary(self) -> str:
        """The range."""
        return f"scale ({self.low:g} to {self.high:g} becomes {LOW} to {HIGH})"

    def apply_rows(self, rows: Rows) -> Rows:
        """Scale rows; what lies inside the range stays inside [0.1, 0.9]."""
        shift, factor = self._factor
        inside = (rows >= self.low) & (rows <= self.high)
        scaled = np.ldexp(rows - self.low, shift)
        scaled *= factor
        scaled += LOW
        np.clip(scaled, LOW, HIGH, out=scaled, where=inside)  # rounding may step over an end by one bit
        return scaled

    def invert_rows(self, rows: Rows) -> Rows:
        """Return the values that were scaled."""
        shift, factor = self._factor
        values: Rows = np.ldexp((rows - LOW) / factor, -shift) + self.low
        return values

    def affine(self) -> Affine:
        """Factor and offset, the same for each column."""
        shift, factor = self._factor
        linear = float(np.ldexp(factor, shift))
        ones = np.ones(self.n_visible)
        return Affine(linear * ones, (LOW - self.low * linear) * ones)

    @property
    def _factor(self) -> tuple[int, float]:
        """The power of two that values are multiplied by first, and the factor after it."""
        span = self.high - self.low
        shift = SHIFT if span < SMALL_SPAN else 0
        return shift, (HIGH - LOW) / float(np.ldexp(span, shift))


@final
class RangeFitter:
    """Finds the range of all values."""

    def __init__(self, n_visible: int) -> None:
        self._n_visible = n_visible
        self._low, self._high = np.inf, -np.inf

    def add(self, rows: Rows) -> None:
        """Take in rows."""
        self._low = min(self._low, float(rows.min(initial=np.inf)))
        self._high = max(self._high, float(rows.max(initial=-np.inf)))

    def finish(self, name: str = "X") -> Scale:
        """Return the scaling of the range."""
        low, high = self._low, self._high
        if low > high:
            raise ParameterError(f"{name} has no rows.")
        if low == high:
            raise ParameterError(f"All values of {name} are {low:g}; there is no range to scale.")
        if not np.isfinite(high - low):
            raise DataError(
                f"The range of {name}, {low:g} to {high:g}, is too large for float64; divide the data first."
            )
        return Scale(n_visible=self._n_visible, low=low, high=high)


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Standardise(Transform):
    """Gives each column mean 0 and variance 1: ``(X - mean) / deviation``; constant columns become 0.

    Attributes
    ----------
    mean, deviation : ndarray (n_visible,)
        The deviation is that of the population (divided by n_samples); 1 for a constant column.
    """

    name: ClassVar[str] = "standardise"
    n_visible: int
    mean: Rows
    deviation: Rows

    @classmethod
    def fitter(cls, n_visible: int, **options: Any) -> StandardiseFitter:
        """Return what finds means and deviations; there are no options."""
        return StandardiseFitter(n_visible, **options)

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make it from mean and deviation."""
        check_names("settings", settings, ("n_visible",))
        check_names("arrays", arrays, ("mean", "deviation"))
        n = read_size(settings, "n_visible")
        deviation = read_array(arrays, "deviation", (n,))
        if not (deviation > 0).all():
            raise ValueError("its deviation has values that are not positive")
        return cls(n_visible=n, mean=read_array(arrays, "mean", (n,)), deviation=deviation)

    def settings(self) -> dict[str, Any]:
        """Return n_visible."""
        return {"n_visible": self.n_visible}

    def arrays(self) -> dict[str, Rows]:
        """Return mean and deviation."""
        return {"mean": self.mean, "deviation": self.deviation}

    @property
    def summary(self) -> str:
        """What each column becomes."""
        return "standardise (each column to mean 0 and variance 1)"

    def apply_rows(self, rows: Rows) -> Rows:
        """Take off the mean, divide by the deviation."""
        result: Rows = rows - self.mean
        result /= self.deviation
        return result

    def invert_rows(self, rows: Rows) -> Rows:
        """Multiply by the deviation, add the mean."""
        result: Rows = rows * self.deviation
        result += self.mean
        return result

    def affine(self) -> Affine:
        """A factor and an offset for each column."""
        return Affine(1 / self.deviation, -self.mean / self.deviation)


@final
class StandardiseFitter:
    """Finds mean and deviation of each column."""

    def __init__(self, n_visible: int) -> None:
        self._moments = ColumnMoments(n_visible)

    def add(self, rows: Rows) -> None:
        """Take in rows."""
        self._moments.add(rows)

    def finish(self, name: str = "X") -> Standardise:
        """Return the transform to mean 0 and variance 1."""
        moments = self._moments
        mean = moments.mean(name)
        deviation = np.sqrt(moments.spread / moments.count)
        lost = (deviation == 0) & (moments.largest > 0)
        if lost.any():
            raise DataError(
                f"Column {int(np.argmax(lost))} of {name} (counted from 0) varies by {moments.largest[lost].max():.3g} "
                f"at most, too little for float64 when it is squared; multiply the data first."
            )
        return Standardise(n_visible=len(mean), mean=mean, deviation=np.where(deviation > 0, deviation, 1.0))


@final
@dataclass(frozen=True, kw_only=True)
class UnitRMS(Transform):
    """Gives all values together the mean square 1: ``X / rms``, one factor for all columns; zero stays zero.

    This is what activations of a network are given before a sparse autoencoder is trained on them: the mean squared
    norm of a sample becomes n_visible (Anthropic, *Scaling Monosemanticity*, 2024).

    Attributes
    ----------
    rms : float
        Root of the mean square of all values.
    """

    name: ClassVar[str] = "unit_rms"
    n_visible: int
    rms: float

    @classmethod
    def fitter(cls, n_visible: int, **options: Any) -> RMSFitter:
        """Return what finds the mean square; there are no options."""
        return RMSFitter(n_visible, **options)

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make it from rms."""
        check_names("settings", settings, ("n_visible", "rms"))
        check_names("arrays", arrays, ())
        return cls(n_visible=read_size(settings, "n_visible"), rms=read_number(settings, "rms", positive=True))

    def settings(self) -> dict[str, Any]:
        """Return n_visible and rms."""
        return {"n_visible": self.n_visible, "rms": self.rms}

    @property
    def summary(self) -> str:
        """The factor."""
        return f"unit_rms (divided by {self.rms:g})"

    def apply_rows(self, rows: Rows) -> Rows:
        """Divide."""
        return rows / self.rms

    def invert_rows(self, rows: Rows) -> Rows:
        """Multiply."""
        return rows * self.rms

    def affine(self) -> Affine:
        """The factor, and no offset."""
        return Affine(np.full(self.n_visible, 1 / self.rms), np.zeros(self.n_visible))


@final
class RMSFitter:
    """Finds the mean square of all values, whatever their size: sums are of values divided by a power of two."""

    def __init__(self, n_visible: int) -> None:
        self._n_visible, self._count = n_visible, 0
        self._sum, self._exponent = 0.0, 0

    def add(self, rows: Rows) -> None:
        """Take in rows."""
        largest = float(np.abs(rows).max(initial=0.0))
        self._count += len(rows)
        if largest == 0:
            return
        exponent = int(np.frexp(largest)[1])
        if self._sum and exponent < self._exponent:
            exponent = self._exponent
        self._sum = float(np.ldexp(self._sum, 2 * (self._exponent - exponent)))
        self._sum += float(np.square(np.ldexp(rows, -exponent)).sum())
        self._exponent = exponent

    def finish(self, name: str = "X") -> UnitRMS:
        """Return the division by the root of the mean square."""
        if not self._count:
            raise ParameterError(f"{name} has no rows.")
        if not self._sum:
            raise ParameterError(f"All values of {name} are 0; there is nothing to scale.")
        rms = float(np.ldexp(np.sqrt(self._sum / (self._count * self._n_visible)), self._exponent))
        return UnitRMS(n_visible=self._n_visible, rms=rms)
