"""ONNX files compute what Keras computes, on both runtimes, for any batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.backends.keras import KerasNetwork
from cmbnet.deploy import onnx as to
from cmbnet.deploy.source import at_shape
from cmbnet.model import ModelConfig
from cmbnet.model.half_weights import round_to_half

SHAPE = (48, 40)
Run = Callable[[bytes, NDArray[np.float32]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def stacks() -> NDArray[np.float32]:
    return np.random.default_rng(3).random((5, *SHAPE, 3), np.float32)


@pytest.fixture(scope="module")
def network() -> Any:
    """A U-Net of width 4 whose answers spread over 0 to 1."""
    from cmbnet.model.unet import build_unet

    model = build_unet(ModelConfig(channels=(4, 8, 8, 8), lesion_prior=0.4), (64, 64, 3))
    kernel, bias = model.get_layer("head_conv").get_weights()
    spread = np.random.default_rng(0).normal(0, 2, kernel.shape)
    model.get_layer("head_conv").set_weights([spread, bias])
    return at_shape(model, SHAPE)


@pytest.fixture(scope="module")
def plain(network: Any) -> bytes:
    return to.to_onnx(network)


@pytest.fixture(scope="module")
def expected(network: Any, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
    run = KerasNetwork(network)
    answers = np.concatenate([run(stack[None]) for stack in stacks])
    assert answers.std() > 0.05, "a flat answer would prove nothing"
    return answers


def on_onnxruntime(content: bytes, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
    import onnxruntime as ort

    session = ort.InferenceSession(content, providers=["CPUExecutionProvider"])
    answer: NDArray[np.float32] = session.run([to.OUTPUT_NAME], {to.INPUT_NAME: stacks})[0]
    return answer


def on_openvino(content: bytes, stacks: NDArray[np.float32]) -> NDArray[np.float32]:
    import io

    import openvino as ov

    model = ov.Core().read_model(io.BytesIO(content))
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return np.array(compiled(stacks)[0])


@pytest.mark.parametrize("run", [on_onnxruntime, on_openvino])
@pytest.mark.parametrize("batch", [1, 5])
def test_float32_is_keras(
    plain: bytes, stacks: NDArray[np.float32], expected: NDArray[np.float32], run: Run, batch: int
) -> None:
    answer = run(plain, stacks[:batch])
    np.testing.assert_allclose(answer, expected[:batch], rtol=0, atol=2e-5)


@pytest.mark.parametrize("run", [on_onnxruntime, on_openvino])
def test_float16_is_close_and_smaller(
    plain: bytes, stacks: NDArray[np.float32], expected: NDArray[np.float32], run: Run
) -> None:
    half = to.to_float16(plain)
    answer = run(half, stacks)
    assert answer.dtype == np.float32
    difference = np.abs(answer - expected).max()
    assert difference < 0.02
    if run is on_onnxruntime:
        assert difference > 0, "nothing was halved"
    assert len(half) < 0.75 * len(plain)


@pytest.mark.parametrize("run", [on_onnxruntime, on_openvino])
def test_weights_stored_in_half_are_all_that_is_rounded(
    network: Any, stacks: NDArray[np.float32], run: Run
) -> None:
    """Where the weights are halves already, nothing is."""
    rounded = at_shape(network, (64, 64))
    round_to_half(rounded)
    rounded = at_shape(rounded, SHAPE)
    plain = to.to_onnx(rounded)
    stored = to.store_in_float16(plain)
    size = len(stored) / len(plain)
    assert size < 0.8, "half of the weights, all of the graph"
    np.testing.assert_allclose(run(stored, stacks), run(plain, stacks), rtol=0, atol=2e-6)
    half = to.to_float16(plain)
    if run is on_onnxruntime:
        assert np.abs(run(half, stacks) - run(plain, stacks)).max() > 1e-4, "what it spares"


def test_the_file_has_stable_names_and_a_free_batch(plain: bytes) -> None:
    import onnx

    graph = onnx.load_from_string(plain).graph
    for tensor, name, channels in (
        (graph.input[0], "stack", 3),
        (graph.output[0], "probability", 1),
    ):
        dimensions = tensor.type.tensor_type.shape.dim
        assert tensor.name == name
        assert dimensions[0].dim_param == "batch"
        assert [d.dim_value for d in dimensions[1:]] == [*SHAPE, channels]


def test_what_is_no_network_is_refused() -> None:
    import onnx

    empty = onnx.helper.make_model(onnx.helper.make_graph([], "empty", [], []))
    with pytest.raises(to.ConversionFailed, match="input stack and output probability"):
        to.checked(empty)
