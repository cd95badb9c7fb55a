"""The order in which a product reads its matrix: tile by tile, column by column."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from sparsae import Array


def tile_edges(rows: int, tall: int) -> list[int]:
    """First rows of equal tiles of at most `tall` rows, and the number of rows."""
    tiles = -(-rows // tall)
    return [tile * rows // tiles for tile in range(tiles + 1)]


def pack_tiles(matrix: Array, tall: int, out: Array | None = None, scale: float = 1.0) -> Array:
    """Copy a matrix (rows, columns) of any strides to the order of the product, flat and scaled.

    A copy for each tile takes a third of the time that one copy by an index array takes, for 4,096 x 784.
    """
    rows, columns = matrix.shape
    packed: Array = np.empty(matrix.size, matrix.dtype) if out is None else out
    for first, last in pairwise(tile_edges(rows, tall)):
        tile = packed[first * columns : last * columns].reshape(columns, last - first)
        np.multiply(matrix[first:last].T, scale, out=tile)
    return packed
