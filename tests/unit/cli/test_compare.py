"""``cmbnet compare``: what it prints, and how it ends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cmbnet.bundle import Bundle
from cmbnet.cli import main
from cmbnet.io import write_nifti
from tests.helpers.tiny_scan import DOTS, tiny_scan


@pytest.fixture
def scans(tmp_path: Path) -> tuple[str, str]:
    later = tiny_scan(DOTS)
    paths = tmp_path / "first.nii.gz", tmp_path / "later.nii.gz"
    write_nifti(tiny_scan(DOTS[:2]), paths[0], dtype=np.float32)
    write_nifti(later.with_data(later.data * 1.01), paths[1], dtype=np.float32)
    return str(paths[0]), str(paths[1])


def run(*args: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["compare", *args, "--backend", "litert:float32", "--threads", "1"])
    assert isinstance(ended.value.code, int)
    return ended.value.code


def test_new_lesions_are_printed_and_files_written(
    scans: tuple[str, str],
    tiny_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert run(*scans, "-o", str(out), "--model", str(tiny_bundle.path)) == 0
    said = capsys.readouterr().out
    assert "later.nii.gz: 1 new, 2 persistent" in said
    assert "ARIA-H by microhaemorrhages: no category: the field strength is unknown" in said
    assert sorted(path.name for path in out.iterdir()) == ["compare.html", "compare.json"]


def test_one_scan_twice_is_refused_and_nothing_is_written(
    scans: tuple[str, str],
    tiny_bundle: Bundle,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert run(scans[0], scans[0], "-o", str(out), "--model", str(tiny_bundle.path)) == 3
    assert "different scans are required to compare, got one scan twice" in capsys.readouterr().err
    assert not out.exists()
