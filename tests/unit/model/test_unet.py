from __future__ import annotations

import keras
import numpy as np
import pytest

from cmbnet.errors import UsageError
from cmbnet.model import PRESETS, ModelConfig, preset
from cmbnet.model.unet import Precision, build_unet

TINY = ModelConfig(channels=(4, 6, 8, 8))


def stacks(seed: int = 0, n: int = 2, side: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).random((n, side, side, 3), dtype=np.float32)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_preset_has_the_papers_28_convolutions(name: str) -> None:
    """Stem 1, encoder 9, down 3, bottleneck 2, up 3, decoder 9, head 1."""
    model = build_unet(preset(name), (32, 32, 3))
    convolutions = [layer.name for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    parts = {"stem": 1, "encoder": 9, "down": 3, "bottleneck": 2, "up": 3, "decoder": 9, "head": 1}
    counted = {part: sum(c.startswith(part) for c in convolutions) for part in parts}
    assert counted == parts
    assert len(convolutions) == 28


def test_the_paper_preset_has_six_residual_blocks_and_64_channels_at_full_resolution() -> None:
    model = build_unet(preset("paper"), (32, 32, 3))
    blocks = [layer for layer in model.layers if layer.name.endswith("_projection_conv")]
    assert len(blocks) == 6
    full = {
        layer.filters
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D) and layer.output.shape[1] == 32
    }
    assert full == {64, 1}


def test_every_convolution_but_the_head_is_normalised() -> None:
    model = build_unet(TINY, (32, 32, 3))
    count = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
    assert count == 27


def test_it_starts_by_answering_the_prior() -> None:
    config = ModelConfig(channels=(4, 6, 8, 8), lesion_prior=0.003)
    answer = np.asarray(build_unet(config, (32, 32, 3))(stacks(), training=False))
    assert answer.shape == (2, 32, 32, 1)
    assert answer.mean() == pytest.approx(0.003, rel=0.3)


def test_the_same_seed_gives_the_same_network_and_another_does_not() -> None:
    first, second, third = (build_unet(TINY, (32, 32, 3), seed=seed) for seed in (1, 1, 2))
    kernels = [m.get_layer("stem_conv").get_weights()[0] for m in (first, second, third)]
    np.testing.assert_array_equal(kernels[0], kernels[1])
    assert np.abs(kernels[0] - kernels[2]).max() > 0.01


def test_layers_of_one_shape_start_unequal() -> None:
    model = build_unet(TINY, (32, 32, 3))
    a, b = (model.get_layer(f"bottleneck_{n}_conv").get_weights()[0] for n in (0, 1))
    assert np.abs(a - b).max() > 0.01


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_sigmoid_is_float32_under_every_policy(precision: Precision) -> None:
    model = build_unet(TINY, (32, 32, 3), precision=precision)
    assert model.get_layer("probability").compute_dtype == "float32"
    assert model.get_layer("head_conv").compute_dtype == "float32"
    assert model.output.dtype == "float32"
    hidden = model.get_layer("stem_conv").compute_dtype
    assert hidden == precision.removeprefix("mixed_")


def test_a_network_of_free_size_takes_every_multiple_of_eight() -> None:
    model = build_unet(TINY, (None, None, 3))
    for height, width in ((32, 32), (40, 24)):
        answer = model(np.zeros((1, height, width, 3), np.float32), training=False)
        assert answer.shape == (1, height, width, 1)


@pytest.mark.parametrize("skip", ["concat", "add"])
def test_every_decoder_block_is_fed_by_its_encoder(skip: str) -> None:
    config = ModelConfig.from_dict({"channels": (4, 6, 8, 8), "skip": skip})
    model = build_unet(config, (32, 32, 3))
    for level in range(3):
        joined = model.get_layer(f"skip_{level}")
        names = {tensor._keras_history.operation.name for tensor in joined.input}
        assert names == {f"up_{level}_relu", f"encoder_{level}_relu"}


@pytest.mark.parametrize("shape", [(30, 32, 3), (32, 0, 3), (32, 32, 5)])
def test_inputs_that_do_not_fit_are_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match=r"multiples of 8 is required, got"):
        build_unet(TINY, shape)


def test_a_pixel_sees_its_surround_through_all_three_slices() -> None:
    model = build_unet(TINY, (32, 32, 3))
    # Weights at the start are small behind the head: look at the logits' input.
    inner = keras.Model(model.input, model.get_layer("decoder_0_relu").output)
    base = np.asarray(inner(np.zeros((1, 32, 32, 3), np.float32), training=False))
    for channel in range(3):
        changed = np.zeros((1, 32, 32, 3), np.float32)
        changed[0, 10, 12, channel] = 1.0
        moved = np.abs(np.asarray(inner(changed, training=False)) - base).max(axis=(0, 3))
        assert moved[10, 12] > 0
        assert moved[26, 12] > 0  # sixteen rows away, through the bottleneck
