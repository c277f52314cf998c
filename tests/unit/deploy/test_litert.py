from __future__ import annotations

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.deploy.litert import LiteRtPrecision, to_litert
from cmbnet.deploy.source import require_tensorflow
from cmbnet.errors import UsageError
from cmbnet.model import ModelConfig
from cmbnet.model.files import copy_at_shape
from cmbnet.model.half_weights import round_to_half
from cmbnet.model.unet import build_unet
from tests.helpers.litert import run_litert

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


def converted(
    model: keras.Model,
    precision: LiteRtPrecision = "float32",
    representative: NDArray[np.float32] | None = None,
) -> bytes:
    fixed = copy_at_shape(model, CONFIG, (*SHAPE, 3))
    return to_litert(fixed, precision=precision, representative=representative)


def differences(model: keras.Model, content: bytes) -> NDArray[np.float32]:
    """Of all pixels, and the masks agree but for some pixels at their borders."""
    wanted, got = expected(model), run_litert(content, stacks())
    first, second = wanted >= 0.5, got >= 0.5
    assert 2 * (first & second).sum() / (first.sum() + second.sum()) > 0.95
    answer: NDArray[np.float32] = np.abs(wanted - got)
    return answer


def test_float32_is_the_keras_model(model: keras.Model) -> None:
    assert differences(model, converted(model)).max() < 1e-5


def test_int8_is_near_the_keras_model_and_computes_in_int8(model: keras.Model) -> None:
    """Below full resolution all is int8; at full resolution only sums and activations are not."""
    from ai_edge_litert.interpreter import Interpreter

    content = converted(model, "int8", stacks())
    assert differences(model, content).mean() < 0.02
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
    before = differences(rounded, converted(rounded, "float16"))
    assert before.max() > 1e-5, "else this shows nothing"
    round_to_half(rounded)
    content = converted(rounded, "float16")
    assert differences(rounded, content).max() < 2e-6
    size = len(content) / len(converted(rounded))
    assert size < 0.85, "half of the weights, all of the graph"


@pytest.mark.parametrize("bad", [None, np.zeros((0, *SHAPE, 3)), np.zeros((2, 16, 16, 3))])
def test_int8_needs_representative_stacks(
    model: keras.Model, bad: NDArray[np.float32] | None
) -> None:
    with pytest.raises(UsageError, match=r"int8 needs representative stacks of shape"):
        converted(model, "int8", bad)


def test_another_keras_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "jax")
    with pytest.raises(UsageError, match=r"tensorflow backend, got jax"):
        require_tensorflow("to export a model")
