"""The Triton repository: configurations that Triton's protobuf reads, folders that are whole."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cmbnet.bundle import Bundle, NewArtefact, add_artefacts, load_bundle, write_bundle
from cmbnet.bundle.manifest import ArtefactKind
from cmbnet.deploy.bundles import CannotWrite
from cmbnet.deploy.triton.config import (
    InvalidConfig,
    ServerSettings,
    network_config,
    parse_config,
    read_shapes,
    scan_config,
)
from cmbnet.deploy.triton.repository import write_repository
from cmbnet.deploy.triton.spec import SCAN_INPUTS, SCAN_OUTPUTS
from cmbnet.errors import UsageError
from tests.helpers.tiny_bundle import spec

SHAPES = ((320, 256), (384, 384))


def test_the_scan_model_has_the_tensors_of_the_spec() -> None:
    text = scan_config(SHAPES, ServerSettings(scan_instances=3, max_voxels=7))
    assert text.startswith("# Research use only")
    config = parse_config(text)
    assert (config.name, config.backend, config.max_batch_size) == ("cmbnet", "python", 0)
    for field, tensors in ((config.input, SCAN_INPUTS), (config.output, SCAN_OUTPUTS)):
        assert [(t.name, tuple(t.dims)) for t in field] == [(t.name, t.shape) for t in tensors]
    assert {t.name for t in config.input if not t.optional} == {"AFFINE"}
    assert config.instance_group[0].count == 3
    assert read_shapes(config.parameters["shapes"].string_value) == SHAPES
    assert config.parameters["max_voxels"].string_value == "7"


@pytest.mark.parametrize(
    ("kind", "gpu", "backend", "platform"),
    [
        ("litert", True, "python", ""),  # LiteRT never runs on the GPU
        ("onnx", True, "onnxruntime", "onnxruntime_onnx"),
        ("tensorrt", True, "tensorrt", "tensorrt_plan"),
        ("onnx", False, "onnxruntime", "onnxruntime_onnx"),
    ],
)
def test_the_network_batches_warms_up_and_runs_where_it_should(
    kind: str, gpu: bool, backend: str, platform: str
) -> None:
    config = parse_config(network_config(kind, SHAPES[1:], ServerSettings(gpu=gpu)))  # type: ignore[arg-type]
    assert (config.backend, config.platform, config.max_batch_size) == (backend, platform, 32)
    assert list(config.input[0].dims) == [384, 384, 3]
    assert list(config.output[0].dims) == [384, 384, 1]
    on_gpu = gpu and kind != "litert"
    assert config.instance_group[0].Kind.Name(config.instance_group[0].kind) == (
        "KIND_GPU" if on_gpu else "KIND_CPU"
    )
    assert config.dynamic_batching.max_queue_delay_microseconds == (2000 if on_gpu else 0)
    assert config.HasField("dynamic_batching")
    assert config.version_policy.latest.num_versions == 1
    (warm_up,) = config.model_warmup
    assert list(warm_up.inputs["stack"].dims) == [384, 384, 3]


def test_a_network_of_several_shapes_is_free_and_warmed_up_for_each() -> None:
    config = parse_config(network_config("litert", SHAPES, ServerSettings()))
    assert list(config.input[0].dims) == [-1, -1, 3]
    assert [one.name for one in config.model_warmup] == ["320x256", "384x384"]


@pytest.mark.parametrize("text", ['nam: "x"', 'name: "x" max_batch_size: "many"', "input {"])
def test_what_triton_would_not_read_is_refused(text: str) -> None:
    with pytest.raises(InvalidConfig, match="not a Triton model configuration"):
        parse_config(text)


def test_the_repository_is_whole_and_runs_the_first_precision_that_passed(
    tiny_bundle: Bundle, tmp_path: Path
) -> None:
    folder = tmp_path / "models"
    assert write_repository(tiny_bundle, folder) == "litert"
    files = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    assert files == [
        "cmbnet/1/bundle/bundle.json",
        "cmbnet/1/bundle/int8-96.tflite",
        "cmbnet/1/model.py",
        "cmbnet/config.pbtxt",
        "cmbnet_unet/1/bundle/bundle.json",
        "cmbnet_unet/1/bundle/int8-96.tflite",
        "cmbnet_unet/1/model.py",
        "cmbnet_unet/config.pbtxt",
    ]
    served = load_bundle(folder / "cmbnet" / "1" / "bundle")
    served.verify()
    assert served.manifest.versions["copied_from_sha256"] == tiny_bundle.sha256
    assert served.sha256 == load_bundle(folder / "cmbnet_unet" / "1" / "bundle").sha256
    for model in ("cmbnet", "cmbnet_unet"):
        launcher = (folder / model / "1" / "model.py").read_text()
        compile(launcher, "model.py", "exec")
        assert len(launcher.splitlines()) <= 6
    assert [p.name for p in tmp_path.iterdir()] == ["models"]


def with_networks(folder: Path, *artefacts: NewArtefact) -> Bundle:
    return write_bundle(folder, spec=spec(), artefacts=artefacts)


def network(kind: ArtefactKind, suffix: str, **tools: str) -> NewArtefact:
    content = suffix.encode()
    return NewArtefact(f"net.{suffix}", content, kind, "float16", (None, 96, 96, 3), tools=tools)


def test_a_data_centre_plan_is_preferred_and_a_workstation_engine_never_taken(
    tmp_path: Path,
) -> None:
    onnx = network("onnx", "onnx")
    plan = network("tensorrt", "plan", tensorrt="10.13")
    engine = network("tensorrt", "engine", **{"tensorrt-rtx": "1.7"})
    both = with_networks(tmp_path / "both", onnx, plan)
    assert write_repository(both, tmp_path / "a") == "tensorrt"
    assert (tmp_path / "a" / "cmbnet_unet" / "1" / "model.plan").read_bytes() == b"plan"
    assert not (tmp_path / "a" / "cmbnet_unet" / "1" / "model.py").exists()
    workstation = with_networks(tmp_path / "rtx", onnx, engine)
    assert write_repository(workstation, tmp_path / "b") == "onnx"
    assert (tmp_path / "b" / "cmbnet_unet" / "1" / "model.onnx").read_bytes() == b"onnx"
    with pytest.raises(UsageError, match=r"nothing for a Triton network of kind tensorrt"):
        write_repository(workstation, tmp_path / "c", network="tensorrt")


def test_what_failed_its_gate_is_served_only_when_asked_for(tmp_path: Path) -> None:
    failed = NewArtefact(
        "net.onnx", b"x", "onnx", "int8", (None, 96, 96, 3), parity={"passed": False}
    )
    bundle = with_networks(tmp_path / "bundle", failed)
    with pytest.raises(UsageError, match="nothing for"):
        write_repository(bundle, tmp_path / "out")
    assert write_repository(bundle, tmp_path / "out", precision="int8") == "onnx"
    passed = add_artefacts(
        bundle, [NewArtefact("b.onnx", b"y", "onnx", "float32", (None, 96, 96, 3))]
    )
    write_repository(passed, tmp_path / "other")
    assert (tmp_path / "other" / "cmbnet_unet" / "1" / "model.onnx").read_bytes() == b"y"


@pytest.mark.parametrize("missing", ["failed its gate", "was never made"])
def test_a_repository_that_would_refuse_large_heads_is_not_written(
    tmp_path: Path, missing: str
) -> None:
    """int8 failed at the largest shape: with the small one alone most heads would be refused."""
    network = NewArtefact("s.tflite", b"s", "litert", "int8", (1, 64, 64, 3))
    small = replace(network, parity={"passed": True})
    large = replace(network, file="l.tflite", shape=(1, 96, 96, 3), parity={"passed": False})
    floats = replace(network, file="f.tflite", shape=(1, 96, 96, 3), precision="float32")
    others = [large] if missing == "failed its gate" else []
    bundle = with_networks(tmp_path / "both", small, floats, *others)
    write_repository(bundle, tmp_path / "models")
    served = load_bundle(tmp_path / "models" / "cmbnet" / "1" / "bundle").manifest.artefacts
    assert [(a.precision, a.shape[1]) for a in served] == [("float32", 96)]
    if missing == "was never made":
        with pytest.raises(UsageError, match=r"takes every head; it has litert:float32 96x96, lit"):
            write_repository(bundle, tmp_path / "int8", precision="int8")
        assert not (tmp_path / "int8").exists()
    else:
        write_repository(bundle, tmp_path / "int8", precision="int8")
        alone = with_networks(tmp_path / "alone", small, large)
        with pytest.raises(UsageError, match=r"litert:int8 96x96 \(failed the gate\)"):
            write_repository(alone, tmp_path / "none")


def test_a_folder_in_use_or_beyond_reach_is_refused(tiny_bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("data")
    with pytest.raises(UsageError, match="an empty folder is required"):
        write_repository(tiny_bundle, tmp_path)
    assert (tmp_path / "mine").read_text() == "data"
    with pytest.raises(CannotWrite, match="cannot be written"):
        write_repository(tiny_bundle, tmp_path / "mine" / "models")
