"""Transforms of images and of patches cut from them: `Olshausen`, `Centre`, `Patches`.  None has an inverse.

Source: Olshausen and Field, Nature 381 (1996) 607 (the filter);
UFLDL exercise *Sparse Autoencoder*, ``normalizeData`` (patches).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, final

import numpy as np
from numpy.typing import NDArray

from sparsae.errors import DataError, ParameterError
from sparsae.model.checks import as_number
from sparsae.transforms.affine import HIGH, LOW
from sparsae.transforms.base import FixedFitter, Rows, Transform
from sparsae.transforms.checks import check_names, read_number, read_size

DEVIATIONS = 3  # where patches are clipped


def olshausen_filter(image: Rows, *, f0: float = 0.4) -> Rows:
    """Filter an image with f exp(-(f/f0)^4) in the frequency domain and scale it to unit variance.

    Parameters
    ----------
    image : ndarray (rows, columns) or (n_images, rows, columns) float64
    f0 : float
        Cut-off in cycles a pixel.

    Returns
    -------
    ndarray of the same shape
        Mean zero, variance one (zero where the image is constant).
    """
    rows, columns = np.fft.fftfreq(image.shape[-2]), np.fft.rfftfreq(image.shape[-1])
    f = np.hypot(rows[:, None], columns[None, :])  # cycles a pixel
    filtered: Rows = np.fft.irfft2(np.fft.rfft2(image) * f * np.exp(-((f / f0) ** 4)), s=image.shape[-2:])
    deviation = filtered.std(axis=(-2, -1), keepdims=True)
    np.divide(filtered, deviation, out=filtered, where=deviation > 0)
    return filtered


@final
@dataclass(frozen=True, kw_only=True)
class Olshausen(Transform):
    """Flattens the spectrum of natural images: each sample, an image, is filtered with f exp(-(f/f0)^4).

    Nothing is learned from the data.  The options of `fit` are `image_shape` (rows and columns of a sample; a square
    when left out) and `f0` (default 0.4).

    Attributes
    ----------
    image_shape : (int, int) or None
        None: it was applied to whole images before patches of them became the samples; samples alone do not hold what
        the filter needs.
    f0 : float
        Cut-off in cycles a pixel.
    """

    name: ClassVar[str] = "olshausen"
    n_visible: int
    image_shape: tuple[int, int] | None
    f0: float = 0.4

    @classmethod
    def fitter(cls, n_visible: int, **options: Any) -> FixedFitter:
        """Return what makes it; the options are `image_shape` and `f0`."""
        return FixedFitter(cls.for_samples(n_visible, **options))

    @classmethod
    def for_samples(cls, n_visible: int, *, image_shape: tuple[int, int] | None = None, f0: float = 0.4) -> Self:
        """Return the filter of samples that are images.

        Raises
        ------
        ParameterError
            When samples are no images of that shape, or `f0` is not positive.
        """
        side = math.isqrt(n_visible)
        rows, columns = image_shape or (side, side)
        if rows * columns != n_visible:
            what = f"{rows}x{columns} images" if image_shape else "square images"
            raise ParameterError(
                f"The filter 'olshausen' needs images and samples of {n_visible} columns are no {what}; "
                f"give image_shape=(rows, columns)."
            )
        if not 0 < as_number("f0", f0) < np.inf:
            raise ParameterError(f"f0 must be a positive number, not {f0!r}.")
        return cls(n_visible=n_visible, image_shape=(int(rows), int(columns)), f0=float(f0))

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make it from its settings."""
        check_names("settings", settings, ("n_visible", "image_shape", "f0"))
        check_names("arrays", arrays, ())
        n, shape = read_size(settings, "n_visible"), settings["image_shape"]
        if shape is not None:
            rows, columns = (read_size({"image_shape": side}, "image_shape") for side in shape)
            if rows * columns != n:
                raise ValueError(f"its image_shape {rows}x{columns} does not give {n} columns")
            shape = (rows, columns)
        return cls(n_visible=n, image_shape=shape, f0=read_number(settings, "f0", positive=True))

    def settings(self) -> dict[str, Any]:
        """Return n_visible, image_shape and f0."""
        shape = None if self.image_shape is None else list(self.image_shape)
        return {"n_visible": self.n_visible, "image_shape": shape, "f0": self.f0}

    @property
    def on_images(self) -> bool:
        """Whether it is applied to whole images, before patches are cut."""
        return self.image_shape is None

    @property
    def no_inverse(self) -> str:
        """What is lost."""
        return "it removes the mean and the contrast of each image"

    @property
    def summary(self) -> str:
        """What is filtered."""
        what = "whole images" if self.image_shape is None else "samples of {}x{} pixels".format(*self.image_shape)
        return f"olshausen ({what} filtered)"

    def apply_rows(self, rows: Rows) -> Rows:
        """Filter each row as an image."""
        if self.image_shape is None:
            raise DataError(
                "The model was trained on patches of images that were filtered as a whole (olshausen), "
                "which cannot be done to the patches alone; give the images: patches:PATH."
            )
        return olshausen_filter(rows.reshape(-1, *self.image_shape), f0=self.f0).reshape(rows.shape)


@final
@dataclass(frozen=True, kw_only=True)
class Centre(Transform):
    """Takes each sample's own mean off it."""

    name: ClassVar[str] = "centre"
    n_visible: int

    @classmethod
    def fitter(cls, n_visible: int, **options: Any) -> FixedFitter:
        """Return what makes it; there are no options."""
        return FixedFitter(cls(n_visible=n_visible, **options))

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make it from n_visible."""
        check_names("settings", settings, ("n_visible",))
        check_names("arrays", arrays, ())
        return cls(n_visible=read_size(settings, "n_visible"))

    def settings(self) -> dict[str, Any]:
        """Return n_visible."""
        return {"n_visible": self.n_visible}

    @property
    def no_inverse(self) -> str:
        """What is lost."""
        return "it removes the mean of each sample"

    @property
    def summary(self) -> str:
        """What is taken off."""
        return "centre (each sample's own mean taken off)"

    def apply_rows(self, rows: Rows) -> Rows:
        """Take off the means."""
        result: Rows = rows - rows.mean(axis=1, keepdims=True)
        return result


@final
@dataclass(frozen=True, kw_only=True)
class Patches(Transform):
    """Normalises patches as the UFLDL exercise does, into [0.1, 0.9].

    Each patch's own mean is taken off, values are clipped at three standard deviations of all values, and scaled.

    Attributes
    ----------
    limit : float
        Where values are clipped.
    """

    name: ClassVar[str] = "patches"
    n_visible: int
    limit: float

    @classmethod
    def fitter(cls, n_visible: int, **options: Any) -> PatchesFitter:
        """Return what finds the limit; there are no options."""
        return PatchesFitter(n_visible, **options)

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Self:
        """Make it from the limit."""
        check_names("settings", settings, ("n_visible", "limit"))
        check_names("arrays", arrays, ())
        return cls(n_visible=read_size(settings, "n_visible"), limit=read_number(settings, "limit", positive=True))

    def settings(self) -> dict[str, Any]:
        """Return n_visible and limit."""
        return {"n_visible": self.n_visible, "limit": self.limit}

    @property
    def no_inverse(self) -> str:
        """What is lost."""
        return "it removes the mean of each patch and clips"

    @property
    def summary(self) -> str:
        """Where it clips."""
        return f"patches (own mean taken off, clipped at {self.limit:.4g}, scaled to {LOW} to {HIGH})"

    def apply_rows(self, rows: Rows) -> Rows:
        """Take off the means, clip, scale."""
        x: Rows = rows - rows.mean(axis=1, keepdims=True)
        np.clip(x, -self.limit, self.limit, out=x)
        x *= (HIGH - LOW) / 2 / self.limit
        x += (HIGH + LOW) / 2
        return x


@final
class PatchesFitter:
    """Finds the standard deviation of all values from their own mean."""

    def __init__(self, n_visible: int) -> None:
        self._n_visible, self._count, self._squares, self._varied = n_visible, 0, 0.0, False

    def add(self, rows: Rows) -> None:
        """Take in patches."""
        centred = rows - rows.mean(axis=1, keepdims=True)
        self._count += len(rows)
        self._squares += float(np.square(centred).sum())
        self._varied |= bool((rows != rows[:, :1]).any())

    def finish(self, name: str = "X") -> Patches:
        """Return the normalisation."""
        limit = DEVIATIONS * math.sqrt(self._squares / max(1, self._count * self._n_visible))
        if not (self._varied and limit > 0):
            raise DataError(f"All patches of {name} are constant: there is nothing to learn from them.")
        return Patches(n_visible=self._n_visible, limit=limit)
