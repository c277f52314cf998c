"""Each option's help can be understood alone: it is there, and it is a sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click
import pytest

from cmbnet.cli import group


def commands(found: click.Command, name: str = "cmbnet") -> Iterator[tuple[str, click.Command]]:
    yield name, found
    if isinstance(found, click.Group):
        context = click.Context(found)
        for child in found.list_commands(context):
            one = found.get_command(context, child)
            assert one is not None
            yield from commands(one, f"{name} {child}")


ALL = dict(commands(group))


@pytest.mark.parametrize("name", ALL)
def test_a_command_and_each_of_its_options_have_help(name: str) -> None:
    command = ALL[name]
    assert command.help
    assert command.help.split("\n\n")[0].rstrip().endswith(".")
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            text = re.sub(r"\s*\[default: [^]]*\]$", "", option.help or "")
            assert text.endswith("."), f"{name} {option.opts[0]}: {text!r}"
            assert len(text.split()) >= 4, f"{name} {option.opts[0]}: {text!r}"
            assert not re.match(r"(Of|The same|As in|Instead) ", text), f"{name} {option.opts[0]}"
