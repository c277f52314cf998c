from __future__ import annotations

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.deploy.litert import convert_to_litert, run_litert
from cmbnet.deploy.parity import compare
from cmbnet.errors import UsageError
from cmbnet.model import ModelConfig
from cmbnet.model.files import copy_at_shape
from cmbnet.model.half_weights import round_to_half
from cmbnet.model.unet import build_unet

CONFIG = ModelConfig(channels=(4, 6, 8, 8), skip="add", up_kernel=1)
SHAPE = (32, 40)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    """A network that marks dark spots: free size, answers on both sides of one half."""
    model = build_unet(CONFIG, (None, None, 3), seed=2)
    head = model.get_layer("head_conv")
    kernel = np.random.default_rng(0).normal(0, 1.0, (1, 1, 4, 1))
    head.set_weights([kernel, np.zeros(1)])
    features = keras.Model(model.input, model.get_layer("decoder_0_relu").output)
    middle = np.median(np.asarray(features(stacks())) @ kernel[0, 0])
    head.set_weights([kernel, np.array([-middle])])
    return model


def stacks(n: int = 4) -> NDArray[np.float32]:
    image = np.random.default_rng(1).uniform(0.5, 0.7, (n, *SHAPE, 3)).astype(np.float32)
    image[:, 10:14, 20:24] = 0.1
    return image


def expected(model: keras.Model) -> NDArray[np.float32]:
    answer: NDArray[np.float32] = np.asarray(model(stacks(), training=False))[..., 0]
    assert 0.2 < (answer >= 0.5).mean() < 0.8  # a comparison of empty masks would show nothing
    return answer


def test_float32_is_the_keras_model(model: keras.Model) -> None:
    content = convert_to_litert(model, CONFIG, SHAPE)
    parity = compare(expected(model), run_litert(content, stacks()))
    assert parity.max_difference < 1e-5
    assert parity.mask_dice > 0.999


def test_int8_is_near_the_keras_model_and_computes_in_int8(model: keras.Model) -> None:
    """Below full resolution all is int8; at full resolution only sums and activations are not."""
    from ai_edge_litert.interpreter import Interpreter

    content = convert_to_litert(model, CONFIG, SHAPE, precision="int8", representative=stacks())
    parity = compare(expected(model), run_litert(content, stacks()))
    assert parity.mean_difference < 0.02
    assert parity.mask_dice > 0.95
    interpreter = Interpreter(model_content=content)
    (entry,), (end,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (entry["dtype"], end["dtype"]) == (np.float32, np.float32)
    assert entry["shape"].tolist() == [1, *SHAPE, 3]
    assert end["shape"].tolist() == [1, *SHAPE, 1]
    details = interpreter.get_tensor_details()
    planes = [d for d in details if len(d["shape"]) == 4 and d["shape"][0] == 1 and d["name"]]
    small = [d for d in planes if SHAPE[0] > d["shape"][1] > 1]
    assert len({tuple(d["shape"][1:3]) for d in small}) == 3, "three levels below"
    floats = [d["name"] for d in small if d["dtype"] == np.float32]
    assert floats in ([], ["tfl.dequantize"]), "only on the way to full resolution"
    per_channel = [
        detail
        for detail in interpreter.get_tensor_details()
        if len(detail["quantization_parameters"]["scales"]) > 1
    ]
    assert per_channel


def test_float16_is_the_network_where_its_weights_are_halves(model: keras.Model) -> None:
    rounded = copy_at_shape(model, CONFIG, (*SHAPE, 3))
    before = run_litert(convert_to_litert(rounded, CONFIG, SHAPE, precision="float16"), stacks())
    assert compare(expected(rounded), before).max_difference > 1e-5, "else this shows nothing"
    round_to_half(rounded)
    content = convert_to_litert(rounded, CONFIG, SHAPE, precision="float16")
    assert compare(expected(rounded), run_litert(content, stacks())).max_difference < 2e-6
    size = len(content) / len(convert_to_litert(rounded, CONFIG, SHAPE))
    assert size < 0.85, "half of the weights, all of the graph"


@pytest.mark.parametrize("bad", [None, np.zeros((0, *SHAPE, 3)), np.zeros((2, 16, 16, 3))])
def test_int8_needs_representative_stacks(
    model: keras.Model, bad: NDArray[np.float32] | None
) -> None:
    with pytest.raises(UsageError, match=r"int8 needs representative stacks of shape"):
        convert_to_litert(model, CONFIG, SHAPE, precision="int8", representative=bad)


def test_another_keras_backend_is_refused(
    model: keras.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UsageError, match=r"needs KERAS_BACKEND=tensorflow, got jax"):
        convert_to_litert(model, CONFIG, SHAPE)
