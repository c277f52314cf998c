"""TensorRT-RTX builds engines in every precision, without a GPU; TensorRT says why it cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmbnet.deploy.onnx import ConversionFailed, to_float16, to_onnx
from cmbnet.deploy.onnx_int8 import to_int8
from cmbnet.deploy.tensorrt import EngineRequest, build_engine, choose_flavor, gpu_fault
from cmbnet.errors import MissingExtra, UsageError
from cmbnet.model import ModelConfig

REQUEST = EngineRequest("rtx", "float32", batches=(1, 2, 4), capabilities=("SM86", "SM89"))


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    from cmbnet.model.unet import build_unet

    plain = to_onnx(build_unet(ModelConfig(channels=(4, 8, 8, 8)), (32, 32, 3)))
    stacks = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)
    return {
        "float32": plain,
        "float16": to_float16(plain),
        "int8": to_int8(plain, stacks, symmetric=True),
    }


@pytest.mark.parametrize(
    ("precision", "kind"), [("float32", "FLOAT"), ("float16", "HALF"), ("int8", "INT8")]
)
def test_an_engine_is_built_in_the_precision_asked_for(
    files: dict[str, bytes], precision: str, kind: str
) -> None:
    engine = build_engine(files[precision], replace(REQUEST, precision=precision))
    assert len(engine.content) > 100_000
    report = json.loads(engine.report_bytes())
    assert report["notice"].startswith("Research use only")
    assert report["compute_capabilities"] == ["SM86", "SM89"]
    assert report["memory_bytes"]["Total Activation Memory"] > 0
    convolutions = [layer for layer in report["layers"] if layer["type"] == "CONVOLUTION"]
    assert len(convolutions) == 28
    types = {out["dtype"] for layer in report["layers"] for out in layer["outputs"]}
    assert kind in types
    assert engine.tools["batches"] == "1,2,4"
    assert engine.tools["targets"] == "SM86,SM89"
    assert engine.tools["tensorrt-rtx"] == report["version"]


def test_int8_must_be_symmetric(files: dict[str, bytes]) -> None:
    stacks = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    unsigned = to_int8(files["float32"], stacks, symmetric=False)
    with pytest.raises(ConversionFailed, match="TensorRT"):
        build_engine(unsigned, replace(REQUEST, precision="int8"))


def test_hopper_and_nonsense_are_no_targets(files: dict[str, bytes]) -> None:
    for wrong in (("SM90",), ("SM86", "RTX"), ()):
        with pytest.raises(UsageError, match=r"compiles for .*SM86.*; got"):
            build_engine(files["float32"], replace(REQUEST, capabilities=wrong))


def test_what_is_no_onnx_file_is_refused(files: dict[str, bytes]) -> None:
    with pytest.raises(ConversionFailed, match="does not read the ONNX file"):
        build_engine(files["float32"][:200], REQUEST)


@pytest.mark.skipif(gpu_fault() is None, reason="this machine has a GPU")
def test_without_a_gpu_rtx_is_chosen_and_datacenter_explained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert choose_flavor("auto") == "rtx"
    assert choose_flavor("rtx") == "rtx"
    with pytest.raises(UsageError, match="flavor must be"):
        choose_flavor("jetson")
    askers = ("cmbnet.deploy.tensorrt.find_spec", "cmbnet.errors.find_spec")
    for asker in askers:
        monkeypatch.setattr(asker, lambda name: name == "tensorrt")
    with pytest.raises(UsageError, match=r"on a GPU, and there is none here .*flavor rtx"):
        choose_flavor("datacenter")
    for asker in askers:
        monkeypatch.setattr(asker, lambda name: None)
    with pytest.raises(MissingExtra, match=r"cmbnet\[tensorrt\]"):
        choose_flavor("datacenter")
    with pytest.raises(MissingExtra, match=r"cmbnet\[rtx\]"):
        choose_flavor("auto")


def test_a_timing_cache_is_for_data_centres_only(files: dict[str, bytes], tmp_path: Path) -> None:
    cache = tmp_path / "timing.cache"
    build_engine(files["float32"], replace(REQUEST, timing_cache=cache))
    assert not cache.exists()
