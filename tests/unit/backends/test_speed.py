"""What was measured of the backends: how it is kept, and what `auto` makes of it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.backends import measure, open_backend, speed
from cmbnet.backends.measure import measure_once, speeds_of
from cmbnet.backends.registry import OVERRULE, RUNTIMES, contest_here
from cmbnet.backends.speed import SLICES, Contest, Speed, keep, keep_checked, read_checked
from cmbnet.bundle import Bundle, NewArtefact, write_bundle
from tests.helpers.tiny_bundle import litert_artefacts, spec

LITERT = NewArtefact(
    file="a.tflite", content=b"a", kind="litert", precision="float32", shape=(1, 96, 96, 3)
)
ONNX = replace(LITERT, file="c.onnx", kind="onnx")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of its own for each test."""
    folder = tmp_path / "home"
    monkeypatch.setattr(speed, "cache_folder", lambda: folder)
    monkeypatch.setattr("os.getloadavg", lambda: (0.5, 20.0, 20.0))
    return folder


@pytest.fixture
def both(tmp_path: Path) -> Bundle:
    return write_bundle(tmp_path / "both", spec=spec(), artefacts=[LITERT, ONNX])


def contest_of(bundle: Bundle) -> Contest:
    found = contest_here(bundle, 2)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("speeds", "name", "words"),
    [
        ({}, "litert", "none was measured yet"),
        ({"litert": (40.0, 0.0), "openvino": (16.0, 100.0)}, "openvino", "16.0 ms a slice"),
        # 75 slices: 3,000 ms against 2,250 + 800, and against 2,250 + 400
        ({"litert": (40.0, 0.0), "openvino": (30.0, 800.0)}, "litert", "no other .* clearly"),
        ({"litert": (40.0, 0.0), "openvino": (30.0, 400.0)}, "openvino", "30.0 ms a slice"),
        ({"litert": (40.0, 0.0), "onnx": (30.0, 0.0)}, "onnx", "30.0 ms a slice"),
        ({"openvino": (30.0, 0.0)}, "openvino", "30.0 ms a slice"),
    ],
)
def test_auto_takes_what_is_clearly_quicker_for_a_scan(
    home: Path, both: Bundle, speeds: dict[str, tuple[float, float]], name: str, words: str
) -> None:
    assert SLICES == 75
    keep(contest_of(both).file, {n: Speed(*values) for n, values in speeds.items()})
    backend = open_backend(both, threads=2)
    assert backend.info.name == name
    assert re.search(words, backend.info.reason)
    assert open_backend(both, threads=3).info.name == "litert"  # other threads, other figures
    assert open_backend(both, "auto:float32", threads=2).info.name == "litert"


def test_what_could_not_be_measured_is_not_taken(home: Path, both: Bundle) -> None:
    faults = {"openvino": Speed(fault="it crashed"), "litert": Speed(40, 0)}
    keep(contest_of(both).file, faults)
    assert open_backend(both, threads=2).info.name == "litert"
    keep(contest_of(both).file, dict.fromkeys(faults, Speed(fault="it crashed")))
    assert open_backend(both, threads=2).info.name == "litert"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"7", b'{"litert": {}}', b'{"litert": 3}',
                b'{"litert": {"ms_per_slice": "x", "start_ms": 1, "fault": ""}}'],
)  # fmt: skip
def test_a_damaged_file_is_as_none(home: Path, both: Bundle, content: bytes) -> None:
    file = contest_of(both).file
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    assert contest_of(both).speeds == {}
    assert open_backend(both, threads=2).info.name == "litert"


def test_another_processor_model_or_version_is_measured_anew(
    home: Path, both: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = {contest_of(both).file, contest_of(replace(both, sha256="0" * 64)).file}
    monkeypatch.setattr(speed, "processor", lambda: ("x86_64", "another"))
    files.add(contest_of(both).file)
    monkeypatch.setattr("cmbnet.backends.registry.version", lambda _: "0.0")
    files.add(contest_of(both).file)
    assert len(files) == 4


def test_the_processor_is_named_by_what_does_not_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speed, "CPUINFO", tmp_path / "cpuinfo")
    text = "processor\t: 0\nmodel name\t: Some CPU\ncpu MHz\t\t: {}\nflags\t\t: fpu avx512_vnni\n\n"
    (tmp_path / "cpuinfo").write_text(2 * text.format(2400.5))
    first = speed.processor()
    (tmp_path / "cpuinfo").write_text(2 * text.format(3100.0))
    assert speed.processor() == first
    assert first[1:] == ("model name\t: Some CPU", "flags\t\t: fpu avx512_vnni")
    (tmp_path / "cpuinfo").unlink()
    assert len(speed.processor()) == 3


def test_the_environment_overrules_what_was_measured(
    home: Path, both: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(contest_of(both).file, {"litert": Speed(40, 0), "openvino": Speed(10, 0)})
    monkeypatch.setenv(OVERRULE, "onnx")
    info = open_backend(both, threads=2).info
    assert (info.name, info.reason) == ("onnx", "asked for by CMBNET_BACKEND: onnx")
    assert open_backend(both, "litert", threads=2).info.reason == "asked for: litert"


def test_what_does_not_contend_is_not_chosen_for_its_speed(
    home: Path, both: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    everybody = contest_of(both).names
    monkeypatch.setitem(RUNTIMES, "onnx", replace(RUNTIMES["onnx"], contends=False))
    assert contest_of(both).names == tuple(name for name in everybody if name != "onnx")


def test_nothing_is_measured_where_there_is_no_choice(
    home: Path, tmp_path: Path, both: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "measure", lambda *_, **__: pytest.fail("it was measured"))
    assert not measure_once(write_bundle(tmp_path / "one", spec=spec(), artefacts=[LITERT]))
    assert contest_here(write_bundle(tmp_path / "two", spec=spec(), artefacts=[LITERT]), 1) is None
    for name in ("openvino", "onnx"):
        missing = replace(RUNTIMES[name], package="no_such_package")
        monkeypatch.setitem(RUNTIMES, name, missing)
    assert not measure_once(both, threads=2)
    assert not home.exists()


def test_nothing_is_measured_twice_or_where_nothing_can_be_kept(
    home: Path, both: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def speeds(*_: object, **__: object) -> dict[str, Speed]:
        calls.append(1)
        return {"litert": Speed(2, 3)}

    calls: list[int] = []
    monkeypatch.setattr(measure, "measure", speeds)
    home.parent.mkdir(exist_ok=True)
    home.write_text("a file, not a folder")
    assert not measure_once(both, threads=2)
    assert not calls
    home.unlink()
    assert measure_once(both, threads=2)
    assert not measure_once(both, threads=2)
    assert len(calls) == 1


def test_nothing_is_measured_on_a_busy_machine(
    home: Path, both: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure, "measure", lambda *_, **__: pytest.fail("it was measured"))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("os.getloadavg", lambda: (8.1, 0.0, 0.0))
    assert not measure_once(both, threads=2)


def test_only_one_process_measures_at_a_time(
    home: Path, both: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock of another is left when its process is killed."""
    monkeypatch.setattr(measure, "measure", lambda *_, **__: {"litert": Speed(2, 3)})
    file = contest_of(both).file
    file.parent.mkdir(parents=True)
    code = (
        "import sys, time, filelock\n"
        "with filelock.FileLock(sys.argv[1]):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(file.with_suffix(".lock"))]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        assert not measure_once(both, threads=2)
        other.kill()
    assert measure_once(both, threads=2)


def test_a_measurement_that_crashes_is_kept_as_a_fault(
    home: Path, both: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    assert measure_once(both, threads=2)
    speeds = contest_of(both).speeds
    assert {s.fault[:22] for s in speeds.values()} == {"the measurement failed"}
    assert not measure_once(both, threads=2)


def test_real_backends_are_measured_and_a_broken_one_is_said(home: Path, tmp_path: Path) -> None:
    artefacts = [*litert_artefacts((64,)), replace(ONNX, shape=(1, 64, 64, 3), content=b"no ONNX")]
    bundle = write_bundle(tmp_path / "real", spec=spec(), artefacts=artefacts)
    speeds = speeds_of(bundle, ("litert", "onnx"), threads=2)
    assert speeds["litert"].ms_per_slice > 0
    assert speeds["litert"].start_ms > 0
    assert "c.onnx is no ONNX model" in speeds["onnx"].fault
    found = measure.measure(bundle, contest_of(bundle), threads=2)
    assert found["litert"].fault == ""
    assert "c.onnx" in found["openvino"].fault


def test_bytes_are_kept_behind_their_hash(tmp_path: Path) -> None:
    file = tmp_path / "new" / "file"
    assert read_checked(file) is None
    keep_checked(file, b"content")
    assert read_checked(file) == b"content"
    for damaged in (b"", file.read_bytes()[:-1], file.read_bytes()[:20], b"x" * 100):
        file.write_bytes(damaged)
        assert read_checked(file) is None
    keep_checked(file / "below a file", b"content")


def test_a_compiled_model_is_kept_and_gives_the_same(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cmbnet.backends.openvino.cache_folder", lambda: home)
    stacks = np.random.default_rng(0).random((5, 64, 64, 3), np.float32)
    content = _mean_of_slices(64)
    artefact = replace(ONNX, content=content, shape=(None, 64, 64, 3))
    bundle = write_bundle(tmp_path / "bundle", spec=spec(), artefacts=[artefact])

    def answer() -> NDArray[np.float32]:
        backend = open_backend(bundle, "openvino", threads=2)
        try:
            return backend.predict(stacks)
        finally:
            backend.close()

    first = answer()
    np.testing.assert_allclose(first, stacks.mean(axis=3), rtol=0, atol=1e-6)
    (blob,) = (home / "openvino").iterdir()
    before = blob.stat().st_mtime_ns
    np.testing.assert_array_equal(answer(), first)
    assert blob.stat().st_mtime_ns == before
    keep_checked(blob, b"of another build")
    np.testing.assert_array_equal(answer(), first)
    assert len(blob.read_bytes()) > 1000


def _mean_of_slices(size: int) -> bytes:
    """An ONNX network that answers with the mean of the three slices."""
    from onnx import TensorProto, helper

    node = helper.make_node("ReduceMean", ["stack"], ["probability"], axes=[3], keepdims=1)
    tensors = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size, size, channels])
        for name, channels in (("stack", 3), ("probability", 1))
    ]
    graph = helper.make_graph([node], "mean", tensors[:1], tensors[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content
