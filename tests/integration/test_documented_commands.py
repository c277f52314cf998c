"""Every command that the documents print is one that the program takes."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cmbnet.cli import group

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("*/README.md"), *ROOT.glob("docs/**/*.md"),
     *ROOT.glob("deploy/*/README.md"), ROOT / "benchmarks/cohort.sh"]
)  # fmt: skip
ENTRY_POINTS = {"cmbnet": [], "cmbnet-train": ["train"], "cmbnet-export": ["export"]}
FENCE = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def shell_lines(document: Path) -> Iterator[str]:
    """Lines of the shell blocks of a document, or of a script; continued lines are joined."""
    text = document.read_text(encoding="utf-8")
    blocks = FENCE.findall(text) if document.suffix == ".md" else [text]
    for block in blocks:
        yield from block.replace("\\\n", " ").splitlines()


def commands(document: Path) -> Iterator[list[str]]:
    """Arguments of every call of cmbnet, the name of the entry point taken off."""
    for line in shell_lines(document):
        # "$ " of a transcript, and variables that are set for the command alone.
        words = shlex.split(line.strip().removeprefix("$ "), comments=True)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        name = words[0].removeprefix(".venv/bin/") if words else ""
        if name in ENTRY_POINTS:
            ends = [n for n, word in enumerate(words) if word in {"|", ">", "&&", ";", "||", "&"}]
            yield ENTRY_POINTS[name] + words[1 : ends[0] if ends else None]


def parse(arguments: list[str]) -> None:
    """Find the command and let it read its options; nothing is run and no file is looked for.

    Raises:
        click.UsageError: There is no such command or option, or an option lacks its value.
    """
    command: click.Command = group
    context = click.Context(command, info_name="cmbnet")
    while isinstance(command, click.Group) and arguments and not arguments[0].startswith("-"):
        name, arguments = arguments[0], arguments[1:]
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"no such command: {name}")
        command, context = found, click.Context(found, info_name=name, parent=context)
    _, left_over, _ = command.make_parser(context).parse_args(list(arguments))
    if [word for word in left_over if not word.startswith("$")]:  # a script's variables may be
        raise click.UsageError(f"unexpected arguments: {left_over}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documented_commands_are_taken(document: Path) -> None:
    for arguments in commands(document):
        try:
            parse(arguments)
        except click.UsageError as error:
            pytest.fail(
                f"{document.name}: cmbnet {shlex.join(arguments)}: {error.format_message()}"
            )


def test_the_documents_hold_commands() -> None:
    found = [arguments for document in DOCUMENTS for arguments in commands(document)]
    assert len(found) > 15
    assert {"predict", "phantom", "train", "export", "evaluate"} <= {line[0] for line in found}


@pytest.mark.parametrize(
    "line",
    [
        ["fly", "scan.nii.gz"],
        ["predict", "scan.nii.gz", "--wings"],
        ["predict", "-o"],
        ["backends", "models/all"],
    ],
)
def test_a_command_that_does_not_exist_is_noticed(line: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(line)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_documented_make_targets_exist(document: Path) -> None:
    known = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in shell_lines(document):
        words = shlex.split(line, comments=True)
        if words[:1] == ["make"]:
            assert set(words[1:]) <= known, f"{document.name}: {line}"
