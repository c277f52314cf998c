"""The library speaks to whoever calls it; only the command line knows flags."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import cmbnet
from cmbnet.cli import with_flag
from cmbnet.errors import CmbnetError, InputRefused, UsageError

PACKAGE = Path(cmbnet.__file__).parent
FLAG = re.compile(r"(?<![\w-])(--[a-z][a-z-]+|-o)(?![\w-])")
OF_OTHER_PROGRAMS = {"--force-reinstall", "--raw"}
"""Of pip and gdcmconv."""


def texts(file: Path) -> Iterator[str]:
    """All strings of a module but its docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    documentation = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node not in documentation:
            yield str(node.value)


def test_the_library_names_no_flags() -> None:
    named = {
        f"{file.relative_to(PACKAGE)}: {flag}"
        for file in sorted(PACKAGE.rglob("*.py"))
        if "cli" not in file.relative_to(PACKAGE).parts and file.stem not in ("page", "html")
        for text in texts(file)
        for flag in FLAG.findall(text)
        if flag not in OF_OTHER_PROGRAMS
    }
    assert not named


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UsageError("a plain one"), "a plain one"),
        (InputRefused("holds 3 images", argument="frame"), "holds 3 images (--frame)"),
        (UsageError("no root", argument="repeated_patients"), "no root (--repeated-patients)"),
        (CmbnetError("is taken", argument="output"), "is taken (-o)"),
    ],
)
def test_the_command_line_adds_the_flag(error: CmbnetError, line: str) -> None:
    assert with_flag(str(error), error.argument) == line
