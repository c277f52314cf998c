"""``cmbnet backends``: what it says of the speed of the backends, and when it measures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from cmbnet.backends import measure, registry, speed
from cmbnet.backends.speed import Speed
from cmbnet.bundle import Bundle, NewArtefact, write_bundle
from cmbnet.cli import group
from tests.helpers.tiny_bundle import spec

SPEEDS = {"litert": Speed(42.5, 150), "openvino": Speed(16.5, 400), "onnx": Speed(fault="no file")}


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bundle:
    monkeypatch.setattr(registry, "import_runtime", lambda _: None)  # tensorflow takes seconds
    litert = NewArtefact(
        file="a.tflite", content=b"a", kind="litert", precision="float32", shape=(1, 64, 64, 3)
    )
    artefacts = [litert, replace(litert, file="a.onnx", kind="onnx")]
    return write_bundle(tmp_path / "bundle", spec=spec(), artefacts=artefacts)


def test_it_measures_once_and_says_what_auto_takes(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def measured(bundle: Bundle, _: object) -> dict[str, Speed]:
        calls.append(bundle.sha256)
        return SPEEDS

    monkeypatch.setattr(measure, "measure", measured)
    monkeypatch.setattr(speed, "cache_folder", lambda: tmp_path / "cache")

    def lines(*arguments: str) -> list[str]:
        done = CliRunner().invoke(group, ["backends", "--model", str(bundle.path), *arguments])
        assert done.exit_code == 0, done.output
        return done.output.splitlines()

    first = lines()
    assert any(line.endswith(": 42.5 ms a slice, ready in 0.15 s") for line in first)
    assert any(line.startswith("onnx ") and line.endswith(": no file") for line in first)
    assert (
        "model dot-finder runs on openvino float32 "
        "(automatic: measured the quickest here, 16.5 ms a slice)" in first
    )
    assert lines() == first
    assert len(calls) == 1
    assert lines("--measure") == first
    assert len(calls) == 2


def test_it_says_that_a_measurement_cannot_be_kept(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "measure", lambda *_: SPEEDS)
    done = CliRunner().invoke(group, ["backends", "--model", str(bundle.path)])
    assert done.exit_code == 0, done.output
    assert "the measurement cannot be kept" in done.output
    assert "42.5 ms a slice" in done.output
