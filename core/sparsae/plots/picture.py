"""`Picture`: a matplotlib figure that a notebook shows without pyplot."""

from __future__ import annotations

import io
from typing import final

from matplotlib.figure import Figure


@final
class Picture(Figure):
    """A figure with a PNG for notebooks.

    A notebook shows matplotlib's own figures only once pyplot was imported, which sparsae does not do.
    """

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=100)
        return buffer.getvalue()
