"""A file in 8 bits that fails its gate is calibrated again, a few times and no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cmbnet.bundle import Artefact, NewArtefact, load_bundle, write_bundle
from cmbnet.deploy.judge import MOST_CALIBRATIONS, Judge
from tests.tiny_bundle import spec

FIRST = NewArtefact(
    file="a.tflite", content=b"0", kind="litert", precision="int8", shape=(1, 96, 96, 3)
)


@pytest.mark.parametrize(
    ("fails", "content", "passed", "calibrations"),
    [
        (0, b"0", True, None),
        (1, b"1", True, 2.0),
        (2, b"2", True, 3.0),
        (9, b"1", False, float(MOST_CALIBRATIONS)),  # none passes: the nearest is kept
    ],
)
def test_what_fails_is_made_again_and_counted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: int,
    content: bytes,
    passed: bool,
    calibrations: float | None,
) -> None:
    judge = Judge(write_bundle(tmp_path, spec=spec(), artefacts=[FIRST]), (), print)

    def verdict(_: Judge, artefact: Artefact) -> dict[str, float | bool | str]:
        n = int((tmp_path / artefact.file).read_bytes())
        return {"passed": n >= fails, "lesions_differing": float((3, 2, 8)[n])}

    monkeypatch.setattr(Judge, "verdict", verdict)
    done = judge.settled("a.tflite", lambda _, n: replace(FIRST, content=str(n).encode()))
    assert done.content == content
    assert done.parity["passed"] is passed
    assert done.parity.get("calibrations") == calibrations
    load_bundle(tmp_path).verify()
    assert done.parity["lesions_differing"] == (3, 2, 8)[int(content)]


def test_what_can_be_made_in_one_way_only_fails_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge = Judge(write_bundle(tmp_path, spec=spec(), artefacts=[FIRST]), (), print)
    monkeypatch.setattr(Judge, "verdict", lambda *_: {"passed": False})
    done = judge.settled("a.tflite", lambda *_: None)
    assert dict(done.parity) == {"passed": False}
