"""Options of `sparsae train` that say what is trained; what is left out follows the activation."""

from __future__ import annotations

import click

from sparsae.cli.options import Decorated, add_options

ACTIVATIONS = ("sigmoid", "relu", "topk", "batchtopk", "jumprelu")
MODEL_OPTIONS = (
    *("activation", "k", "rho", "beta", "l1", "l1_weighted", "l0", "bandwidth", "aux", "k_aux", "dead_after"),
    *("pre_bias", "unit_norm", "init", "output", "weight_decay"),
)


def model_options(command: Decorated) -> Decorated:
    """Add the options; each is None where it is left out."""
    return add_options(
        command,
        click.option("--activation", type=click.Choice(ACTIVATIONS), help="Hidden unit [default: sigmoid]."),
        click.option("--k", type=int, help="Activations kept in a row, of topk and batchtopk."),
        click.option("--rho", type=float, help="Sparsity target of sigmoid units [default: 0.01]."),
        click.option("--beta", type=float, help="Weight of the sparsity term of sigmoid units [default: 3]."),
        click.option("--l1", type=float, help="Weight of the activations of relu units."),
        click.option("--l1-weighted/--no-l1-weighted", default=None, help="Weight them by decoder columns too."),
        click.option("--l0", type=float, help="Weight of the number of active jumprelu units."),
        click.option("--bandwidth", type=float, help="Where thresholds of jumprelu units have a gradient."),
        click.option("--aux", type=float, help="Weight of the loss that revives dead topk units [default: 1/32]."),
        click.option("--k-aux", type=int, help="Activations of dead units in a row of that loss."),
        click.option("--dead-after", type=int, help="Rows without activity after which a unit is dead."),
        click.option("--pre-bias/--no-pre-bias", default=None, help="Subtract the decoder's bias from the input."),
        click.option("--unit-norm/--no-unit-norm", default=None, help="Keep decoder columns at unit length."),
        click.option("--init", type=click.Choice(["uniform", "transpose"]), help="Starting weights."),
        click.option("--output", type=click.Choice(["sigmoid", "linear"]), help="Output unit."),
        click.option("--weight-decay", type=float, help="Weight of the weight decay."),
    )
