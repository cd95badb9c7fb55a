"""What is raced: cases, sizes, dtypes and hidden units, and the useful work in a call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from sparsae._types import Activation
from sparsae.errors import ParameterError

CASES = ("backprop", "objective", "train")
SIZES = {
    "question": (10_000, 64, 25),
    "mnist": (10_000, 784, 196),
    "wide": (10_000, 784, 1024),
    "language": (4_096, 768, 4096),  # the width of a small language model's residual stream
    "small": (100, 8, 3),
}
DTYPES = {"f8": "float64", "f4": "float32", "float64": "float64", "float32": "float32"}
ACTIVATIONS: tuple[Activation, ...] = ("sigmoid", "relu", "topk", "jumprelu")  # those that kernels know
TRAIN_EVALUATIONS = 20  # in one timed training


@final
@dataclass(frozen=True)
class RaceWorkload:
    """What the cells that race against each other have in common: case, size, dtype and hidden unit."""

    case: str  # one of `CASES`
    size: tuple[int, int, int]  # samples m, inputs n, hidden units p
    dtype: str  # "float64" or "float32"
    activation: Activation = "sigmoid"  # one of `ACTIVATIONS`
    k: int | None = None  # activations kept in a row; None unless the hidden unit is "topk"

    @property
    def key(self) -> str:
        """Name within the race; sigmoid units, which every record of version 2 has, are not named."""
        words = [self.case, "x".join(map(str, self.size)), self.dtype]
        return " ".join(words if self.activation == "sigmoid" else [*words, unit_words(self.activation, self.k)])

    @property
    def flop(self) -> float:
        """Useful floating-point operations in one call, the same for everyone: extra work is no credit.

        m rows meet n p weights in five products: 10mnp; `backprop` has the last three of them: 6mnp.  Of top-k units
        k in a row are active, and all products but the encoder's need those alone: 2mnp + 8mnk, and 6mnk.
        A training of sigmoid units evaluates all rows `TRAIN_EVALUATIONS` times, one of other units once, in as many
        mini-batches.
        """
        m, n, p = self.size
        active = p if self.k is None else self.k
        if self.case == "backprop":
            return 6.0 * m * n * active
        passes = TRAIN_EVALUATIONS if self.case == "train" and self.activation == "sigmoid" else 1
        return passes * m * n * (2.0 * p + 8.0 * active)


def unit_words(activation: str, k: int | None) -> str:
    """Return the hidden unit as tables say it, such as "topk k=32"."""
    return activation if k is None else f"{activation} k={k}"


def parse_size(size: str | Sequence[int]) -> tuple[int, int, int]:
    """Turn "10000x64x25" or a name such as "mnist" into (samples, inputs, hidden units)."""
    if isinstance(size, str) and size in SIZES:
        return SIZES[size]
    words = size.replace("/", "x").lower().split("x") if isinstance(size, str) else [str(number) for number in size]
    if len(words) == 3 and all(word.isascii() and word.isdigit() and 0 < int(word) < 10**12 for word in words):
        m, n, p = map(int, words)
        return m, n, p
    raise ParameterError(
        f"Size {size!r} cannot be read; write SAMPLESxINPUTSxHIDDEN such as 10000x64x25, or one of {', '.join(SIZES)}."
    )
