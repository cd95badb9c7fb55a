"""The backend contract, version 1: `Problem`, `Kernel`, `Backend`, and the `Sums` that a kernel adds to.

A backend author writes one `Kernel` with one required method and registers one `Backend`;
to go faster, the author overrides more.  What each piece may rely on, and what it owes, stands here.
Abbreviations: m rows of the block at hand, n = n_visible, p = n_hidden; ``dtype`` is the problem's.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from sparsae._types import THREADINGS, Array, Output, Threading
from sparsae.model import Parameters, sigmoid
from sparsae.plugins.sums import Sums

CONTRACT = 1
OLDEST_CONTRACT = 1

Block = Any  # what `prepare` returns: whatever the kernel likes; the engine only keeps it and hands it back
Weights = Any  # what `begin` returns, likewise


@final
@dataclass(frozen=True, kw_only=True)
class Problem:
    """What a kernel is built for.  Fields may be added, with defaults, in later versions.

    Attributes
    ----------
    n_visible, n_hidden : int
        Number of inputs n and of hidden units p.
    dtype : numpy.dtype
        float32 or float64; every array that reaches the kernel has it.
    activation : {"sigmoid"}
        The hidden unit.
    output : {"sigmoid", "linear"}
        The output unit.
    block_rows : int
        No block has more rows; the last one of a segment may have fewer.
    threads : int
        How many threads this instance may use: its share of the budget.
    """

    n_visible: int
    n_hidden: int
    dtype: np.dtype[Any]
    activation: str = "sigmoid"
    output: Output = "sigmoid"
    block_rows: int = 512
    threads: int = 1


class Kernel:
    """The arithmetic of one backend; meant for subclassing.  One instance per worker; its only state is scratch.

    An instance is used by one thread at a time.
    It never writes its inputs, never returns views of its scratch, and never changes global state
    (thread counts, error modes, flush-to-zero, affinity) outside the backend's ``limit_threads``.
    On valid data it does not raise.
    Heavy libraries are imported in ``__init__``, not by the plugin's module.

    Parameters
    ----------
    problem : Problem
        Stands on the instance as ``problem``.

    Attributes
    ----------
    notes : tuple of str
        What the user should find in the receipt, such as the time that compiling took.
    piecewise : bool
        Whether `backprop` cuts long arrays itself, so that it may be given more rows than a block:
        the cost of a call is then paid less often.
    """

    notes: tuple[str, ...] = ()
    piecewise: bool = False

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given: the one required method.

        Parameters
        ----------
        a1 : ndarray (m, n)
            Input activations.
        a2 : ndarray (m, p)
            Hidden activations.
        a3 : ndarray (m, n)
            Output activations.
        W2 : ndarray (n, p)
            Decoder weights.
        sparsity : ndarray (p,)
            The sparsity vector s.
        target : ndarray (m, n)
            What a3 should equal; the same object as `a1` unless there is a separate target.

        Returns
        -------
        Parameters
            W1 = delta2' a1, b1 = sum delta2, W2 = delta3' a2, b2 = sum delta3, where
            delta3 = (a3 - target) a3 (1 - a3) (without the last two factors for a linear output) and
            delta2 = (delta3 W2 + s) a2 (1 - a2).
            Sums, not means; new arrays; nothing about weight decay.
        """
        raise NotImplementedError(f"{type(self).__name__} must define backprop().")

    def prepare(self, x: Array, target: Array, keep: bool) -> Block:
        """Turn rows into the block that the other methods are given; called once per block.

        Parameters
        ----------
        x : ndarray (m, n)
            Rows of the data, in the problem's dtype and in any memory order; may be read-only.
        target : ndarray (m, n)
            ``target is x`` holds when there is no separate target.
        keep : bool
            True: the block is kept for the whole fit, and is used by one thread at a time;
            it may hold room for this block's results.
            False: the block is dropped before the next is prepared, so that it may be scratch of this instance.

        Returns
        -------
        Block
            Any object.  Other instances of the same backend may be given it.
        """
        return x, target

    def begin(self, parameters: Parameters) -> Weights:
        """Once per evaluation: transpose, scale, upload.  Pure; the result is given to every instance.

        Parameters
        ----------
        parameters : Parameters
            In the problem's dtype; may be read-only; valid until the evaluation ends.
        """
        return parameters

    def encode(self, weights: Weights, block: Block) -> tuple[Any, NDArray[np.float64]]:
        """First of two passes: hidden activations of the block.

        Returns
        -------
        a2 : object
            What `accumulate` of any instance wants to be given for this block (m, p); it may live in a kept block,
            and stays valid until this block is encoded again.
        total : ndarray (p,) float64
            The activations summed over the rows.
        """
        x, _ = block
        W1, b1, _, _ = weights
        a2 = sigmoid(x @ W1.T + b1)  # (m, p)
        return a2, a2.sum(axis=0, dtype=np.float64)

    def accumulate(self, weights: Weights, block: Block, a2: Any, sparsity: Array | None, into: Sums) -> None:
        """Add this block's sums to `into`: the second of two passes, or the only one.

        Parameters
        ----------
        weights, block
            What `begin` and `prepare` returned.
        a2 : object or None
            What `encode` returned for this block; None: encode first (only pass).
        sparsity : ndarray (p,) or None
            The sparsity vector s; None: not known yet, so leave it out of delta2
            and add the q-sums ``into.W1_sparsity`` and ``into.b1_sparsity`` too (only pass).
        into : Sums
            Added to, never overwritten: rows, squared_error, hidden, and the gradient sums.
        """
        x, target = block
        if a2 is None:
            a2, _ = Kernel.encode(self, weights, block)
        z3 = a2 @ weights.W2.T + weights.b2  # (m, n)
        a3 = sigmoid(z3) if self.problem.output == "sigmoid" else z3
        s = np.zeros_like(weights.b1) if sparsity is None else sparsity
        W1, b1, W2, b2 = self.backprop(x, a2, a3, weights.W2, s, target)
        into.rows += len(x)
        into.squared_error += float(np.square(a3 - target).sum(dtype=np.float64))
        into.hidden += a2.sum(axis=0, dtype=np.float64)
        into.W1 += W1
        into.b1 += b1
        into.W2 += W2
        into.b2 += b2
        if sparsity is None:
            q = a2 * (1 - a2)  # (m, p)
            into.W1_sparsity += q.T @ x
            into.b1_sparsity += q.sum(axis=0, dtype=np.float64)

    def finish(self, weights: Weights, sums: Sums) -> None:
        """Once per evaluation, on the sums of all rows: undo what `prepare` and `begin` folded in.

        A kernel that works in scaled or shifted quantities adds those to `into`, since sums of them are linear,
        and turns them into the quantities that `Sums` names here, in place.  The default does nothing.
        """


@final
@dataclass(frozen=True)
class Backend:
    """One backend: what a plugin's hook returns.

    Attributes
    ----------
    name : str
        An identifier; the same as the entry-point name.
    kernel : callable
        ``kernel(problem)`` returns a `Kernel`; usually the class.
    summary : str
        One line for ``sparsae backends``.
    contract : int
        The version of the contract that it was written for.
    threading : {"workers", "blas", "own", "none"}
        How a thread budget of T is spent.
        "workers": T worker threads over row segments, one kernel instance each, BLAS held at one thread;
        the same bits at any T.
        "blas": one instance, the largest block that memory allows, the BLAS pool gets T.
        "own": like "blas", with the backend's own pool through `limit_threads`.
        "none": one thread, whatever T.
    limit_threads : callable or None
        ``limit_threads(n)`` returns a context manager that holds a pool of the backend's own at n threads;
        only for "own".
    activations, outputs, dtypes : tuples of str
        What the kernel can do; the core declines the rest with a reason.
    block_rows : callable or None
        ``block_rows(problem)`` returns the number of rows that the kernel likes in a block;
        None: chosen by cache size.
    requires : tuple of str
        Importable names of the libraries that the kernel needs; where one is missing the backend is "not installed".
    install : str
        The command that brings them, for the message.
    """

    name: str
    kernel: Callable[[Problem], Kernel]
    summary: str = ""
    contract: int = CONTRACT
    threading: Threading = "none"
    limit_threads: Callable[[int], AbstractContextManager[Any]] | None = None
    activations: tuple[str, ...] = ("sigmoid",)
    outputs: tuple[str, ...] = ("sigmoid",)
    dtypes: tuple[str, ...] = ("float32", "float64")
    block_rows: Callable[[Problem], int] | None = None
    requires: tuple[str, ...] = ()
    install: str = ""

    def __post_init__(self) -> None:
        if not str(self.name).isidentifier():
            raise ValueError(f"A backend's name must be an identifier such as 'mine'; given {self.name!r}.")
        if not callable(self.kernel):
            raise TypeError(f"kernel must be callable, kernel(problem) -> Kernel; given {self.kernel!r}.")
        if self.threading not in THREADINGS:
            raise ValueError(f"threading must be one of {', '.join(THREADINGS)}; given {self.threading!r}.")
        if self.limit_threads is not None and self.threading != "own":
            raise ValueError(f"limit_threads goes with threading='own' only; threading is {self.threading!r}.")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("activations", "outputs", "dtypes", "requires") and not (
                isinstance(value, tuple) and all(isinstance(item, str) for item in value)
            ):
                raise TypeError(f"{field.name} must be a tuple of str; given {value!r}.")

    def declines(self, problem: Problem) -> str | None:
        """Why this backend cannot take the problem, or None when it can."""
        for what, value, able in (
            ("activation", problem.activation, self.activations),
            ("output", problem.output, self.outputs),
            ("dtype", str(problem.dtype), self.dtypes),
        ):
            if value not in able:
                return f"{what} is {value!r} and backend {self.name!r} supports {', '.join(able) or 'none'}"
        return None
