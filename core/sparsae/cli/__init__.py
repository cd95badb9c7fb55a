"""The `sparsae` command: parses, calls, prints; no logic of its own.

Each command lives in a module of its own, which is imported when the command is used,
so that ``sparsae --help`` loads click and nothing heavier.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import click

from sparsae.errors import SparsaeError
from sparsae.version import __version__

# command: (module in this package, one line of help)
COMMANDS = {
    "train": ("train", "Train a sparse autoencoder."),
    "encode": ("model", "Write the hidden activations of data."),
    "reconstruct": ("model", "Write what the model makes of data."),
    "plot": ("model", "Draw the learned features or the cost curve."),
    "info": ("model", "Say what a model file holds."),
    "backends": ("backends", "List the backends, or say everything about one."),
    "check": ("backends", "Prove that a backend is right."),
    "new-backend": ("backends", "Write a new backend that installs and passes."),
    "bench": ("bench", "Race the backends fairly."),
    "doctor": ("doctor", "Say what this machine does to your numbers."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module and return it."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"sparsae.cli.{COMMANDS[cmd_name][0]}")
        command: click.Command = getattr(module, cmd_name.replace("-", "_"))
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
            from difflib import get_close_matches

            near = get_close_matches(name, COMMANDS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else "."
            raise click.UsageError(f"No command {name!r}{hint} Commands: {', '.join(COMMANDS)}.", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="sparsae")
@click.option("--disable", multiple=True, metavar="NAME", help="Do without this backend; may be repeated.")
@click.pass_context
def cli(ctx: click.Context, *, disable: tuple[str, ...]) -> None:
    """Train sparse autoencoders on the CPU, with the backend of your choice."""
    if disable:  # by the environment, so that processes which measure do without it too
        before = os.environ.get("SPARSAE_DISABLE")
        os.environ["SPARSAE_DISABLE"] = ",".join([*disable, before or ""])
        ctx.call_on_close(lambda: _restore("SPARSAE_DISABLE", before))


def _restore(name: str, value: str | None) -> None:
    """Give an environment variable back."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def main(args: list[str] | None = None) -> None:
    """Run the command; a user's mistake is one line and exit code 2, never a traceback."""
    try:
        code: Any = cli.main(args=args, prog_name="sparsae", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)
        hint = f" (see {context.command_path} --help)" if context is not None else ""
        click.echo(f"Error: {' '.join(error.format_message().split())}{hint}", err=True)
        sys.exit(2)
    except SparsaeError as error:
        click.echo(f"Error: {' '.join(str(error).split())}", err=True)
        sys.exit(2)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        sys.stderr.close()
        sys.exit(141)
    sys.exit(code if isinstance(code, int) else 0)
