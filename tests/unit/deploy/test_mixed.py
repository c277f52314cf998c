"""int8 that stays near: fitted to what a layer reads, and the files hold what they say."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.deploy.fitting import patches
from cmbnet.deploy.litert import to_litert
from cmbnet.deploy.litert_graph import LiteRtGraph
from cmbnet.model import ModelConfig
from cmbnet.model.unet import build_unet
from tests.helpers.litert import run_litert

SHAPE = (32, 40)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (1, 1), (5, 2)])
@pytest.mark.parametrize("size", [(12, 10), (9, 11)])
def test_patches_are_what_a_convolution_reads(
    kernel: int, stride: int, size: tuple[int, int]
) -> None:
    random = np.random.default_rng(kernel + stride)
    image = random.normal(size=(*size, 2)).astype(np.float32)
    weights = random.normal(size=(kernel, kernel, 2, 4)).astype(np.float32)
    expected = np.asarray(keras.ops.conv(image[None], weights, stride, "same"))[0]
    at = np.argwhere(np.ones(expected.shape[:2], bool))
    read = patches(image, (kernel, kernel), stride, at)
    np.testing.assert_allclose(
        (read @ weights.reshape(-1, 4)).reshape(expected.shape), expected, atol=1e-5
    )


def stacks(n: int, seed: int) -> NDArray[np.float32]:
    image = np.random.default_rng(seed).uniform(0.5, 0.7, (n, *SHAPE, 3)).astype(np.float32)
    image[:, 10:14, 20:24] = 0.1
    return image


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Wide enough for 3x3 convolutions in 8 bits at full resolution; answers around one half."""
    model = build_unet(ModelConfig(channels=(16, 8, 8, 8), skip="add", up_kernel=1), (*SHAPE, 3))
    head = model.get_layer("head_conv")
    head.set_weights([np.random.default_rng(0).normal(0, 1, (1, 1, 16, 1)), np.zeros(1)])
    logits = np.asarray(keras.Model(model.input, head.output)(stacks(4, 1)))
    kernel, _ = head.get_weights()
    spread = float(logits.std()) / 2
    head.set_weights([kernel / spread, np.array([-np.median(logits) / spread])])
    return model


def test_answers_are_near_those_of_the_network_on_other_stacks(network: keras.Model) -> None:
    content = to_litert(network, precision="int8", representative=stacks(4, 1))
    probe = stacks(3, 2)
    expected = np.asarray(network(probe))[..., 0]
    assert 0.2 < (expected > 0.5).mean() < 0.8
    assert np.abs(run_litert(content, probe) - expected).mean() < 0.015


def test_large_kernels_are_stored_in_8_bits(network: keras.Model) -> None:
    small = to_litert(network, precision="int8", representative=stacks(2, 1))
    exact = to_litert(network)
    assert len(small) < 0.55 * len(exact), "nothing of the float weights is left behind"
    floats = [
        LiteRtGraph(small).values(layer.kernel).size for layer in LiteRtGraph(small).convolutions()
    ]
    assert sorted(floats) == [16, 8 * 16, 16 * 16, 16 * 16, 432], "small ones at full resolution"


def test_equal_constants_are_replaced_one_by_one(network: keras.Model) -> None:
    graph = LiteRtGraph(to_litert(network))
    first, second = (layer.bias for layer in list(graph.convolutions())[1:3])
    before = graph.values(second).copy()  # no training: all biases are 0, and the file has one
    np.testing.assert_array_equal(graph.values(first), before)
    graph.set_values(first, before + 1)
    again = LiteRtGraph(graph.content())
    np.testing.assert_array_equal(again.values(second), before)
    np.testing.assert_array_equal(again.values(first), before + 1)
