"""What is trained: the hidden unit and what goes with it, with defaults by activation in one table.

Sources of the defaults: Ng, CS294A (sigmoid); Conerly et al. 2024, Anthropic's April update (relu);
Gao et al. 2024, arXiv 2406.04093 (topk); Bussmann et al. 2024, arXiv 2412.06410 (batchtopk);
Rajamanoharan et al. 2024, arXiv 2407.14435, and SAELens (jumprelu).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, TypedDict, final

from sparsae._types import ACTIVATIONS, OUTPUTS, Activation, Output
from sparsae.errors import DataError, ParameterError
from sparsae.model.checks import check_bool, check_k, check_number, check_word
from sparsae.model.parameters import check_size

Init = Literal["uniform", "transpose"]
INITS: tuple[Init, ...] = ("uniform", "transpose")


class ModelOptions(TypedDict, total=False):
    """Keywords that say what is trained; what is left out, or None, has a default that follows the activation.

    Attributes
    ----------
    activation : {"sigmoid", "relu", "topk", "batchtopk", "jumprelu"}
        Hidden unit.  Default "sigmoid".
    k : int
        Activations kept in a row (topk), or on average in a row of a mini-batch (batchtopk).  Required of these.
    rho : float
        Sparsity target of sigmoid units, in (0, 1).
    beta : float
        Weight of the sparsity term of sigmoid units, at least 0.
    l1 : float
        Weight of the sum of the activations of relu units in a row, at least 0.
    l1_weighted : bool
        Whether that sum weights each activation by the length of its unit's column of W2.
    l0 : float
        Weight of the number of active jumprelu units in a row, at least 0.
    bandwidth : float
        Width of the rectangle in which the gradient of a jumprelu threshold is estimated, above 0.
    aux : float
        Weight of the auxiliary loss that revives dead topk and batchtopk units, at least 0.
    k_aux : int
        Activations of dead units that the auxiliary loss reconstructs with.
    dead_after : int
        Rows without activity after which a unit is dead.
    pre_bias : bool
        Whether b2 is subtracted from the input: z = W1 (x - b2) + b1.
    unit_norm : bool
        Whether columns of W2 are kept at unit length.  Mini-batch methods only.
    init : {"uniform", "transpose"}
        Starting weights: uniform, or random columns of W2 of unit length and W1 = W2'.
    output : {"sigmoid", "linear"}
        Output unit; a sigmoid needs targets in [0, 1].
    weight_decay : float
        Weight of the weight decay, at least 0.
    """

    activation: Activation
    k: int | None
    rho: float | None
    beta: float | None
    l1: float | None
    l1_weighted: bool | None
    l0: float | None
    bandwidth: float | None
    aux: float | None
    k_aux: int | None
    dead_after: int | None
    pre_bias: bool | None
    unit_norm: bool | None
    init: Init | None
    output: Output | None
    weight_decay: float | None


@final
@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Every keyword of `ModelOptions` with its value; None where it does not belong to the activation.

    `dead_after` is None where it is left to the fit, which knows how many rows it will see.
    """

    activation: Activation = "sigmoid"
    k: int | None = None
    rho: float | None = None
    beta: float | None = None
    l1: float | None = None
    l1_weighted: bool | None = None
    l0: float | None = None
    bandwidth: float | None = None
    aux: float | None = None
    k_aux: int | None = None
    dead_after: int | None = None
    pre_bias: bool = False
    unit_norm: bool | None = None
    init: Init = "uniform"
    output: Output = "sigmoid"
    weight_decay: float = 1e-4

    def to_dict(self) -> dict[str, Any]:
        """Return what belongs to the activation, as plain values."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Sizes(NamedTuple):
    """What defaults are derived from: sizes, and the root mean square of the data, which is read when it is needed."""

    n_visible: int
    n_hidden: int
    scale: Callable[[bool], float]  # of the data, about its mean where the argument (pre_bias) is True


class Derived(NamedTuple):
    """A default that depends on n and p: how the documentation writes it, and its value; None: left to the fit."""

    text: str
    value: Callable[[int, int], int | None]


class Scaled(NamedTuple):
    """A default that depends on n and on r, the root mean square of the data: its text, and its value."""

    text: str
    value: Callable[[int, float], float]


def _k_aux(n: int, p: int) -> int:
    return min(p, 1 << round(math.log2(max(1, n / 2))))


REQUIRED = Derived("required", lambda n, p: None)
COMMON = {"output": "linear", "method": "adam", "init": "transpose", "pre_bias": True, "weight_decay": 0.0}
TOPK = COMMON | {
    "unit_norm": True,
    "k": REQUIRED,
    "aux": 1 / 32,
    "k_aux": Derived("the power of two nearest n/2", _k_aux),
    "dead_after": Derived("10 million rows, or a tenth of the fit's if that is less", lambda n, p: None),
}
DEFAULTS: dict[Activation, dict[str, Any]] = {
    "sigmoid": {
        "output": "sigmoid",
        "method": "lbfgs",
        "init": "uniform",
        "pre_bias": False,
        "weight_decay": 1e-4,
        "rho": 0.01,
        "beta": 3.0,
    },
    "relu": COMMON
    | {
        "unit_norm": False,
        "l1": Scaled("0.04 r sqrt(n)", lambda n, r: 0.04 * r * math.sqrt(n)),
        "l1_weighted": True,
    },
    "topk": TOPK,
    "batchtopk": TOPK,
    "jumprelu": COMMON
    | {
        "unit_norm": False,
        "l0": Scaled("0.002 n r^2", lambda n, r: 0.002 * n * r**2),
        "bandwidth": Scaled("0.05 r", lambda n, r: 0.05 * r),
    },
}
START_THRESHOLD = 0.01  # of jumprelu units, in units of r


def keywords(activation: Activation) -> list[str]:
    """Return the keywords that belong to an activation, sorted."""
    return sorted({"activation", *DEFAULTS[activation]} - {"method"})


def kernel_activation(activation: Activation) -> Activation:
    """Return what kernels compute for an activation: batch top-k is jumprelu with one threshold, found for a batch."""
    return "jumprelu" if activation == "batchtopk" else activation


def kernel_activation_note(activation: Activation) -> str:
    """Return what is said where a backend declines that: nothing, where it is the activation itself."""
    return "batchtopk is jumprelu with one threshold" if activation == "batchtopk" else ""


def default_method(options: ModelOptions) -> str:
    """Return the name of the optimiser that an activation is trained with by default."""
    method: str = DEFAULTS[check_word("activation", options.get("activation") or "sigmoid", ACTIVATIONS)]["method"]
    return method


def resolve_settings(options: ModelOptions, sizes: Sizes) -> tuple[ModelSettings, tuple[str, ...]]:
    """Check what is given, and fill in the defaults.

    Returns
    -------
    settings : ModelSettings
    notes : tuple of str
        The defaults that were derived from the data.

    Raises
    ------
    ParameterError
        When a keyword cannot be used, or belongs to another activation; says which do belong.
    DataError
        When a default follows the scale of the data and all rows are equal.
    """
    given = {name: value for name, value in options.items() if value is not None}
    activation = check_word("activation", given.pop("activation", "sigmoid"), ACTIVATIONS)
    table = {name: value for name, value in DEFAULTS[activation].items() if name != "method"}
    foreign = [name for name in given if name not in table]
    if foreign:
        raise ParameterError(
            f"{', '.join(foreign)} {'does' if len(foreign) == 1 else 'do'} not belong to activation={activation!r}; "
            f"its keywords are {', '.join(keywords(activation))}."
        )
    pre_bias = check_bool("pre_bias", given.get("pre_bias", table["pre_bias"]))
    values: dict[str, Any] = {}
    notes: list[str] = []
    for name, default in table.items():
        if name in given:
            values[name] = given[name]
        elif isinstance(default, Derived):
            values[name] = default.value(sizes.n_visible, sizes.n_hidden)
        elif isinstance(default, Scaled):
            scale = sizes.scale(pre_bias)
            values[name] = default.value(sizes.n_visible, scale)
            notes.append(_note(name, values[name], default, scale, pre_bias=pre_bias))
        else:
            values[name] = default
    return ModelSettings(activation=activation, **_checked(activation, values, sizes.n_hidden)), tuple(notes)


def _note(name: str, value: float, default: Scaled, scale: float, *, pre_bias: bool) -> str:
    if not value > 0:
        why = "all rows are the same, or there is but one sample" if pre_bias else "all values are 0"
        raise DataError(
            f"The default of {name} follows the scale of the data, which is {scale:.3g} ({why}): give {name} a value."
        )
    return f"{name} is {value:.4g}, which is {default.text}; r, the root mean square of the data, is {scale:.4g}."


def _checked(activation: Activation, values: dict[str, Any], n_hidden: int) -> dict[str, Any]:
    """Return the values checked: counts, truth values, words and numbers; `Cost` checks the ranges of its numbers."""
    found = dict(values)
    for name, value in values.items():
        if name in ("k", "k_aux"):
            found[name] = check_k(name, value, activation, n_hidden)
        elif name == "dead_after" and value is not None:
            found[name] = check_size(name, value)
        elif name in ("l1_weighted", "pre_bias", "unit_norm"):
            found[name] = check_bool(name, value)
        elif name in ("init", "output"):
            found[name] = check_word(name, value, INITS if name == "init" else OUTPUTS)
        elif name != "dead_after":
            found[name] = check_number(name, value, least=0 if name == "aux" else None)
    return found


def defaults_table() -> str:
    """Return the table of defaults in Markdown, as the documentation shows it."""
    names = list(dict.fromkeys(name for row in DEFAULTS.values() for name in row))
    lines = ["| keyword | " + " | ".join(DEFAULTS) + " |", "| --- |" + " --- |" * len(DEFAULTS)]
    for name in names:
        cells = [_cell(row[name]) if name in row else "" for row in DEFAULTS.values()]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(default: object) -> str:
    return default.text if isinstance(default, (Derived, Scaled)) else f"{default!r}".replace("'", '"')
