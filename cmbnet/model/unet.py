"""The residual 2.5D U-Net, written with `keras` alone so that it runs on every Keras backend.

Three neighbouring slices enter as channels and the lesion probability of the middle slice comes
out. The layout is the one Fan et al. 2022 (doi:10.3389/fmed.2022.807443) draw in Figure 1 and
count as 28 convolutions and six residual blocks on three levels::

    stem 1 + encoder 3 x (2 + projection) + stride-2 3 + bottleneck 2
           + after-upsampling 3 + decoder 3 x (2 + projection) + head 1 = 28
"""

from __future__ import annotations

from typing import Any, Literal

import keras

from cmbnet.errors import UsageError
from cmbnet.model.config import LEVELS, SIZE_MULTIPLE, ModelConfig

Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]
"""Keras policy of the hidden layers. The output is always float32."""


def build_unet(
    config: ModelConfig,
    input_shape: tuple[int | None, int | None, int] = (384, 384, 3),
    *,
    precision: Precision = "float32",
    seed: int = 0,
) -> keras.Model:
    """Build the network.

    Args:
        config: Widths and variants of the network.
        input_shape: Input shape (y, x, slices). y and x are multiples of `SIZE_MULTIPLE`. For
            training on crops of several sizes they may be None. Exports need numbers.
        precision: Policy of the hidden layers.
        seed: Seed of the initial weights. The same seed gives the same network.

    Returns:
        Keras model from float32 stacks (n, y, x, slices) in [0, 1] to float32 lesion probabilities
        (n, y, x, 1) of the middle slice.

    Raises:
        UsageError: If the input shape does not fit the network.
    """
    _check_input_shape(config, input_shape)
    layers = _Layers(precision, seed)
    inputs = keras.Input(shape=input_shape, dtype="float32", name="stack")
    x = layers.convolution(inputs, config.channels[0], 3, "stem")
    skips = []
    for level in range(LEVELS):
        x = layers.residual_block(x, config.channels[level], f"encoder_{level}")
        skips.append(x)
        x = layers.convolution(x, config.channels[level + 1], 3, f"down_{level}", strides=2)
    for index in range(2):
        x = layers.convolution(x, config.channels[LEVELS], 3, f"bottleneck_{index}")
    for level in reversed(range(LEVELS)):
        x = layers.upsampling(x, f"up_{level}_bilinear")
        x = layers.convolution(x, config.channels[level], config.up_kernel, f"up_{level}")
        x = layers.join(x, skips[level], config.skip, f"skip_{level}")
        x = layers.residual_block(x, config.channels[level], f"decoder_{level}")
    outputs = layers.head(x, config.output_bias)
    return keras.Model(inputs, outputs, name="cmbnet_unet")


def _check_input_shape(config: ModelConfig, shape: tuple[int | None, int | None, int]) -> None:
    """Refuse an input shape that does not fit the three halvings or the number of channels."""
    bad_size = any(n is not None and (n < 1 or n % SIZE_MULTIPLE) for n in shape[:2])
    if len(shape) != 3 or bad_size or shape[-1] != config.input_slices:
        raise UsageError(
            f"an input of (y, x, {config.input_slices}) with y and x multiples of "
            f"{SIZE_MULTIPLE} is required, got {shape}"
        )


class _Layers:
    """A builder of the network's blocks. Each layer has its own name and seed."""

    def __init__(self, precision: Precision, seed: int) -> None:
        self._dtype = keras.DTypePolicy(precision)
        self._seed = seed

    def _initializer(self) -> Any:
        """Make a He initialiser with the next seed, so that layers of one shape start unequal."""
        self._seed += 1
        return keras.initializers.HeNormal(seed=self._seed)

    def convolution(
        self, x: Any, filters: int, kernel: int, name: str, *, strides: int = 1, relu: bool = True
    ) -> Any:
        """Add convolution, batch normalisation and (unless a sum follows) ReLU."""
        x = keras.layers.Conv2D(
            filters,
            kernel,
            strides=strides,
            padding="same",
            use_bias=False,  # the normalisation that follows has one
            kernel_initializer=self._initializer(),
            dtype=self._dtype,
            name=f"{name}_conv",
        )(x)
        x = keras.layers.BatchNormalization(momentum=0.95, dtype=self._dtype, name=f"{name}_bn")(x)
        return keras.layers.ReLU(dtype=self._dtype, name=f"{name}_relu")(x) if relu else x

    def residual_block(self, x: Any, filters: int, name: str) -> Any:
        """Add two 3x3 convolutions beside a 1x1 projection, sum them, and apply ReLU."""
        y = self.convolution(x, filters, 3, f"{name}_a")
        y = self.convolution(y, filters, 3, f"{name}_b", relu=False)
        projection = self.convolution(x, filters, 1, f"{name}_projection", relu=False)
        total = keras.layers.Add(dtype=self._dtype, name=f"{name}_add")([y, projection])
        return keras.layers.ReLU(dtype=self._dtype, name=f"{name}_relu")(total)

    def upsampling(self, x: Any, name: str) -> Any:
        """Double height and width, bilinear between pixel centres."""
        return keras.layers.UpSampling2D(2, interpolation="bilinear", dtype=self._dtype, name=name)(
            x
        )

    def join(self, x: Any, skip: Any, how: Literal["concat", "add"], name: str) -> Any:
        """Bring the encoder's features to the decoder."""
        if how == "add":
            return keras.layers.Add(dtype=self._dtype, name=name)([x, skip])
        return keras.layers.Concatenate(dtype=self._dtype, name=name)([x, skip])

    def head(self, x: Any, bias: float) -> Any:
        """Add a 1x1 convolution to a logit and its sigmoid, both in float32 under every policy."""
        logits = keras.layers.Conv2D(
            1,
            1,
            kernel_initializer=keras.initializers.RandomNormal(stddev=0.01, seed=self._seed + 1),
            bias_initializer=keras.initializers.Constant(bias),
            dtype="float32",
            name="head_conv",
        )(x)
        return keras.layers.Activation("sigmoid", dtype="float32", name="probability")(logits)
