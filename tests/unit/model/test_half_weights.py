"""Folded weights become numbers of half precision, and the network stays what it was."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from cmbnet.model import ModelConfig
from cmbnet.model.half_weights import folded, round_to_half
from cmbnet.model.unet import build_unet

SHAPE = (32, 40)


def stacks() -> NDArray[np.float32]:
    return np.random.default_rng(1).random((4, *SHAPE, 3), np.float32)


def trained() -> keras.Model:
    """A network whose normalisations have seen something: gains and offsets of all sizes."""
    model = build_unet(ModelConfig(channels=(4, 6, 8, 8), lesion_prior=0.4), (*SHAPE, 3), seed=2)
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            n = layer.get_weights()[0].shape
            gamma, beta, mean = (
                random.normal(1, 0.3, n),
                random.normal(0, 1, n),
                random.normal(0, 2, n),
            )
            gamma[0] = -0.7
            layer.set_weights([gamma, beta, mean, random.uniform(0.5, 3, n)])
    head = model.get_layer("head_conv")
    kernel, bias = head.get_weights()
    logits = np.asarray(keras.Model(model.input, head.output)(stacks())) - bias
    head.set_weights(
        [kernel / logits.std(), -np.median(logits / logits.std(), keepdims=True)[0, 0, 0]]
    )
    return model


def pairs(model: keras.Model) -> list[tuple[Any, Any]]:
    return [
        (layer, model.get_layer(layer.name.replace("_conv", "_bn")))
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.name != "head_conv"
    ]


@pytest.fixture(scope="module")
def networks() -> tuple[keras.Model, keras.Model]:
    """Before and after."""
    before, after = trained(), trained()
    round_to_half(after)
    return before, after


def test_folded_weights_are_halves(networks: tuple[keras.Model, keras.Model]) -> None:
    before, after = networks
    assert len(pairs(after)) == 27
    for layers, others in zip(pairs(after), pairs(before), strict=True):
        for values, originals in zip(folded(*layers), folded(*others), strict=True):
            halves = values.astype(np.float16).astype(np.float64)
            np.testing.assert_allclose(values, halves, rtol=1e-6, atol=1e-6)
            np.testing.assert_array_equal(halves, originals.astype(np.float16))
        # What converters compute in float32 gives the same halves.
        kernel, (gamma, _, _, variance) = layers[0].get_weights()[0], layers[1].get_weights()
        gain = gamma / np.sqrt(variance + np.float32(layers[1].epsilon))
        np.testing.assert_array_equal(
            (kernel * gain).astype(np.float16), folded(*others)[0].astype(np.float16)
        )
    for weight in after.get_layer("head_conv").get_weights():
        np.testing.assert_array_equal(weight, weight.astype(np.float16))


def test_the_network_answers_nearly_the_same(networks: tuple[keras.Model, keras.Model]) -> None:
    first, second = (np.asarray(model(stacks(), training=False)) for model in networks)
    assert first.std() > 0.1, "a flat answer would prove nothing"
    assert 0 < np.abs(first - second).max() < 1e-2


def test_rounding_again_changes_next_to_nothing(
    networks: tuple[keras.Model, keras.Model],
) -> None:
    again = keras.models.clone_model(networks[1])
    again.set_weights(networks[1].get_weights())
    round_to_half(again)
    for first, second in zip(networks[1].get_weights(), again.get_weights(), strict=True):
        np.testing.assert_allclose(first, second, rtol=1e-6, atol=1e-6)


def test_a_channel_without_gain_keeps_its_kernel() -> None:
    model = trained()
    convolution, normalisation = pairs(model)[0]
    (kernel,) = convolution.get_weights()
    gamma, *others = normalisation.get_weights()
    gamma[1] = 0.0
    normalisation.set_weights([gamma, *others])
    round_to_half(model)
    np.testing.assert_array_equal(convolution.get_weights()[0][..., 1], kernel[..., 1])
    assert np.isfinite(np.asarray(model(stacks(), training=False))).all()
