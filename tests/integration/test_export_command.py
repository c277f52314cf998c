"""``cmbnet export`` as people run it: every format, engines without a GPU, a Triton repository."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from cmbnet.bundle import Bundle, NewArtefact, load_bundle, write_bundle
from cmbnet.cli.export import command
from cmbnet.deploy.gate import FLOAT_LIMITS, Limits, ParityFailed
from tests.helpers.tiny_bundle import dot_finder, spec, write_tiny_bundle


def export(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cmbnet", "export", *map(str, arguments)],
        capture_output=True, text=True, timeout=300, cwd=cwd,
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("source")
    dot_finder(96).save(folder / "net.keras")
    content = (folder / "net.keras").read_bytes()
    network = NewArtefact("model.keras", content, "keras", "float32", (1, 96, 96, 3))
    return write_bundle(folder / "bundle", spec=spec(), artefacts=[network])


def test_every_format_is_written_judged_and_served(source: Bundle, tmp_path: Path) -> None:
    out, models = tmp_path / "out", tmp_path / "models"
    done = export(
        source.path, "-o", out, "--savedmodel", "--tflite", "--onnx", "--fp16", "--trt",
        "--flavor", "rtx", "--capability", "SM86", "--triton", models,
        "--anatomy", "procedural", "--parity-cases", "1", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    bundle = load_bundle(out)
    bundle.verify()
    made = {(a.kind, a.precision): a for a in bundle.manifest.artefacts}
    both = [(kind, p) for kind in ("litert", "onnx", "tensorrt") for p in ("float32", "float16")]
    assert set(made) == {("keras", "float32"), ("savedmodel", "float32"), *both}
    for (kind, _), artefact in made.items():
        if kind == "tensorrt":
            assert artefact.parity["passed"] in (True, "not run")
            report = json.loads((out / artefact.companions[0].file).read_text())
            assert report["compute_capabilities"] == ["SM86"]
        elif kind != "keras":
            assert artefact.parity["passed"] is True
    assert (models / "cmbnet_unet" / "1" / "model.py").is_file()
    assert done.stdout.count("parity passed") == 7
    assert "Not a medical device" in done.stdout


@pytest.mark.parametrize("nothing_passes", [False, True])
def test_a_failed_gate_still_writes_the_triton_repository_of_what_passed(
    source: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_passes: bool
) -> None:
    impossible = Limits(differing_fraction=0.0, dice_difference=0.0, recall_drop=0.0)
    limits = {"int8": impossible, "float32": impossible if nothing_passes else FLOAT_LIMITS}
    monkeypatch.setattr("cmbnet.deploy.judge.limits_of", limits.__getitem__)
    out, models = tmp_path / "out", tmp_path / "models"
    done = CliRunner().invoke(
        command,
        [str(source.path), "-o", str(out), "--tflite", "--int8", "--triton", str(models),
         "--anatomy", "procedural", "--parity-cases", "1", "--calibrations", "1"],
    )  # fmt: skip
    assert isinstance(done.exception, ParityFailed)
    assert f"failed for {'float32-1x96x96.tflite, ' if nothing_passes else ''}int8-" in str(
        done.exception
    )
    load_bundle(out).verify()
    if nothing_passes:
        assert "no Triton repository was written: bundle dot-finder has nothing" in str(
            done.exception
        )
        assert not models.exists()
    else:
        assert f"{models}: Triton repository, network by litert in float32" in done.output
        (served,) = load_bundle(models / "cmbnet" / "1" / "bundle").manifest.artefacts
        assert served.precision == "float32"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["default-that-is-not-there", "--onnx"], 4, "no model bundle"),
        (["BUNDLE"], 2, "nothing to export"),
        (
            ["BUNDLE", "--trt", "--flavor", "datacenter", "-o", "new"],
            2,
            "the flavor rtx builds here",
        ),
        (["BUNDLE", "--trt", "--capability", "SM90", "-o", "new"], 2, "compiles for"),
        (["LITERT", "--onnx", "-o", "new"], 2, "no keras:float32 artefact"),
        (["BUNDLE", "--triton", "models"], 2, "nothing for a Triton network"),
        (["BUNDLE", "--onnx", "-o", "."], 2, "new or empty folder"),
        (["BUNDLE", "--onnx", "-o", "new", "--triton", "."], 2, "empty folder is required for the"),
    ],
)
def test_each_refusal_is_one_line_with_its_code(
    source: Bundle, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    if "LITERT" in arguments:
        write_tiny_bundle(tmp_path / "litert")
    places = {"BUNDLE": str(source.path), "LITERT": str(tmp_path / "litert")}
    (tmp_path / "something").write_text("there")
    done = export(*(places.get(word, word) for word in arguments), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert words in last
    assert last.startswith("cmbnet: ")
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "models").exists()
