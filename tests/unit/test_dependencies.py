"""What ``pip install cmbnet`` brings is what the core imports: a light install stays light."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
IMPORT_NAMES = {"ai-edge-litert": "ai_edge_litert", "pillow": "PIL", "pyyaml": "yaml"}
WITH_EXTRAS = {"training", "deploy", "model", "edge"}
"""Rooms that need an extra; what only they import belongs to it."""


def core_requirements() -> list[str]:
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    block = re.search(r"install_requires=\[(.*?)\n    \]", setup, re.DOTALL)
    assert block is not None
    return re.findall(r'^\s+"([a-zA-Z0-9-]+)>=', block[1], re.MULTILINE)


@pytest.fixture(scope="module")
def core_source() -> str:
    package = ROOT / "cmbnet"
    files = [
        file
        for file in package.rglob("*.py")
        if file.relative_to(package).parts[0] not in WITH_EXTRAS
    ]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


@pytest.mark.parametrize("requirement", core_requirements())
def test_the_core_imports_what_it_requires(requirement: str, core_source: str) -> None:
    module = IMPORT_NAMES.get(requirement, requirement)
    assert re.search(rf"^\s*(from|import) {module}\b", core_source, re.MULTILINE), (
        f"{requirement} belongs to an extra"
    )


def test_requirements_were_found() -> None:
    assert {"numpy", "scipy", "click"} <= set(core_requirements())


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (["prepare", "spec.yaml", "--root", ".", "-o", "cache"], "train"),
        (["train", "recipe.yaml", "--data", ".", "-o", "run"], "train"),
        (["check-data", "spec.yaml", "--root", "."], "train"),
        (["edge", "check", "edge.yaml"], "edge"),
    ],
)
def test_a_command_says_which_extra_it_needs(words: list[str], extra: str, tmp_path: Path) -> None:
    light = "import sys; sys.modules.update(dict.fromkeys(('yaml', 'h5py', 'pynetdicom')))"
    done = subprocess.run(
        [sys.executable, "-c", f"{light}; from cmbnet.cli import main; main()", *words],
        capture_output=True, text=True, cwd=tmp_path, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert f"is not installed: pip install 'cmbnet[{extra}]'" in done.stderr
