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
    from sparsae.model import Parameters as Parameters
    from sparsae.model import decode as decode
    from sparsae.model import encode as encode
    from sparsae.model import sigmoid as sigmoid
    from sparsae.objective import Evaluation as Evaluation
    from sparsae.objective import Objective as Objective
    from sparsae.objective import cost_and_gradient as cost_and_gradient
    from sparsae.plugins.contract import Backend as Backend
    from sparsae.plugins.contract import Kernel as Kernel
    from sparsae.plugins.contract import Problem as Problem
    from sparsae.plugins.contract import SimpleKernel as SimpleKernel
    from sparsae.plugins.registry import hookimpl as hookimpl
    from sparsae.plugins.selection import get_backend as get_backend
    from sparsae.plugins.selection import list_backends as list_backends
    from sparsae.plugins.selection import use_backend as use_backend
    from sparsae.plugins.sums import Sums as Sums
    from sparsae.receipt import Receipt as Receipt
    from sparsae.training.checkpoint import Checkpoint as Checkpoint
    from sparsae.training.model_file import load as load
    from sparsae.training.model_file import save as save
    from sparsae.training.observers import Progress as Progress
    from sparsae.training.result import History as History
    from sparsae.training.result import Status as Status
    from sparsae.training.result import TrainResult as TrainResult
    from sparsae.training.stopping import Stop as Stop
    from sparsae.training.train import train as train


_HOME = {
    "Checkpoint": "training.checkpoint",
    "Stop": "training.stopping",
    "Array": "_types",
    "Backend": "plugins.contract",
    "Evaluation": "objective",
    "Kernel": "plugins.contract",
    "History": "training.result",
    "Objective": "objective",
    "Parameters": "model",
    "Progress": "training.observers",
    "Problem": "plugins.contract",
    "Receipt": "receipt",
    "SimpleKernel": "plugins.contract",
    "Status": "training.result",
    "Sums": "plugins.sums",
    "TrainResult": "training.result",
    "backprop": "backpropagation",
    "cost_and_gradient": "objective",
    "decode": "model",
    "encode": "model",
    "get_backend": "plugins.selection",
    "hookimpl": "plugins.registry",
    "list_backends": "plugins.selection",
    "load": "training.model_file",
    "save": "training.model_file",
    "sigmoid": "model",
    "train": "training.train",
    "use_backend": "plugins.selection",
}
_ERRORS = (
    "SparsaeError",
    "DataError",
    "ParameterError",
    "UsageError",
    "OptimizationError",
    "UnknownOptionError",
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
