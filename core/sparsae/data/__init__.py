"""Data to train on: readers for files, patches of images, whitening, and real data that ships inside libraries.

`load` turns a word or a file name into a `Dataset`; everything that it did to the numbers stands in its record,
so that the same can be done to new data.
"""

from __future__ import annotations

from sparsae.data.dataset import Dataset
from sparsae.data.loading import load
from sparsae.data.patches import extract_patches, normalise_patches
from sparsae.data.whiten import olshausen_filter, zca

__all__ = ["Dataset", "extract_patches", "load", "normalise_patches", "olshausen_filter", "zca"]
