"""An export converts, judges and writes; what fails is marked; nothing is half-written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmbnet.backends import open_backend
from cmbnet.bundle import Bundle, NewArtefact, load_bundle, write_bundle
from cmbnet.deploy.bundles import CannotWrite
from cmbnet.deploy.convert import ExportPlan
from cmbnet.deploy.export import export_bundle, load_for_export
from cmbnet.deploy.gate import ParityFailed
from cmbnet.deploy.samples import Samples, phantom_slices
from cmbnet.deploy.savedmodel import open_savedmodel
from cmbnet.errors import BundleError, UsageError
from tests.helpers.tiny_bundle import (
    SLOPE,
    dot_finder,
    dotted_slices,
    expected_probabilities,
    spec,
    write_tiny_bundle,
)

SAMPLES = Samples(anatomy="procedural", positives=1, controls=1, calibration=1)
PLAN = ExportPlan(formats=("savedmodel", "litert", "onnx"), samples=SAMPLES)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A bundle that holds the network and nothing else."""
    folder = tmp_path_factory.mktemp("source")
    dot_finder(96).save(folder / "net.keras")
    network = NewArtefact(
        file="model.keras",
        content=(folder / "net.keras").read_bytes(),
        kind="keras",
        precision="float32",
        shape=(1, 96, 96, 3),
    )
    return write_bundle(folder / "bundle", spec=spec(), artefacts=[network])


@pytest.fixture(scope="module")
def exported(source: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    lines: list[str] = []
    done = export_bundle(source, tmp_path_factory.mktemp("out") / "copy", PLAN, report=lines.append)
    assert sum("parity passed" in line for line in lines) == 4  # ONNX on two runtimes
    return done


def test_every_artefact_is_there_with_hash_tools_and_parity(
    source: Bundle, exported: Bundle
) -> None:
    exported.verify()
    kinds = {(a.kind, a.precision) for a in exported.manifest.artefacts}
    assert kinds == {(k, "float32") for k in ("keras", "savedmodel", "litert", "onnx")}
    for artefact in exported.manifest.artefacts:
        if artefact.kind != "keras":
            assert artefact.parity["passed"] is True
            assert artefact.parity["lesions_reference"] == artefact.parity["lesions_artefact"]
            assert artefact.parity["lesions_reference"] != 0, "nothing found proves nothing"
            assert artefact.tools
    assert len(source.manifest.artefacts) == 1, "the source of a copy stays as it was"
    assert load_bundle(source.path).sha256 == source.sha256


@pytest.mark.parametrize("name", ["litert", "onnx", "openvino", "savedmodel"])
def test_every_artefact_computes_the_network(exported: Bundle, name: str) -> None:
    stacks = dotted_slices(3, 96)
    if name == "savedmodel":
        backend = open_savedmodel(exported, exported.artefacts(name))
    else:
        backend = open_backend(exported, name, threads=1)  # type: ignore[assignment]
    answer = backend.predict(stacks)
    backend.close()
    np.testing.assert_allclose(answer, expected_probabilities(stacks), rtol=0, atol=1e-4)


def another_network(*_: Any, **__: Any) -> bytes:
    """What a broken converter would write: the network with another bias."""
    from cmbnet.deploy.litert import to_litert

    model = dot_finder(96)
    kernel, bias = model.get_layer("darkness").get_weights()
    model.get_layer("darkness").set_weights([kernel, bias - np.float32(SLOPE)])
    return to_litert(model)


def test_a_failed_gate_fails_the_export_and_marks_the_artefact(
    source: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = another_network()
    monkeypatch.setattr("cmbnet.deploy.litert.to_litert", lambda *_, **__: wrong)
    plan = ExportPlan(formats=("litert",), samples=SAMPLES)
    with pytest.raises(ParityFailed, match=r"float32-1x96x96.tflite.*allow the failure"):
        export_bundle(source, tmp_path / "failed", plan, report=lambda _: None)
    (marked,) = load_bundle(tmp_path / "failed").artefacts("litert")
    assert marked.parity["passed"] is False
    assert "lesions" in str(marked.parity["faults"])
    assert open_backend(load_bundle(tmp_path / "failed"), threads=1).info.name == "keras"
    done = export_bundle(
        source, tmp_path / "allowed", plan, allow_failure=True, report=lambda _: None
    )
    (allowed,) = done.artefacts("litert")
    assert (allowed.parity["passed"], allowed.parity["failure_allowed"]) == (False, True)


def test_where_it_must_not_write_it_says_so_first(source: Bundle, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="new or empty folder"):
        export_bundle(source, tmp_path / "full", PLAN, report=lambda _: None)
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotWrite, match="cannot be written"):
        export_bundle(source, tmp_path / "file" / "out", PLAN, report=lambda _: None)


def test_no_space_leaves_nothing(
    source: Bundle, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import errno

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("cmbnet.deploy.bundles.write_bytes_atomically", full)
    with pytest.raises(CannotWrite, match="No space left"):
        export_bundle(
            source,
            tmp_path / "out",
            ExportPlan(formats=("litert",), samples=SAMPLES),
            report=lambda _: None,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_without_the_network_or_with_another_hash_is_refused(
    source: Bundle, tmp_path: Path
) -> None:
    only_litert = write_tiny_bundle(tmp_path / "litert")
    with pytest.raises(UsageError, match="no keras:float32 artefact to export from"):
        export_bundle(only_litert, tmp_path / "out", PLAN, report=lambda _: None)
    for name in ("bundle.json", "model.keras"):
        (tmp_path / name).write_bytes((source.path / name).read_bytes())
    content = bytearray((source.path / "model.keras").read_bytes())
    content[100] ^= 1
    (tmp_path / "model.keras").write_bytes(content)
    with pytest.raises(BundleError, match="sha256"):
        load_for_export(str(tmp_path))


class Elsewhere(Samples):
    """Tells where its scans are made."""

    def judged(self) -> Any:
        return os.getpid()


def test_life_size_scans_are_made_by_another_process() -> None:
    places: list[Any] = []
    for samples in (Elsewhere(), Elsewhere(anatomy="procedural")):
        with samples.judged_meanwhile() as made:
            places.append(made())
    assert places[0] not in (None, os.getpid())
    assert places[1] == os.getpid(), "tiny ones are there before a process is"


def test_calibration_is_what_the_network_sees(source: Bundle) -> None:
    cases = SAMPLES.calibrating()
    stacks = phantom_slices(source, SAMPLES, print)((96, 96), 0)
    assert stacks.dtype == np.float32
    assert stacks.shape[1:] == (96, 96, 3)
    assert 0 <= stacks.min() <= stacks.max() <= 1
    dark = [float(stack[40:56, 40:56, 1].mean()) for stack in stacks]
    assert len(set(dark)) > 4, "different slices"
    judged = SAMPLES.judged()
    assert not {case.name for case in judged} & {f"phantom {case.seed}" for case in cases}
    assert (judged[0].lesions > 0).any()
    assert not (judged[1].lesions > 0).any()
