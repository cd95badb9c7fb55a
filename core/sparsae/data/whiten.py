"""Whitening: flattening the spectrum of natural images, so that learning finds edges and not just blobs.

Source: Olshausen and Field, Nature 381 (1996) 607 (the filter);
Bell and Sejnowski, Vision Research 37 (1997) 3327 (ZCA).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]


def olshausen_filter(image: Float, *, f0: float = 0.4) -> Float:
    """Filter an image with f exp(-(f/f0)^4) in the frequency domain and scale it to unit variance.

    Parameters
    ----------
    image : ndarray (rows, columns) float64
    f0 : float
        Cut-off in cycles a pixel.

    Returns
    -------
    ndarray (rows, columns)
        Mean zero, variance one (zero where the image is constant).
    """
    rows, columns = np.fft.fftfreq(image.shape[0]), np.fft.rfftfreq(image.shape[1])
    f = np.hypot(rows[:, None], columns[None, :])  # cycles a pixel
    filtered: Float = np.fft.irfft2(np.fft.rfft2(image) * f * np.exp(-((f / f0) ** 4)), s=image.shape)
    deviation = filtered.std()
    return filtered / deviation if deviation > 0 else filtered


def zca(patches: Float, *, epsilon: float = 0.01) -> tuple[Float, Float]:
    """Whitening matrix of patches that stays closest to the identity, and the mean that is taken off first.

    Parameters
    ----------
    patches : ndarray (n_samples, n_visible) float64
    epsilon : float
        Added to the variances, as a share of the largest one, so that noise is not blown up.

    Returns
    -------
    matrix : ndarray (n_visible, n_visible)
        ``(patches - mean) @ matrix`` is whitened.
    mean : ndarray (n_visible,)
    """
    mean = patches.mean(axis=0)
    centred = patches - mean
    variances, directions = np.linalg.eigh(centred.T @ centred / len(patches))
    floor = max(epsilon * float(variances.max()), np.finfo(np.float64).tiny)
    matrix: Float = (directions / np.sqrt(np.maximum(variances, 0) + floor)) @ directions.T
    return matrix, mean
