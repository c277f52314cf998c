"""Faults that end a command are a line and an exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from cmbnet.cli import main


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a path that cannot be a folder")
def test_a_fault_of_the_file_system_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Such as a cohort of phantoms on a full disk."""
    with pytest.raises(SystemExit) as ended:
        main(["phantom", "-o", "/dev/full/cohort", "--anatomy", "procedural"])
    assert ended.value.code == 4
    said = capsys.readouterr().err
    assert said.startswith("cmbnet: /dev/full/cohort")
    assert said.count("\n") == 1
