"""The classes of the commands: help with groups of options and examples; errors in words of the command line."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import click

from sparsae._text import printable, suggest
from sparsae.cli.wording import in_option_words
from sparsae.errors import BackendError, BackendWrongError, ProbeError, SparsaeError

FAILED, MISTAKE = 1, 2
# Failures of a backend or of a process, not of whoever typed the command; subclasses that name a choice are not.
_FAILURES = (BackendError, BackendWrongError, ProbeError)
_OUT_OF = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}


class OutputLostError(Exception):
    """Standard output cannot be written; not an OSError, which click and rich would take for their own affair."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror)
        self.broken_pipe = error.errno == errno.EPIPE


class CommandMistake(click.ClickException):
    """An error of the library that another command line avoids, in the words of the command line."""

    exit_code = MISTAKE

    def format_message(self) -> str:
        """Return the message on one line, without anything that a terminal would obey."""
        return printable(self.message)


class CommandFailure(CommandMistake):
    """An error of the library for which the machine or a backend is the reason."""

    exit_code = FAILED


class Command(click.Command):
    """A command with examples, groups of options, and errors of the library as its own.

    Parameters
    ----------
    *args, **options
        As for `click.Command`.
    examples : sequence of str
        Command lines, shown at the end of the help.
    groups : mapping of str to iterable of str
        Headings of the help, and the options under each by their names in Python; all others come first.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        groups: Mapping[str, Iterable[str]] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(*args, **options)
        self.examples = tuple(examples)
        self.groups = {heading: tuple(names) for heading, names in (groups or {}).items()}

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words; for an option that is not there, name the one that other programs call so.

        An array of standard input, ``-::NAME``, is not an option.
        """
        words = [f"/dev/stdin{word[1:]}" if word.startswith("-:") else word for word in args]
        try:
            return super().parse_args(ctx, words)
        except click.NoSuchOption as error:
            known = [word for param in self.params for word in (*param.opts, *param.secondary_opts)]
            hint = suggest(error.option_name, [word for word in known if word.startswith("--")])
            raise click.UsageError(f"No such option {error.option_name!r}{hint}", ctx) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; errors of the library become errors of the command."""
        try:
            return super().invoke(ctx)
        except SparsaeError as error:
            if isinstance(error.__cause__, BrokenPipeError):  # a file that was written to /dev/stdout
                raise OutputLostError(error.__cause__) from error
            kind = CommandFailure if _is_failure(error) else CommandMistake
            raise kind(in_option_words(str(error), self.params)) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options under their headings."""
        heading_of = {name: heading for heading, names in self.groups.items() for name in names}
        sections: dict[str, list[tuple[str, str]]] = {"Options": [], **{heading: [] for heading in self.groups}}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                sections[heading_of.get(param.name or "", "Options")].append(record)
        general = sections.pop("Options")
        for heading, records in (*sections.items(), ("Options", general)):
            if records:
                with formatter.section(heading):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, one a line, as they would be typed."""
        super().format_epilog(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class Group(Command, click.Group):
    """A command with commands of its own."""

    command_class = Command

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options and the commands."""
        super().format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


def _is_failure(error: BaseException) -> bool:
    """Whether the machine or a backend failed, so that no other command line avoids the error."""
    if type(error) in _FAILURES:
        return True
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in _OUT_OF):
            return True
        cause = cause.__cause__
    return False
