"""The Python blocks of the documentation run as they stand, in order, on a phantom scan."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from cmbnet.io import write_nifti
from cmbnet.phantom import make_case

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(?!>>> )(.*?)^```", re.MULTILINE | re.DOTALL)
"""Not those of docs/metrics.md, a transcript: tests/unit/evaluation/test_docs.py runs it."""


def blocks(page: Path) -> list[str]:
    return BLOCK.findall(page.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phantom with a procedural head, which passes the quality gate."""
    file = tmp_path_factory.mktemp("scan") / "scan.nii.gz"
    phantom = make_case(11, positive=True, anatomy="procedural")
    write_nifti(phantom.image, file, dtype=np.int16)
    return file


def test_the_pages_hold_python() -> None:
    with_python = {page.relative_to(ROOT).as_posix() for page in PAGES if blocks(page)}
    assert {"README.md", "docs/tutorials/predict.md", "docs/tutorials/evaluate.md",
            "docs/dicom.md", "docs/phantom.md"} <= with_python  # fmt: skip


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page)], ids=lambda p: p.stem)
def test_python_of_a_page_runs(page: Path, scan: Path, tmp_path: Path,
                               monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scan.nii.gz").write_bytes(scan.read_bytes())
    names: dict[str, object] = {}
    for number, block in enumerate(blocks(page)):
        exec(compile(block, f"{page.name}, block {number + 1}", "exec"), names)
