"""Pictures: what the hidden units look for, how often they are active, and the learning curve (extra ``[plot]``).

The functions `draw_...` return a matplotlib figure, which a notebook shows; `plot_...` write one into a file.
No window opens, and pyplot's global state is not touched.
"""

from sparsae.plots.densities import draw_densities, plot_densities
from sparsae.plots.features import draw_features, feature_tiles, plot_features
from sparsae.plots.history import draw_history, plot_history

__all__ = [
    "draw_densities",
    "draw_features",
    "draw_history",
    "feature_tiles",
    "plot_densities",
    "plot_features",
    "plot_history",
]
