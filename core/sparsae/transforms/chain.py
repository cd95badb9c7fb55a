"""Several transforms one after the other, and `fit`, which makes transforms from their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NoReturn, final

import numpy as np
from numpy.typing import NDArray

from sparsae._text import printable, suggest
from sparsae.errors import ParameterError
from sparsae.transforms.affine import Scale, Standardise, UnitRMS
from sparsae.transforms.base import Affine, Fitter, Rows, Transform
from sparsae.transforms.images import Centre, Olshausen, Patches
from sparsae.transforms.whitening import ZCA

KINDS: dict[str, type[Transform]] = {
    kind.name: kind for kind in (Scale, Standardise, UnitRMS, ZCA, Olshausen, Centre, Patches)
}
NAMES = tuple(KINDS)


@final
@dataclass(frozen=True, eq=False)
class Chain(Transform):
    """Transforms one after the other.

    Attributes
    ----------
    parts : tuple of Transform
        At least two, in the order in which they are applied; none is a chain.
    """

    name: ClassVar[str] = "chain"
    n_visible: int
    parts: tuple[Transform, ...]

    @property
    def no_inverse(self) -> str:
        """The reason of the first part that has none."""
        return next((f"{part.name}: {part.no_inverse}" for part in self.parts if part.no_inverse), "")

    @classmethod
    def fitter(cls, n_visible: int, **options: Any) -> Fitter:
        """Refuse: each part is fitted to what the parts before it make of all rows; see `fit`."""
        _refuse_chain()

    @classmethod
    def restore(cls, settings: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Chain:
        """Refuse: its parts are restored one by one."""
        _refuse_chain()

    def settings(self) -> dict[str, Any]:
        """Return the settings of the parts, by position and name."""
        return {f"{i}.{part.name}": part.settings() for i, part in enumerate(self.parts)}

    @property
    def summary(self) -> str:
        """Those of the parts."""
        return ", then ".join(part.summary for part in self.parts)

    @property
    def steps(self) -> tuple[Transform, ...]:
        """The parts."""
        return self.parts

    def apply_rows(self, rows: Rows) -> Rows:
        """Apply one part after the other."""
        for part in self.parts:
            rows = part.apply_rows(rows)
        return rows

    def invert_rows(self, rows: Rows) -> Rows:
        """Undo the last part first."""
        if not self.invertible:
            return super().invert_rows(rows)
        for part in reversed(self.parts):
            rows = part.invert_rows(rows)
        return rows

    def affine(self) -> Affine | None:
        """The product of the parts."""
        total: Affine | None = None
        for part in self.parts:
            step = part.affine()
            if step is None:
                return None
            total = step if total is None else _compose(total, step)
        return total


def chain(parts: Sequence[Transform]) -> Transform:
    """Return transforms one after the other as one; one alone is returned as it is.

    Raises
    ------
    ParameterError
        When there is none, or they have different numbers of columns.
    """
    steps = tuple(step for part in parts for step in part.steps)
    if not steps:
        raise ParameterError("A chain needs at least one transform.")
    widths = {step.n_visible for step in steps}
    if len(widths) != 1:
        raise ParameterError(f"Transforms of a chain have the same number of columns; these have {sorted(widths)}.")
    return steps[0] if len(steps) == 1 else Chain(steps[0].n_visible, steps)


def fit(X: Any, steps: str | Transform | Sequence[str | Transform], *, name: str = "X", **options: Any) -> Transform:
    """Fit transforms by name, each to what the ones before it make of the samples.

    Parameters
    ----------
    X : array_like (n_samples, n_visible)
        Read once for each transform, block by block: any number of rows.
    steps : str or Transform, or a sequence of them
        "scale", "standardise", "unit_rms", "zca", "olshausen", "centre", "patches"; what is fitted already is kept.
    name : str
        How messages call the samples.
    **options
        `image_shape` of the samples, for "olshausen".

    Returns
    -------
    Transform

    Raises
    ------
    DataError, ParameterError
        When there is no such transform, or the samples cannot be transformed so.
    """
    wanted = list(steps) if isinstance(steps, (list, tuple)) else [steps]
    fitted: list[Transform] = []
    for step in wanted:
        rows = chain(fitted).view(X, name=name) if fitted else X
        kind = step if isinstance(step, Transform) else find_kind(step)
        if isinstance(kind, Transform):
            kind.view(rows, name=name)  # checks the number of columns
            fitted.append(kind)
        else:
            fitted.append(kind.fit(rows, name=name, **(options if kind is Olshausen else {})))
    return chain(fitted)


def find_kind(name: object) -> type[Transform]:
    """Return the class of that name, or raise `ParameterError`."""
    if not isinstance(name, str) or name not in KINDS:
        hint = suggest(name, NAMES).removesuffix(".")
        raise ParameterError(f"There is no transform {printable(repr(name))}{hint}; there are {', '.join(NAMES)}.")
    return KINDS[name]


def _refuse_chain() -> NoReturn:
    raise ParameterError("A chain is made from its parts: sparsae.transforms.fit(X, ['standardise', 'zca']).")


def _compose(first: Affine, second: Affine) -> Affine:
    """Return the second after the first."""
    a, b = first.linear, second.linear
    if a.ndim == 1 and b.ndim == 1:
        return Affine(a * b, first.offset * b + second.offset)
    if b.ndim == 1:
        return Affine(a * b, first.offset * b + second.offset)
    linear = a[:, None] * b if a.ndim == 1 else a @ b
    return Affine(np.asarray(linear), first.offset @ b + second.offset)
