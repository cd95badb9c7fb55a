"""Every exception and warning of sparsae.

Each exception is a `SparsaeError` and also the builtin exception of its kind,
so that ``except SparsaeError`` and ``except ValueError`` both work.
Messages say what was given, what was possible, and what to do.
"""

from __future__ import annotations

from typing import Any

from sparsae._install import as_installed


class SparsaeError(Exception):
    """Base of every error that sparsae raises on purpose."""


class DataError(SparsaeError, ValueError):
    """Data that cannot be used: wrong shape, not finite, out of range, empty, of a wrong dtype."""


class ParameterError(SparsaeError, ValueError):
    """A setting or model parameter that cannot be used, such as ``rho=2`` or a W2 of the wrong shape."""


class UsageError(SparsaeError, RuntimeError):
    """An object that is used in a way that it does not allow, such as an open `Objective` that is opened again."""


class UnknownOptionError(SparsaeError, TypeError):
    """A keyword that a function does not have; the message names the nearest one."""


class OptimizationError(SparsaeError, ArithmeticError):
    """An optimisation that cannot go on, such as a cost that is not finite at the starting point."""


class FileFormatError(SparsaeError, ValueError):
    """A file that is truncated, foreign, or written by a version that this one cannot read."""


class FileMissingError(SparsaeError, FileNotFoundError):
    """A file or folder that does not exist."""


class FileAccessError(SparsaeError, OSError):
    """A file or folder that cannot be read or written."""


class OutputExistsError(SparsaeError, FileExistsError):
    """An output file that exists and would have been overwritten."""


class MissingExtraError(SparsaeError, ImportError):
    """An optional library that is needed and not installed; the message names the extra that installs it."""

    def __init__(self, message: str) -> None:
        super().__init__(as_installed(message))


class CheckpointError(SparsaeError, ValueError):
    """A checkpoint that belongs to another fit, is in use, or cannot be read."""


class BackendError(SparsaeError, RuntimeError):
    """A backend that cannot do what was asked.

    Attributes
    ----------
    reason : str
        The cause alone, without the backend's name; empty where only the message tells it.
    """

    reason: str = ""


class BackendNotFoundError(BackendError, LookupError):
    """No backend of that name is registered."""


class BackendNotInstalledError(BackendError, ImportError):
    """The backend is known but the library that it needs is not installed."""


class BackendBrokenError(BackendError):
    """The backend's module cannot be loaded, its registration is wrong, or its kernel class is incomplete."""


class BackendConflictError(BackendError):
    """Two distributions register a backend of the same name."""


class BackendIncompatibleError(BackendError):
    """The backend was written for a version of the contract that this version does not support."""


class BackendDisabledError(BackendError):
    """The backend was disabled by the user."""


class BackendDeclinedError(BackendError, ValueError):
    """The backend does not support what is asked: an output unit, an activation, a dtype, or `sparsae.backprop`."""


class BackendWrongError(BackendError, ArithmeticError):
    """The backend's kernel disagrees with the reference, or returns arrays of wrong shapes."""


class ClusterError(SparsaeError, RuntimeError):
    """A cluster that cannot be reached, has no workers, or does not answer in time."""


class ProbeError(SparsaeError, RuntimeError):
    """A process that measures and died, did not answer, or answered what cannot be read."""


class SparsaeWarning(UserWarning):
    """Base of every warning that sparsae gives."""


class ConvergenceWarning(SparsaeWarning):
    """Training ended for another reason than convergence.

    Attributes
    ----------
    status : Status or None
        The status of the result, whose text is the message.
    """

    status: Any = None


class ThreadsWarning(SparsaeWarning):
    """A thread count that could not be granted, or was not honoured."""


class ClusterWarning(SparsaeWarning):
    """A cluster that is used in a way that may be slow, insecure, or depend on the machine."""


class ObserverWarning(SparsaeWarning):
    """An observer raised; it was dropped and the fit went on."""


class CheckpointWarning(SparsaeWarning):
    """A checkpoint could not be written, or an older one was used."""


class DataWarning(SparsaeWarning):
    """Data that was read in a way that its owner may not expect, such as a column of row names that is left out."""
