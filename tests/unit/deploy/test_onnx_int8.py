"""ONNX files in 8 bits: near the float network, float where they say so, with weights that fit."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.deploy.correction import logit_shift
from cmbnet.deploy.onnx import run_onnx, to_onnx
from cmbnet.deploy.onnx_int8 import to_int8, with_logit_shift
from cmbnet.model import ModelConfig

SHAPE = (48, 40)


def stacks(n: int, seed: int) -> NDArray[np.float32]:
    image = np.random.default_rng(seed).uniform(0.5, 0.7, (n, *SHAPE, 3)).astype(np.float32)
    image[:, 10:14, 20:24] = 0.1
    return image


@pytest.fixture(scope="module")
def plain() -> bytes:
    """A network whose answers spread over 0 to 1, and whose equal biases are stored once."""
    import keras

    from cmbnet.model.unet import build_unet

    model = build_unet(ModelConfig(channels=(8, 12, 12, 12), skip="add", up_kernel=1), (*SHAPE, 3))
    head = model.get_layer("head_conv")
    kernel = np.random.default_rng(0).normal(0, 1, (1, 1, 8, 1))
    head.set_weights([kernel, np.zeros(1)])
    logits = np.asarray(keras.Model(model.input, head.output)(stacks(4, 1)))
    spread = float(logits.std())
    head.set_weights([kernel / spread, np.array([-np.median(logits) / spread])])
    return to_onnx(model)


@pytest.fixture(scope="module")
def fast(plain: bytes) -> bytes:
    return to_int8(plain, stacks(4, 1), symmetric=False)


@pytest.fixture(scope="module")
def near(plain: bytes) -> bytes:
    return to_int8(plain, stacks(4, 1), symmetric=False, full_resolution=False)


def graph_of(content: bytes) -> Any:
    import onnx

    return onnx.shape_inference.infer_shapes(onnx.load_from_string(content)).graph


def kernels(content: bytes) -> dict[str, bool]:
    """Whether each convolution's weights are 8 bits, by its name."""
    graph = graph_of(content)
    made_by = {name: node for node in graph.node for name in node.output}
    return {
        node.name: node.input[1] in made_by and made_by[node.input[1]].op_type == "DequantizeLinear"
        for node in graph.node
        if node.op_type == "Conv"
    }


def test_all_but_the_last_are_8_bits_or_those_below_full_resolution(
    fast: bytes, near: bytes
) -> None:
    assert Counter(kernels(fast).values()) == {True: 27, False: 1}
    # At full resolution: first, three and three of a residual block, after upsampling, head.
    assert Counter(kernels(near).values()) == {True: 19, False: 9}


def test_for_tensorrt_all_but_the_last_are_8_bits_and_symmetric(plain: bytes) -> None:
    import onnx

    content = to_int8(plain, stacks(4, 1), symmetric=True)
    assert Counter(kernels(content).values()) == {True: 27, False: 1}
    zero_points = [
        onnx.numpy_helper.to_array(tensor)
        for tensor in graph_of(content).initializer
        if tensor.name.endswith("zero_point")
    ]
    assert {array.dtype.name for array in zero_points} == {"int8"}
    assert not any(array.any() for array in zero_points)


def on_openvino(content: bytes, probe: NDArray[np.float32]) -> NDArray[np.float32]:
    import openvino as ov

    model = ov.Core().read_model(io.BytesIO(content))
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(probe)[0])[..., 0]


@pytest.mark.parametrize("run", [run_onnx, on_openvino])
def test_answers_are_near_on_other_stacks(
    plain: bytes, fast: bytes, near: bytes, run: Callable[..., NDArray[np.float32]]
) -> None:
    probe = stacks(3, 2)
    expected = run_onnx(plain, probe)
    assert 0.2 < (expected > 0.5).mean() < 0.8
    errors = [float(np.abs(run(content, probe) - expected).mean()) for content in (fast, near)]
    assert errors[1] < errors[0] < 0.03
    assert errors[1] < 0.015


def test_fitted_weights_are_nearer_than_rounded_ones(
    plain: bytes, fast: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = stacks(3, 2)
    expected = run_onnx(plain, probe)
    monkeypatch.setattr("cmbnet.deploy.onnx_int8._fit_weights", lambda *_: None)
    rounded = to_int8(plain, stacks(4, 1), symmetric=False)
    errors = [float(np.abs(run_onnx(c, probe) - expected).mean()) for c in (fast, rounded)]
    assert errors[0] < errors[1]


def test_a_shift_of_the_logits_is_that_and_nothing_else(plain: bytes, fast: bytes) -> None:
    probe = stacks(2, 3)
    for content in (plain, fast):
        before = run_onnx(content, probe)
        after = run_onnx(with_logit_shift(content, 0.25), probe)
        np.testing.assert_allclose(
            np.log(after / (1 - after)) - np.log(before / (1 - before)), 0.25, atol=1e-3
        )
        assert logit_shift(before, after) == pytest.approx(0.25, abs=1e-3)
