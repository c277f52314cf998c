"""Which backend is opened, and the sentence that says why."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from cmbnet.backends import available_backends, open_backend
from cmbnet.backends.registry import RUNTIMES, BrokenRuntime
from cmbnet.bundle import Bundle, NewArtefact, write_bundle
from cmbnet.errors import MissingExtra, UsageError
from tests.helpers.tiny_bundle import spec

LITERT = NewArtefact(
    file="a.tflite", content=b"a", kind="litert", precision="float32", shape=(1, 96, 96, 3)
)
INT8 = replace(LITERT, file="b.tflite", precision="int8", parity={"passed": True})
ONNX = replace(LITERT, file="c.onnx", kind="onnx")


def bundle_of(folder: Path, *artefacts: NewArtefact) -> Bundle:
    return write_bundle(folder, spec=spec(), artefacts=artefacts)


def test_the_documents_list_the_backends_of_the_table() -> None:
    page = Path(__file__).parents[3] / "docs" / "explanation" / "architecture.md"
    row = re.search(r"one file for each runtime: ([\w, ]+) \(", page.read_text(encoding="utf-8"))
    assert row is not None
    named = [words.split()[0].lower() for words in row[1].split(", ")]
    assert named == [*RUNTIMES, "triton"]


def test_auto_prefers_litert_int8(tmp_path: Path) -> None:
    backend = open_backend(bundle_of(tmp_path, ONNX, LITERT, INT8))
    assert (backend.info.name, backend.info.precision) == ("litert", "int8")
    assert backend.info.reason == (
        "automatic: the first choice that runs here; none was measured yet"
    )
    assert backend.info.threads >= 1


def test_auto_passes_over_what_failed_parity(tmp_path: Path) -> None:
    failed = replace(INT8, parity={"passed": False})
    bundle = bundle_of(tmp_path, LITERT, failed)
    assert open_backend(bundle).info.precision == "float32"
    assert open_backend(bundle, "litert:int8").info.precision == "int8"


@pytest.mark.parametrize("parity", [{}, {"passed": "not run"}, {"max_difference": 0.001}])
def test_int8_that_was_never_judged_is_taken_only_by_name(
    tmp_path: Path, parity: dict[str, float | bool | str]
) -> None:
    unjudged = replace(INT8, parity=parity)
    bundle = bundle_of(tmp_path / "both", LITERT, unjudged)
    assert open_backend(bundle).info.precision == "float32"
    assert open_backend(bundle, "litert").info.precision == "float32"
    assert open_backend(bundle, "litert:int8").info.precision == "int8"
    alone = bundle_of(tmp_path / "alone", unjudged)
    for name in ("auto", "litert"):
        words = "to choose unasked .litert:int8 did not pass the parity gate.*ask for it by name"
        with pytest.raises(UsageError, match=words):
            open_backend(alone, name)


def test_auto_passes_over_a_backend_that_has_nothing_for_large_heads(tmp_path: Path) -> None:
    small = replace(LITERT, file="s.tflite", shape=(1, 64, 64, 3))
    backend = open_backend(bundle_of(tmp_path, small, ONNX))
    assert (backend.info.name, backend.shapes) == ("openvino", ((96, 96),))


def test_auto_passes_over_a_precision_that_has_nothing_for_large_heads(tmp_path: Path) -> None:
    small = replace(INT8, file="s.tflite", shape=(1, 64, 64, 3), parity={"passed": True})
    failed = replace(INT8, parity={"passed": False})
    backend = open_backend(bundle_of(tmp_path, LITERT, small, failed))
    assert (backend.info.precision, backend.shapes) == ("float32", ((96, 96),))
    passed = replace(INT8, parity={"passed": True})
    backend = open_backend(bundle_of(tmp_path / "both", LITERT, small, passed))
    assert (backend.info.precision, backend.shapes) == ("int8", ((64, 64), (96, 96)))


def test_auto_takes_what_failed_parity_and_was_allowed(tmp_path: Path) -> None:
    allowed = replace(INT8, parity={"passed": False, "failure_allowed": True})
    backend = open_backend(bundle_of(tmp_path / "allowed", LITERT, allowed))
    assert backend.info.precision == "int8"
    backend.close()


def test_auto_says_what_it_passed_over(tmp_path: Path) -> None:
    backend = open_backend(bundle_of(tmp_path, ONNX))
    assert backend.info.name == "openvino"
    assert backend.info.reason == (
        "automatic: the first choice that runs here; none was measured yet; "
        "litert finds no artefact"
    )


def test_auto_passes_over_what_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = replace(RUNTIMES["openvino"], package="no_such_package")
    monkeypatch.setitem(RUNTIMES, "openvino", missing)
    bundle = bundle_of(tmp_path, ONNX)
    assert open_backend(bundle).info.name == "onnx"
    assert open_backend(bundle).info.reason.endswith("openvino is not installed")
    with pytest.raises(MissingExtra, match=r"pip install 'cmbnet\[openvino\]'"):
        open_backend(bundle, "openvino")
    status = {s.name: s for s in available_backends()}
    assert not status["openvino"].installed
    assert "pip install 'cmbnet[openvino]'" in status["openvino"].detail
    assert status["litert"].detail.startswith("ai-edge-litert ")


def test_a_package_that_does_not_import_is_said_and_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "half_installed.py").write_text("raise OSError('libhalf.so: not found')\n")
    monkeypatch.syspath_prepend(tmp_path)
    broken = replace(RUNTIMES["openvino"], package="half_installed", imports="half_installed")
    monkeypatch.setitem(RUNTIMES, "openvino", broken)
    bundle = bundle_of(tmp_path / "bundle", ONNX)
    with pytest.raises(BrokenRuntime, match=r"not import \(OSError: libhalf.so: not found\): pip"):
        open_backend(bundle, "openvino")
    automatic = open_backend(bundle)
    assert automatic.info.name == "onnx"
    assert "openvino is broken (openvino is installed but" in automatic.info.reason
    (status,) = (s for s in available_backends(importing=True) if s.name == "openvino")
    assert status.broken
    assert "libhalf.so" in status.detail


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tpu", f"must be auto or one of {', '.join(RUNTIMES)}, got 'tpu'"),
        ("litert:int4", "precision must be one of int8, float32, float16, got 'int4'"),
        ("keras", "bundle dot-finder has nothing for keras; it has litert:float32"),
        ("litert:int8", "has nothing for litert:int8; it has litert:float32"),
        ("auto:int8", "no backend runs bundle dot-finder here: litert finds no artefact; "),
    ],
)
def test_what_cannot_be_opened_is_said(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_backend(bundle_of(tmp_path, LITERT), name)


def test_at_least_one_thread(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one thread is required, got 0"):
        open_backend(bundle_of(tmp_path, LITERT), threads=0)
