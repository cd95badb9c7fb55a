"""Names of the Python interface in messages become the options that the command line has for them."""

from __future__ import annotations

import re
from collections.abc import Iterable

import click

_FOR_PYTHON = re.compile(r" \([^()]* in Python\)")  # what a message adds for those who call the library
# What the library calls by one name and the command line by another.
_EXPRESSIONS = {"initial=result": "--initial MODEL", "sparsae.save(path, result)": "-o FILE"}
# Where a name that could be a word of the language is an argument: what a message is about, asks for, or lists.
_ABOUT = "(?= (?:must|does not belong) )"
_LISTED = re.compile(r"(?<=; its keywords are )[\w, -]+(?=\.)")


def in_option_words(message: str, params: Iterable[click.Parameter]) -> str:
    """Return a message in which arguments of the Python interface are the options of a command.

    ``max_iter=5`` becomes ``--max-iter 5``, ``resume=True`` becomes ``--resume`` and ``unit_norm=False`` becomes
    ``--no-unit-norm`` where the command has that.
    A name that stands alone is replaced where it cannot be a word of the language: where it has an underscore, where
    the message begins with it ("rho must", "k does not belong"), needs it, or lists it among keywords.
    File names and what stands in quotes are left as they are; "(... in Python)" is left out.

    Parameters
    ----------
    message : str
    params : iterable of click.Parameter
        Of the command.
    """
    found_options = [param for param in params if isinstance(param, click.Option) and param.name]
    options = {_longest(option).strip("-").replace("-", "_"): option for option in found_options}  # as in "format"
    options |= {option.name: option for option in found_options if option.name}
    message = _FOR_PYTHON.sub("", message)
    for expression, words in _EXPRESSIONS.items():
        message = message.replace(expression, words)
    if not options:
        return message
    names = "|".join(sorted(map(re.escape, options), key=len, reverse=True))
    pattern = re.compile(
        rf"(?<![\w.'\"/-])(?P<name>{names})"  # not a part of a file name, not in quotes
        rf"(?:(?P<set>=)(?:(?P<truth>(?:True|False)\b)|(?=[^\s=]))|(?![\w'\"/=-]|\.\w))"
    )

    def option_word(found: re.Match[str]) -> str:
        name = found["name"]
        option = _longest(options[name])
        if not found["set"]:
            return option if "_" in name else name
        if found["truth"] == "False":
            return next(iter(options[name].secondary_opts), f"no {option}")
        return option if found["truth"] else f"{option} "

    def listed(found: re.Match[str]) -> str:
        return re.sub(rf"(?<![\w-])(?:{names})(?![\w-])", lambda name: _longest(options[name[0]]), found[0])

    worded = _LISTED.sub(listed, pattern.sub(option_word, message))
    worded = re.sub(
        rf"^(?:{names}){_ABOUT}|(?<=' needs )(?:{names})(?=,)", lambda name: _longest(options[name[0]]), worded
    )
    return re.sub(r"(--[\w-]+) \(\1\)", r"\1", worded)  # where the message gives both names


def _longest(option: click.Option) -> str:
    """Return the long form of an option."""
    return max(option.opts, key=len)
