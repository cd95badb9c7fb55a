"""Data to train on: readers for files, patches of images, and real data that ships inside libraries.

`load` turns a word or a file name into a `Dataset`; its transform does to new data what was done to these numbers.
"""

from __future__ import annotations

from sparsae.data.dataset import Dataset
from sparsae.data.loading import load
from sparsae.data.patches import extract_patches

__all__ = ["Dataset", "extract_patches", "load"]
