"""The `sparsae` command: parses, calls, prints; no logic of its own.

Each command lives in a module of its own, which is imported when the command is used,
so that ``sparsae --help`` loads click and nothing heavier.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from keyword import iskeyword

import click

from sparsae._text import suggest
from sparsae.cli.command import Group
from sparsae.version import __version__

# command: (module in this package, one line of help)
COMMANDS = {
    "train": ("train", "Train a sparse autoencoder."),
    "encode": ("model", "Write the hidden activations of data."),
    "reconstruct": ("model", "Write what the model makes of data."),
    "evaluate": ("evaluate", "Say how much a model reconstructs, and how often its units are active."),
    "plot": ("model", "Draw the learned features or the cost curve."),
    "export": ("exchange", "Write a model for SAELens or sparsify, or as plain arrays."),
    "import": ("exchange", "Read a model of SAELens, sparsify or dictionary_learning."),
    "info": ("info", "Say what a model file or a checkpoint holds."),
    "backends": ("backends", "List the backends, or say everything about one."),
    "check": ("check", "Prove that a backend is right."),
    "new-backend": ("new_backend", "Write a new backend that installs and passes."),
    "bench": ("bench", "Race the backends fairly."),
    "plan": ("plan", "Predict time and memory on a cluster."),
    "doctor": ("doctor", "Say what this machine does to your numbers."),
    "completion": ("completion", "Print what lets a shell complete the command."),
}
EXAMPLES = (
    "sparsae train digits -o digits.npz",
    "sparsae plot digits.npz",
    "sparsae train measurements.csv --scale --hidden 40",
    "sparsae backends",
)
_COMPLETE = "_SPARSAE_COMPLETE"  # set by a shell that asks for completions


class LazyGroup(Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and return it."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"sparsae.cli.{COMMANDS[cmd_name][0]}")
        attribute = f"{cmd_name}_" if iskeyword(cmd_name) else cmd_name.replace("-", "_")
        command: click.Command = getattr(module, attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list from the table, so that help imports no command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest command when there is none of that name."""
        name = args[0]
        if name not in COMMANDS and not name.startswith("-"):
            raise click.UsageError(
                f"No command {name!r}{suggest(name, COMMANDS)} Commands: {', '.join(COMMANDS)}.", ctx
            )
        return super().resolve_command(ctx, args)


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    examples=EXAMPLES,
)
@click.version_option(__version__, prog_name="sparsae")
@click.option("--disable", multiple=True, metavar="NAME", help="Do without this backend; may be repeated.")
@click.pass_context
def cli(ctx: click.Context, *, disable: tuple[str, ...]) -> None:
    """Train sparse autoencoders on the CPU, with the backend of your choice."""
    from sparsae.cli.report import colours_allowed

    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        ctx.exit(2)
    ctx.color = colours_allowed()
    if disable:
        _check_disabled(disable)
        # by the environment, so that processes which measure do without it too
        before = os.environ.get("SPARSAE_DISABLE")
        os.environ["SPARSAE_DISABLE"] = ",".join([*disable, before or ""])
        ctx.call_on_close(lambda: _restore("SPARSAE_DISABLE", before))


def _check_disabled(names: tuple[str, ...]) -> None:
    """Refuse a name that no backend has: a backend would be used that was to be left out."""
    from sparsae.errors import BackendNotFoundError
    from sparsae.plugins.registry import registry

    known = registry().names()
    for name in names:
        if name not in known:
            raise BackendNotFoundError(
                f"--disable: there is no backend {name!r}{suggest(name, known)} There are {', '.join(known)}."
            )


def _restore(name: str, value: str | None) -> None:
    """Give an environment variable back."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def main(args: list[str] | None = None) -> None:
    """Run the command; a mistake of its user is one line and exit code 2, never a traceback."""
    if os.environ.get(_COMPLETE):
        cli.main(args=args, prog_name="sparsae", complete_var=_COMPLETE)
    from sparsae.cli.process import run

    sys.exit(run(cli, args))
