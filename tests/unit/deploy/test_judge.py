"""A file in 8 bits that fails its gate is calibrated again, a few times and no more."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cmbnet.bundle import Artefact, NewArtefact, load_bundle, write_bundle
from cmbnet.deploy.gate import GateResult, ParityFailed
from cmbnet.deploy.judge import Judge, accepted, require_passed
from tests.helpers.tiny_bundle import spec

FIRST = NewArtefact(
    file="a.tflite", content=b"0", kind="litert", precision="int8", shape=(1, 96, 96, 3)
)

NUMBERS = [name for name in GateResult.__slots__ if name not in ("flips", "faults")]


@pytest.mark.parametrize(
    ("fails", "most", "content", "passed", "calibrations"),
    [
        (0, 3, b"0", True, None),
        (1, 3, b"1", True, 2.0),
        (2, 3, b"2", True, 3.0),
        (9, 3, b"1", False, 3.0),  # none passes: the nearest is kept
        (2, 2, b"1", False, 2.0),
        (1, 1, b"0", False, None),  # one attempt: nothing is made again
    ],
)
def test_what_fails_is_made_again_and_counted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails: int,
    most: int,
    content: bytes,
    passed: bool,
    calibrations: float | None,
) -> None:
    bundle = write_bundle(tmp_path, spec=spec(), artefacts=[FIRST])
    judge = Judge(bundle, (), print, calibrations=most)

    def verdict(_: Judge, artefact: Artefact) -> dict[str, float | bool | str]:
        n = int((tmp_path / artefact.file).read_bytes())
        return {"passed": n >= fails, "lesions_differing": float((3, 2, 8)[n])}

    monkeypatch.setattr(Judge, "verdict", verdict)
    done = judge.judge_file("a.tflite", lambda _, n: replace(FIRST, content=str(n).encode()))
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
    done = judge.judge_file("a.tflite", lambda *_: None)
    assert dict(done.parity) == {"passed": False}


@pytest.mark.parametrize(
    ("fails_on", "asked", "passed"),
    [
        ("", ["onnx", "openvino"], True),
        ("onnx", ["onnx"], False),
        ("openvino", ["onnx", "openvino"], False),
    ],
)
def test_the_first_runtime_that_a_file_fails_on_decides(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fails_on: str,
    asked: list[str],
    passed: bool,
) -> None:
    file = replace(FIRST, file="a.onnx", kind="onnx")
    bundle = write_bundle(tmp_path, spec=spec(), artefacts=[file])
    seen: list[str] = []
    lines: list[str] = []

    def compare(_: Judge, artefact: Artefact, runtime: str) -> GateResult:
        seen.append(runtime)
        faults, flips = (("bad",), ("scan 1, only by Keras",)) if runtime == fails_on else ((), ())
        numbers = dict.fromkeys(NUMBERS, 1)
        return GateResult(**numbers, flips=flips, faults=faults)

    monkeypatch.setattr("cmbnet.deploy.judge._runtimes", lambda _: ("onnx", "openvino"))
    monkeypatch.setattr(Judge, "compare", compare)
    verdict = Judge(bundle, (), lines.append).verdict(bundle.manifest.artefacts[0])
    assert seen == asked
    assert verdict["passed"] is passed
    assert ("openvino_passed" in verdict) is ("openvino" in asked)
    assert ("  scan 1, only by Keras" in lines) is bool(fails_on)


def test_a_failure_says_what_is_usable_and_what_to_do(tmp_path: Path) -> None:
    failed = replace(FIRST, parity={"passed": False})
    good = replace(FIRST, file="b.tflite", precision="float32", parity={"passed": True})
    with pytest.raises(ParityFailed) as caught:
        require_passed([failed, good], tmp_path)
    (line,) = str(caught.value).splitlines()
    assert "failed for a.tflite;" in line
    assert f"{tmp_path} is written" in line
    assert "b.tflite passed and will be used" in line
    assert "allow the failure" in line
    with pytest.raises(ParityFailed, match="Keras will be used"):
        require_passed([failed], tmp_path)


def test_what_passed_was_not_run_or_was_accepted_is_no_failure(tmp_path: Path) -> None:
    failed = replace(FIRST, parity={"passed": False})
    verdicts: list[dict[str, float | bool | str]] = [{"passed": True}, {"passed": "not run"}]
    fine = [replace(FIRST, parity=verdict) for verdict in verdicts]
    require_passed([*fine, accepted(failed)], tmp_path)
    assert [accepted(new) for new in fine] == fine
