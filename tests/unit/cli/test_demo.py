"""``cmbnet demo`` says of each lesion whether it was found, missed or made up."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import cmbnet.phantom
from cmbnet import RESEARCH_USE_ONLY
from cmbnet.bundle import Bundle
from cmbnet.cli.demo import command
from tests.helpers.tiny_scan import DOTS, SHAPE, tiny_scan


def test_found_missed_and_false(
    tiny_bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two dots are true, one dot is none, and one true lesion has no dot."""

    def make_case(seed: int, *, positive: bool, anatomy: str, protocol: str | None) -> Any:
        assert (seed, positive, anatomy, protocol) == (3, True, "procedural", None)
        scan = tiny_scan()
        labels = np.zeros(SHAPE, np.uint16)
        for label, (z, y, x) in enumerate((*DOTS[:2], (18, 44, 44)), start=1):
            labels[z : z + 2, y : y + 4, x : x + 4] = label
        return SimpleNamespace(
            image=scan,
            lesions=scan.with_data(labels),
            ignore=scan.with_data(np.zeros(SHAPE, np.uint8)),
            phase=None,
        )

    monkeypatch.setattr(cmbnet.phantom, "make_case", make_case)
    out = tmp_path / "demo"
    arguments = ["-o", str(out), "--seed", "3", "--model", str(tiny_bundle.path)]
    done = CliRunner().invoke(command, [*arguments, "--anatomy", "procedural"])
    assert done.exit_code == 0, done.output
    assert "2 found, 1 missed, 1 false, 0 too faint" in done.output
    assert "the scan is called positive" in done.output
    assert str(out / "prediction" / "report.html") in done.output
    assert RESEARCH_USE_ONLY in done.output
    assert {file.name for file in out.iterdir()} == {"phantom.nii.gz", "truth.nii.gz", "prediction"}
    table = [line for line in done.output.splitlines() if "│" in line]
    verdicts = [line.split("│")[1].strip() for line in table]
    assert [v for v in verdicts if v] == ["found", "found", "missed", "false"]
