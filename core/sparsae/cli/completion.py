"""`sparsae completion`."""

from __future__ import annotations

import click

from sparsae.cli.command import Command

SHELLS = ("bash", "zsh", "fish")


@click.command(
    cls=Command,
    examples=(
        'eval "$(sparsae completion bash)"   # in ~/.bashrc',
        'eval "$(sparsae completion zsh)"    # in ~/.zshrc',
        "sparsae completion fish | source    # in ~/.config/fish/config.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, *, shell: str) -> None:
    """Print the script with which SHELL completes commands and options of sparsae."""
    from click.shell_completion import get_completion_class

    complete = get_completion_class(shell)
    assert complete is not None
    click.echo(complete(ctx.find_root().command, {}, "sparsae", "_SPARSAE_COMPLETE").source())
