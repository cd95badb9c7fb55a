"""What a checkpoint decides when a fit is resumed from it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from sparsae._text import printable
from sparsae.errors import CheckpointError, CheckpointWarning, ParameterError
from sparsae.machine.caller_warning import warn_caller
from sparsae.model.settings import ModelSettings
from sparsae.objective import Objective, ObjectiveOptions
from sparsae.optimize import Method, describe, get_method
from sparsae.plugins.registry import registry
from sparsae.plugins.selection import AUTO, requested_backend
from sparsae.receipt import Receipt

LAST_BITS = "Last bits: "  # a kernel's note that begins so names a choice of its own on which they depend


def resumed_options(header: Mapping[str, Any], options: ObjectiveOptions) -> ObjectiveOptions:
    """Return options of the objective with the checkpoint's block size and passes, and its backend if none is named.

    They decide the last bits.

    Warns
    -----
    CheckpointWarning
        When others were given.
    """
    receipt, given = header["receipt"], dict[str, Any](options)
    saved = {"block_rows": receipt["block_rows"], "passes": receipt["passes"]}
    ignored = [
        f"{name}={given[name]}"
        for name, value in saved.items()
        if given.get(name) not in (None, "auto") and given[name] != value
    ]
    if ignored:
        warn_caller(
            CheckpointWarning(
                f"The checkpoint's block_rows={saved['block_rows']} and passes={saved['passes']} are used, "
                f"not {', '.join(ignored)}: they decide the last bits."
            )
        )
    backend = given.get("backend")
    how, name = requested_backend(backend)
    if name == AUTO or (how == "default" and receipt["backend"] in registry()):
        backend = receipt["backend"]
    return cast(ObjectiveOptions, {**given, **saved, "backend": backend})


def fit_identity(objective: Objective, method: Method, seed: int | None) -> dict[str, Any]:
    """Return what must be the same for a checkpoint to belong to a fit."""
    receipt = objective.receipt
    return {
        "data_digest": receipt.data_digest,
        "n_samples": objective.n_samples,
        "n_visible": objective.n_visible,
        "n_hidden": objective.n_hidden,
        **objective.settings.to_dict(),
        "dtype": receipt.dtype,
        "backend": receipt.backend,
        "distribution": receipt.distribution,
        "distribution_version": receipt.distribution_version,
        "method": method.name,
        "seed": seed,
    }


def check_identity(path: Path, saved: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Raise `CheckpointError` with every difference between the fit that was saved and this one."""
    differences = [
        "the data are not the same"
        if name == "data_digest"
        else f"{name} is {here[name]!r} here and {saved.get(name)!r} in the checkpoint"
        for name in here
        if saved.get(name) != here[name]
    ]
    if differences:
        raise CheckpointError(
            f"{path} belongs to another fit: {'; '.join(differences)}. "
            f"Give the same data and settings, or another file to start afresh."
        )


def is_same_fit(header: Mapping[str, Any], here: Mapping[str, Any], method: Method) -> bool:
    """Whether a fit in memory has the data, settings and optimiser of this one; both may begin at any parameters."""
    saved = header["identity"]
    same = all(saved.get(name) == value for name, value in here.items() if name != "seed")
    return same and header["method"] == describe(method)


def resumed_method(path: Path, header: Mapping[str, Any], given: Method) -> Method:
    """Return the optimiser with the settings of the checkpoint.

    Raises
    ------
    CheckpointError
        When they are no settings of this optimiser.

    Warns
    -----
    CheckpointWarning
        When others were given.
    """
    saved = dict(header["method"])
    if saved == describe(given):
        return given
    try:
        default, method = get_method(given.name), get_method(**saved)
    except (ParameterError, TypeError) as error:
        raise CheckpointError(
            f"The settings of the optimiser in the checkpoint {path}, {printable(saved)}, cannot be used: "
            f"{printable(error)}"
        ) from error
    if given != default:
        warn_caller(
            CheckpointWarning(f"The optimiser's settings are those of the checkpoint, {saved}, not {describe(given)}.")
        )
    return method


def planned_epochs(path: Path, header: Mapping[str, Any], method: Method, max_iter: int) -> int:
    """Return the number of epochs that the saved fit was planned for, which decides its schedules.

    Raises
    ------
    CheckpointError
        When more are asked for and the learning rate is 0 by then.
    """
    planned, decay = int(header["planned"]), method.settings().get("decay", 0.0)
    if decay > 0 and max_iter > planned:
        raise CheckpointError(
            f"max_iter={max_iter} exceeds the {planned} epochs that the fit of the checkpoint {path} was planned "
            f"for, at the end of which its learning rate is 0 (decay={decay:g}). Resume with max_iter={planned}, or "
            f"begin a new fit at the result: initial=result."
        )
    return planned


def plan_notes(header: Mapping[str, Any], settings: ModelSettings, max_iter: int) -> list[str]:
    """Return what differs from a fit that was planned for `max_iter` epochs from its start."""
    planned = header["planned"]
    if not settings.aux or settings.dead_after is not None or max_iter == planned:
        return []
    return [f"dead_after is still that of the {planned} epochs that the fit was planned for, not of {max_iter}."]


def resume_notes(header: Mapping[str, Any], now: Receipt, method: Method) -> list[str]:
    """Return what may make the bits differ from those of a fit that never stopped."""
    then = header["receipt"]
    notes = [f"Resumed at iteration {header['iteration']}."]
    if now.threading in ("blas", "own") and then["threads_granted"] != now.threads_granted:
        notes.append(
            f"Resumed with {now.threads_granted} threads after {then['threads_granted']}: "
            f"the last bits of backend {now.backend!r} may depend on that."
        )
    before, here = then["versions"], now.versions
    notes += [
        f"{name} is {here.get(name)} and was {before.get(name)}: the last bits may differ."
        for name in sorted({*before, *here})
        if before.get(name) != here.get(name)
    ]
    again = then.get("choices") and then.get("choices") == dict(now.choices)
    notes += [
        f"The last bits may differ from here: before, the receipt said: {note}"
        for note in then["notes"]
        if note.startswith(LAST_BITS) and note not in now.notes and not again
    ]
    if not method.resumes_exactly:
        notes.append(f"{method.name} keeps its state to itself: it started afresh from the parameters saved.")
    return notes
