"""What a backend author writes: `SimpleKernel` with one method, or `Kernel` with five.

Abbreviations: m rows of the block at hand, n = n_visible, p = n_hidden; every floating array has the problem's dtype.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, Generic, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from sparsae._types import Array
from sparsae.errors import BackendBrokenError, BackendDeclinedError
from sparsae.model import Parameters
from sparsae.plugins.adam import AdamStep
from sparsae.plugins.kernel_checks import check_arguments, check_gradient_sums
from sparsae.plugins.problem import Problem
from sparsae.plugins.sums import Sums

Block = TypeVar("Block")  # what `prepare` returns; the engine only keeps it and hands it back
Weights = TypeVar("Weights")  # what `begin` returns, likewise
Hidden = TypeVar("Hidden")  # what `encode` returns for the activations, likewise
METHODS = ("prepare", "begin", "encode", "accumulate", "finish")


class Kernel(ABC, Generic[Block, Weights, Hidden]):
    """The arithmetic of one backend, in five methods that a subclass defines, all of them.

    One instance per worker, used by one thread at a time; its only state is scratch.
    It never writes its inputs, never returns views of its scratch, and never changes global state
    (thread counts, error modes, flush-to-zero, affinity) outside the backend's ``limit_threads``.
    On valid data it does not raise.
    Heavy libraries are imported in ``__init__``, not by the plugin's module.

    To write one method instead of five, derive from `SimpleKernel`.

    Parameters
    ----------
    problem : Problem
        Kept as ``self.problem``.

    Attributes
    ----------
    notes : tuple of str
        Sentences for the receipt, such as the time that compiling took.  One that begins with "Last bits: " names a
        choice of the kernel's own on which they depend; a fit that is resumed where it is another says so.
    choices : mapping of str to str
        Such choices by name, for the receipt; a fit that is resumed hands them over in ``problem.choices``.
    splits_rows : bool
        Whether `backprop` cuts long arrays itself.  It is then given more rows than a block in one call.
    direct_sums : bool
        Whether `accumulate` and `finish` take `Sums` of the problem's dtype too, and `accumulate` writes W1 and W2
        where ``into.rows`` is 0: anything may stand there before.  Mini-batches of large models are faster so.
    adds_blocks : bool
        With `direct_sums`, whether `accumulate` adds a block's own sums, complete, to those in `into`, with the bits of
        adding two vectors, and `finish` changes nothing.  A single row worker then needs one vector, not two.

    Raises
    ------
    BackendBrokenError
        When a subclass lacks one of the methods, or one takes another number of arguments.
    """

    notes: tuple[str, ...] = ()
    choices: Mapping[str, str] = MappingProxyType({})
    splits_rows: bool = False
    direct_sums: bool = False
    adds_blocks: bool = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Refuse a class that lacks a method, with a sentence that says which."""
        check_kernel_class(cls)
        return super().__new__(cls)

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @abstractmethod
    def prepare(self, x: Array, target: Array, keep: bool) -> Block:
        """Turn rows into the block that the other methods are given; called once per block.

        Parameters
        ----------
        x : ndarray (m, n)
            Rows of the data, in any memory order; may be read-only.
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

    @abstractmethod
    def begin(self, parameters: Parameters) -> Weights:
        """Transpose, scale or upload the parameters; called once per evaluation.

        Parameters
        ----------
        parameters : Parameters
            May be read-only; valid until the evaluation ends.

        Returns
        -------
        Weights
            Any object; it is given to every instance.  Nothing is kept on this instance.
        """

    @abstractmethod
    def encode(self, weights: Weights, block: Block) -> tuple[Hidden, NDArray[np.float64]]:
        """Compute the hidden activations of a block: the first of two passes.

        Returns
        -------
        hidden : Hidden
            The activations (m, p) in the form that `accumulate` of any instance takes for this block.
            They may be stored in a kept block, and stay valid until this block is encoded again.
        total : ndarray (p,) float64
            The activations summed over the rows.
        """

    @abstractmethod
    def accumulate(
        self, weights: Weights, block: Block, hidden: Hidden | None, sparsity: Array | None, into: Sums
    ) -> None:
        """Add this block's sums to `into`: the second of two passes, or the only one.

        Parameters
        ----------
        weights, block
            What `begin` and `prepare` returned.
        hidden : Hidden or None
            What `encode` returned for this block.  None: encode first (only pass).
        sparsity : ndarray (p,) or None
            The sparsity vector s.  None: not known yet; leave it out of delta2
            and add the q-sums ``into.W1_sparsity`` and ``into.b1_sparsity`` too (only pass, sigmoid units).
        into : Sums
            Added to, never overwritten (but see `direct_sums`): rows, squared_error, hidden, and the gradient sums;
            fired unless units are sigmoid; near and threshold where the problem has a bandwidth.
        """

    @abstractmethod
    def finish(self, weights: Weights, sums: Sums) -> None:
        """Undo the scalings of `prepare` and `begin` in the sums of all rows; called once per evaluation.

        With `direct_sums` it is called for the sums of each block of a mini-batch.

        A kernel that works in scaled or shifted quantities adds those to `into`, since sums of them are linear,
        and turns them here, in place, into the quantities that `Sums` names.
        """

    @property
    def has_backprop(self) -> bool:
        """Whether this kernel defines `backprop`, which `sparsae.backprop` calls."""
        return type(self).backprop is not Kernel.backprop

    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given, from given activations: optional here, required of a `SimpleKernel`.

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
            delta3 = (a3 - target) problem.output_slope(a3) and
            delta2 = (delta3 W2 + s) problem.slope(a2).
            Sums, not means; new arrays; no weight decay.
        """
        raise BackendDeclinedError(f"{type(self).__name__} defines no backprop().")

    @property
    def has_adam(self) -> bool:
        """Whether this kernel defines `adam`; else the core updates with NumPy."""
        return type(self).adam is not Kernel.adam

    def adam(self, state: tuple[Array, Array, Array], parts: tuple[Array, ...], decayed: int, step: AdamStep) -> bool:
        """Update a chunk of the parameters and their moments in place; optional.

        Threads call it at the same time on one instance, for chunks that do not overlap.
        Each operation is rounded for itself, without fused multiply-add, so that the bits are those of NumPy;
        the core compares them on some numbers before the first update.

        Parameters
        ----------
        state : tuple of ndarray (size,)
            theta, m and v; of the dtype of the parts, which may be another than the problem's.
        parts : tuple of ndarray (size,)
            One or two: sums over rows, to be added up.
        decayed : int
            So many parameters at the beginning of the chunk are decayed.
        step : AdamStep

        Returns
        -------
        bool
            Whether g, (part + part) scale + decay theta, is finite; where it is not, parameters may stay as they are.
            Then m = beta1 m + g, v = beta2 v + g g, both flushed, and theta -= m / (sqrt(v) + epsilon) rate.
        """
        raise BackendDeclinedError(f"{type(self).__name__} defines no adam().")


class SimpleKernel(Kernel[tuple[Array, Array], Parameters, Array]):
    """A kernel with one method to write, `backprop`; the forward pass and all sums are done in NumPy from it.

    Parameters and attributes as in `Kernel`.  A subclass defines none of its five methods.

    Examples
    --------
    >>> import sparsae
    >>> class MyKernel(sparsae.SimpleKernel):
    ...     def backprop(self, a1, a2, a3, W2, sparsity, target):
    ...         delta3 = (a3 - target) * self.problem.output_slope(a3)  # (m, n)
    ...         delta2 = (delta3 @ W2 + sparsity) * self.problem.slope(a2)  # (m, p)
    ...         return sparsae.Parameters(delta2.T @ a1, delta2.sum(axis=0), delta3.T @ a2, delta3.sum(axis=0))
    >>> backend = sparsae.Backend("mine", MyKernel)
    """

    direct_sums = True

    @abstractmethod
    def backprop(self, a1: Array, a2: Array, a3: Array, W2: Array, sparsity: Array, target: Array) -> Parameters:
        """Gradient sums over the rows given, as described in `Kernel.backprop`."""

    def prepare(self, x: Array, target: Array, keep: bool) -> tuple[Array, Array]:
        """Use the rows as they are."""
        return x, target

    def begin(self, parameters: Parameters) -> Parameters:
        """Use the parameters as they are."""
        return parameters

    def encode(self, weights: Parameters, block: tuple[Array, Array]) -> tuple[Array, NDArray[np.float64]]:
        """Hidden activations (m, p), and their sums over the rows."""
        x, _ = block
        a2 = self.problem.activate(x @ weights.W1.T + weights.b1, weights.threshold)  # (m, p)
        return a2, a2.sum(axis=0, dtype=np.float64)

    def accumulate(
        self,
        weights: Parameters,
        block: tuple[Array, Array],
        hidden: Array | None,
        sparsity: Array | None,
        into: Sums,
    ) -> None:
        """Forward pass in NumPy, then `backprop`; without s the q-sums in NumPy too."""
        x, target = block
        a2 = self.encode(weights, block)[0] if hidden is None else hidden  # (m, p)
        a3 = self.problem.output_activate(a2 @ weights.W2.T + weights.b2)  # (m, n)
        s = np.zeros_like(weights.b1) if sparsity is None else sparsity  # (p,)
        W1, b1, W2, b2 = check_gradient_sums(self, self.backprop(x, a2, a3, weights.W2, s, target))
        first = into.rows == 0
        into.rows += len(x)
        into.squared_error += float(np.square(a3 - target).sum(dtype=np.float64))
        into.hidden += a2.sum(axis=0, dtype=np.float64)  # (p,)
        if self.problem.activation != "sigmoid":
            into.fired += np.count_nonzero(a2, axis=0)  # (p,)
        if self.problem.bandwidth is not None and weights.threshold is not None:
            distance = x @ weights.W1.T + weights.b1 - weights.threshold  # (m, p)
            near = np.abs(distance) < self.problem.bandwidth / 2  # (m, p)
            delta3 = (a3 - target) * self.problem.output_slope(a3)  # (m, n)
            into.near += np.count_nonzero(near, axis=0)  # (p,)
            into.threshold += np.where(near, delta3 @ weights.W2, 0).sum(axis=0, dtype=np.float64)  # (p,)
        for total, matrix in ((into.W1, W1), (into.W2, W2)):  # (p, n), (n, p)
            if first:
                total[...] = matrix
            else:
                total += matrix
        into.b1 += b1  # (p,)
        into.b2 += b2  # (n,)
        if sparsity is None:
            q = self.problem.slope(a2)  # (m, p)
            into.W1_sparsity += q.T @ x  # (p, n)
            into.b1_sparsity += q.sum(axis=0, dtype=np.float64)  # (p,)

    def finish(self, weights: Parameters, sums: Sums) -> None:
        """Nothing was scaled."""


AnyKernel = Kernel[Any, Any, Any]


@cache
def check_kernel_class(kernel: type) -> None:
    """Refuse a class that is no `Kernel`, lacks methods, or whose methods cannot be called as the contract calls them.

    Raises
    ------
    BackendBrokenError
        Names the missing methods and `SimpleKernel`, or the method and its arguments.
    """
    if not issubclass(kernel, Kernel):
        raise BackendBrokenError(
            f"{kernel.__name__} is no sparsae.Kernel: derive it from sparsae.SimpleKernel and define backprop, "
            f"or from sparsae.Kernel and define {', '.join(METHODS)}."
        )
    base: type = SimpleKernel if issubclass(kernel, SimpleKernel) else Kernel
    own = [name for name in METHODS if getattr(kernel, name) is not getattr(base, name)]
    missing = [name for name in METHODS if name not in own]
    if base is SimpleKernel and not own:
        missing = ["backprop"] if kernel.backprop is SimpleKernel.backprop else []
    if missing:
        raise BackendBrokenError(_incomplete(kernel.__name__, own, missing))
    for name in (*METHODS, "backprop", "adam"):
        check_arguments(kernel, getattr(Kernel, name))


def _incomplete(name: str, own: list[str], missing: list[str]) -> str:
    """Say which methods a class defines, which it lacks, and what to do."""
    if missing == ["backprop"]:
        return f"{name} defines no backprop; it is the one method that a sparsae.SimpleKernel must define."
    return (
        f"{name} defines {', '.join(own) or 'none'} of the methods of sparsae.Kernel and lacks {', '.join(missing)}. "
        f"Define all five ({', '.join(METHODS)}), or derive from sparsae.SimpleKernel and define backprop alone."
    )
