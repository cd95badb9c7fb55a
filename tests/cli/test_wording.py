"""Messages of the library in the words of the command line."""

from __future__ import annotations

import re

import click
import pytest

from sparsae.cli import COMMANDS, cli
from sparsae.cli.command import Command
from sparsae.cli.train import train
from sparsae.cli.wording import in_option_words


@pytest.mark.parametrize(
    ("library", "command_line"),
    [
        ("n_hidden must be at least 1, not 0.", "--hidden must be at least 1, not 0."),
        ("a larger max_iter, with initial=result, goes on", "a larger --max-iter, with --initial MODEL, goes on"),
        ("c exists; resume=True (--resume) goes on", "c exists; --resume goes on"),
        ("use --force (force=True).", "use --force."),
        ("block_rows=64 and passes=2 are used", "--block-rows 64 and --passes 2 are used"),
        ("rho must lie between 0 and 1", "--rho must lie between 0 and 1"),
        ("a seed must be a number", "a seed must be a number"),  # a word of the language stays
        ("activation='topk' needs k, the number", "--activation 'topk' needs --k, the number"),
        (
            "k does not belong to activation='relu'; its keywords are activation, pre_bias, l1.",
            "--k does not belong to --activation 'relu'; its keywords are --activation, --pre-bias, --l1.",
        ),
        ("There is no file n_hidden.npy", "There is no file n_hidden.npy"),
        ("the data/max_iter folder, my_max_iter, max_iter_2", "the data/max_iter folder, my_max_iter, max_iter_2"),
        ("column 'n_hidden' has text", "column 'n_hidden' has text"),
        ("max_iter == 3 or max_iter", "--max-iter == 3 or --max-iter"),
        ("the seed.", "the seed."),
        ("or unit_norm=False.", "or --no-unit-norm."),
        ("resume=False begins anew", "no --resume begins anew"),
        ("nothing=here", "nothing=here"),
        ("say --header or --no-header (header=True or False in Python).", "say --header or --no-header."),
    ],
)
def test_arguments_become_options(library: str, command_line: str) -> None:
    """Arguments with values, flags, names with an underscore; not file names, not what is in quotes."""
    assert in_option_words(library, train.params) == command_line


def test_a_command_without_options_says_what_the_library_says() -> None:
    """Nothing to replace."""
    assert in_option_words("max_iter=3", []) == "max_iter=3"


def test_every_option_of_train_is_in_one_group_of_its_help() -> None:
    """A new option must be put somewhere."""
    assert isinstance(train, Command)
    grouped = [name for names in train.groups.values() for name in names]
    options = [param.name for param in train.params if isinstance(param, click.Option)]
    assert sorted(grouped) == sorted(filter(None, options))


def test_every_command_shows_examples() -> None:
    """Each example in the help starts with the command itself, or with what calls it."""
    context = click.Context(cli)
    for name in COMMANDS:
        command = cli.get_command(context, name)
        assert isinstance(command, Command)
        assert command.examples, name
        for line in command.examples:
            assert f"sparsae {name}" in line
            assert len(line) <= 77, line
        text = command.get_help(click.Context(command))
        assert all(f"\n  {line}\n" in f"{text}\n" for line in command.examples)
        assert not re.search(r"^  [A-Z]+$", text, re.MULTILINE)  # arguments are in the first line
