"""What reading a damaged checkpoint or model file must give."""

from __future__ import annotations

from pathlib import Path

import sparsae
from sparsae.errors import SparsaeError
from sparsae.training import checkpoint


def same_arrays(a: checkpoint.SavedFit, b: checkpoint.SavedFit) -> bool:
    """Whether two checkpoints hold the same arrays, bit for bit."""
    return a.arrays.keys() == b.arrays.keys() and all(
        a.arrays[name].tobytes() == b.arrays[name].tobytes() and a.arrays[name].dtype == b.arrays[name].dtype
        for name in a.arrays
    )


def checkpoint_outcome(path: Path, content: bytes, newest: checkpoint.SavedFit, before: checkpoint.SavedFit) -> str:
    """Write the content as the newest checkpoint and search for one to resume from.

    Return "whole" or "fell back"; anything else is an AssertionError, or the exception that escaped.
    """
    path.write_bytes(content)
    search = checkpoint.find(path)
    assert search.saved is not None
    if search.damaged:
        assert same_arrays(search.saved, before)
        return "fell back"
    assert same_arrays(search.saved, newest)
    return "whole"


def model_outcome(path: Path, content: bytes, whole: sparsae.TrainResult) -> str:
    """Write the content as a model file and load it; return "whole" or the name of the error, of one line."""
    path.write_bytes(content)
    try:
        model = sparsae.load(path)
    except SparsaeError as error:
        return type(error).__name__ if "\n" not in str(error) else "an error of several lines"
    assert model.parameters.flatten().tobytes() == whole.parameters.flatten().tobytes()
    assert model.history.cost.tobytes() == whole.history.cost.tobytes()
    return "whole"
