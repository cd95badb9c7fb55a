"""Pictures: what the hidden units look for, and the learning curve (extra ``[plot]``).

`draw_features` and `draw_history` return a matplotlib figure, which a notebook shows; `plot_features` and
`plot_history` write one into a file.  No window opens, and pyplot's global state is not touched.
"""

from sparsae.plots.features import draw_features, feature_tiles, plot_features
from sparsae.plots.history import draw_history, plot_history

__all__ = ["draw_features", "draw_history", "feature_tiles", "plot_features", "plot_history"]
