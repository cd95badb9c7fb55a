"""sparsae: sparse autoencoders on the CPU, with backends that are proved right, raced fairly, and trained with.

This module is the table of contents.  Names are imported from where they live when they are first used,
so that ``import sparsae`` loads numpy and nothing heavier.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from sparsae.version import __version__ as __version__

if TYPE_CHECKING:
    from sparsae._types import Array as Array
    from sparsae.backpropagation import backprop as backprop
    from sparsae.checkpoint import Checkpoint as Checkpoint
    from sparsae.model import Parameters as Parameters
    from sparsae.model import decode as decode
    from sparsae.model import encode as encode
    from sparsae.model import sigmoid as sigmoid
    from sparsae.objective import Evaluation as Evaluation
    from sparsae.objective import Objective as Objective
    from sparsae.objective import cost_and_gradient as cost_and_gradient
    from sparsae.observers import Progress as Progress
    from sparsae.plugins.contract import Backend as Backend
    from sparsae.plugins.contract import Kernel as Kernel
    from sparsae.plugins.contract import Problem as Problem
    from sparsae.plugins.registry import hookimpl as hookimpl
    from sparsae.plugins.selection import get_backend as get_backend
    from sparsae.plugins.selection import list_backends as list_backends
    from sparsae.plugins.selection import use_backend as use_backend
    from sparsae.plugins.sums import Sums as Sums
    from sparsae.receipt import Receipt as Receipt
    from sparsae.result import History as History
    from sparsae.result import Status as Status
    from sparsae.result import TrainResult as TrainResult
    from sparsae.stopping import Stop as Stop
    from sparsae.store import load as load
    from sparsae.store import save as save
    from sparsae.training import train as train


_HOME = {
    "Checkpoint": "checkpoint",
    "Stop": "stopping",
    "Array": "_types",
    "Backend": "plugins.contract",
    "Evaluation": "objective",
    "Kernel": "plugins.contract",
    "History": "result",
    "Objective": "objective",
    "Parameters": "model",
    "Progress": "observers",
    "Problem": "plugins.contract",
    "Receipt": "receipt",
    "Status": "result",
    "Sums": "plugins.sums",
    "TrainResult": "result",
    "backprop": "backpropagation",
    "cost_and_gradient": "objective",
    "decode": "model",
    "encode": "model",
    "get_backend": "plugins.selection",
    "hookimpl": "plugins.registry",
    "list_backends": "plugins.selection",
    "load": "store",
    "save": "store",
    "sigmoid": "model",
    "train": "training",
    "use_backend": "plugins.selection",
}
_ERRORS = (
    "SparsaeError",
    "DataError",
    "ParameterError",
    "OptimizationError",
    "FileFormatError",
    "FileMissingError",
    "FileAccessError",
    "OutputExistsError",
    "MissingExtraError",
    "CheckpointError",
    "BackendError",
    "BackendNotFoundError",
    "BackendNotInstalledError",
    "BackendBrokenError",
    "BackendConflictError",
    "BackendIncompatibleError",
    "BackendDisabledError",
    "BackendDeclinedError",
    "BackendWrongError",
    "ProbeError",
    "SparsaeWarning",
    "ConvergenceWarning",
    "ThreadsWarning",
    "ObserverWarning",
    "CheckpointWarning",
)
_HOME.update(dict.fromkeys(_ERRORS, "errors"))

__all__ = ["__version__", *sorted(_HOME)]


def __getattr__(name: str) -> Any:
    try:
        home = _HOME[name]
    except KeyError:
        raise AttributeError(f"module 'sparsae' has no attribute {name!r}") from None
    value = getattr(import_module(f"sparsae.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
