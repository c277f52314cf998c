"""Each gate of ``make lint`` is fed a fault and must fail: a gate that nothing trips is none."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The package and the tool settings, to be spoilt."""
    shutil.copytree(ROOT / "cmbnet", tmp_path / "cmbnet", ignore=shutil.ignore_patterns("*.tflite"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_ruff_refuses_a_print_and_a_mutable_default(checkout: Path) -> None:
    fault = checkout / "cmbnet" / "fault.py"
    fault.write_text('"""A fault."""\n\n\ndef f(a=[]):\n    """Do."""\n    print(a)\n')
    result = run(BIN / "ruff", "check", fault, cwd=checkout)
    assert result.returncode == 1
    assert "B006" in result.stdout
    assert "T201" in result.stdout


def test_ruff_format_refuses_another_layout(checkout: Path) -> None:
    fault = checkout / "cmbnet" / "fault.py"
    fault.write_text("x = {'a':1}\n")
    assert run(BIN / "ruff", "format", "--check", fault, cwd=checkout).returncode == 1


def test_mypy_refuses_an_untyped_function_and_a_wrong_argument(checkout: Path) -> None:
    fault = checkout / "fault.py"
    fault.write_text(
        "from cmbnet.errors import MissingExtra\n\n\n"
        "def f(a):\n    raise MissingExtra(1, 'b', 'c')\n"
    )
    result = run(BIN / "mypy", fault, cwd=checkout)
    assert result.returncode == 1
    assert "no-untyped-def" in result.stdout


def spoil(module: Path, statement: str) -> None:
    module.write_text(module.read_text() + f"\n\ndef spoilt():\n    {statement}\n")


def test_import_linter_refuses_tensorflow_in_evaluation_and_an_upward_import(
    checkout: Path,
) -> None:
    assert run(BIN / "lint-imports", cwd=checkout).returncode == 0
    spoil(checkout / "cmbnet" / "evaluation" / "__init__.py", "import tensorflow")
    spoil(checkout / "cmbnet" / "volume.py", "import cmbnet.report")
    result = run(BIN / "lint-imports", cwd=checkout)
    assert result.returncode == 1
    assert "Evaluation is numpy only BROKEN" in result.stdout
    assert "Data flows one way, and so do imports BROKEN" in result.stdout


def test_import_linter_refuses_a_package_that_no_layer_names(checkout: Path) -> None:
    (checkout / "cmbnet" / "newcomer.py").write_text('"""Unlisted."""\n')
    result = run(BIN / "lint-imports", cwd=checkout)
    assert result.returncode == 1
    assert "newcomer" in result.stdout


def test_codespell_refuses_a_typo(checkout: Path) -> None:
    (checkout / "notes.md").write_text("This " + "t" + "eh typo.\n")
    assert run(BIN / "codespell", cwd=checkout).returncode != 0
