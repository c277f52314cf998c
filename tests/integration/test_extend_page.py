"""docs/how-to/extend.md, followed: its files and changes in a copy of the package, its data set."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cmbnet.cli import group
from cmbnet.io import write_nifti
from cmbnet.training.data.cache_index import read_index
from tests.helpers.tiny_scan import DOTS, tiny_scan

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "how-to" / "extend.md").read_text(encoding="utf-8")
BLOCK = re.compile(r'^```(\w+) title="(.+?)"\n(.*?)^```', re.MULTILINE | re.DOTALL)


def changed(text: str, diff: str) -> str:
    """The text after a change that stands once in it."""
    lines = diff.splitlines(keepends=True)
    before = "".join(line[1:] for line in lines if line[0] == " ")
    assert text.count(before) == 1, before
    return text.replace(before, "".join(line[1:] for line in lines))


def write_titled_blocks(folder: Path) -> list[str]:
    """Write the files of the page below a folder, apply its changes there; return the tests."""
    files = []
    for language, name, content in BLOCK.findall(PAGE):
        file = folder / name
        if language == "diff":
            content = changed(file.read_text(encoding="utf-8"), content)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content, encoding="utf-8")
        files.append(name)
    return [name for name in files if name.startswith("tests/")]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for part in ("cmbnet", "tests/helpers"):
        leave = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / part, tmp_path / part, ignore=leave)
    for part in ("tests/conftest.py", "pyproject.toml"):
        shutil.copy(ROOT / part, tmp_path / part)
    return tmp_path


def test_the_rule_and_the_backend_pass_their_tests(checkout: Path) -> None:
    tests = write_titled_blocks(checkout)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tests],
        cwd=checkout, env=os.environ | {"PYTHONPATH": str(checkout)},
        capture_output=True, text=True, timeout=400, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout
    asked = (
        "from cmbnet.backends import available_backends as all_;"
        "from cmbnet.lesions.rules import RULES;"
        "print([one.name for one in (*RULES, *all_())])"
    )
    names = subprocess.run(
        [sys.executable, "-c", asked], cwd=checkout, capture_output=True, text=True, check=True
    ).stdout
    assert "'peak'" in names
    assert "'numpy-zero'" in names


def test_the_data_set_is_checked_and_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for _, name, content in BLOCK.findall(PAGE):
        if name.startswith("toy"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content, encoding="utf-8")
    for number, dots in ((1, DOTS), (2, ()), (3, DOTS[:1])):
        scan, folder = tiny_scan(dots, seed=number), tmp_path / "toy" / f"subj_{number:02d}"
        mask = np.zeros(scan.data.shape, np.uint8)
        for k, j, i in dots:
            mask[k : k + 2, j : j + 4, i : i + 4] = 1
        folder.mkdir()
        write_nifti(scan, folder / "image.nii.gz", dtype=np.float32)
        write_nifti(scan.with_data(mask), folder / "microbleeds.nii.gz", dtype=np.uint8)
    lines = re.findall(r"^cmbnet (.*toy.yaml.*)$", PAGE, re.MULTILINE)
    assert [line.split()[0] for line in lines] == ["check-data", "prepare"]
    for line in lines:
        result = CliRunner().invoke(group, shlex.split(line), env={"COLUMNS": "160"})
        assert result.exception is None, f"{line}: {result.output}{result.exception!r}"
    assert set(read_index(tmp_path / "cache").splits) == {"training", "validation"}
