"""The network of the brain mask: a U-Net in the plane that looks across slices at each level.

Slices are the batch, so that a scan of any size is one call; shifting the batch by one, two or
four slices and mixing what then lies in one place is a convolution across slices that LiteRT
runs as fast as those in the plane.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import keras
import tensorflow as tf

from cmbnet.preprocess.brain_network import GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

WIDTHS: Final = (24, 32, 40, 40)
"""Channels at 6, 12, 24 and 48 mm."""

REACH: Final = (1, 1, 2, 3)
"""Number of slices up and down that each level looks at."""


class Neighbours(keras.layers.Layer):  # type: ignore[misc]
    """A layer that adds the slices some steps below and above as further channels."""

    def __init__(self, reach: int, **options: Any) -> None:
        super().__init__(**options)
        self.reach = reach

    def call(self, slices: tf.Tensor) -> tf.Tensor:
        """Concatenate the channels. Slices beyond the ends are 0."""
        n = self.reach
        below = tf.pad(slices[:-n], [[n, 0], [0, 0], [0, 0], [0, 0]])
        above = tf.pad(slices[n:], [[0, n], [0, 0], [0, 0], [0, 0]])
        return tf.concat([below, slices, above], axis=-1)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Return the shape with three times the channels."""
        return (*input_shape[:-1], 3 * int(input_shape[-1] or 0))


class VolumeNorm(keras.layers.Layer):  # type: ignore[misc]
    """Mean 0 and spread 1 of each channel over the whole scan, whatever its contrast."""

    def build(self, input_shape: Sequence[int | None]) -> None:
        """A factor and an offset for each channel."""
        channels = (int(input_shape[-1] or 0),)
        self.factor = self.add_weight(shape=channels, initializer="ones", name="factor")
        self.offset = self.add_weight(shape=channels, initializer="zeros", name="offset")

    def call(self, slices: tf.Tensor) -> tf.Tensor:
        """Over slices, rows and columns."""
        mean = tf.reduce_mean(slices, axis=[0, 1, 2], keepdims=True)
        centred = slices - mean
        variance = tf.reduce_mean(tf.square(centred), axis=[0, 1, 2], keepdims=True)
        return centred * (tf.math.rsqrt(variance + 1e-4) * self.factor) + self.offset

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Sequence[int | None]:
        """As it was."""
        return input_shape


class Doubled(keras.layers.Layer):  # type: ignore[misc]
    """Four channels become the four pixels of a grid twice as fine."""

    def call(self, slices: tf.Tensor) -> tf.Tensor:
        """Depth to space."""
        return tf.nn.depth_to_space(slices, 2)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """Twice the rows and columns, a quarter of the channels."""
        n, y, x, channels = input_shape
        return (n, y and 2 * y, x and 2 * x, int(channels or 0) // 4)


def build_network() -> keras.Model:
    """The untrained network, groups (z, y, x, 8) to probabilities of the same shape."""
    layers = keras.layers
    source = keras.Input((None, None, GROUP**3))

    def block(x: Any, level: int) -> Any:
        x = layers.Conv2D(WIDTHS[level], 3, padding="same", use_bias=False)(x)
        x = layers.ReLU()(VolumeNorm()(x))
        mixed = layers.Conv2D(WIDTHS[level], 1)(Neighbours(REACH[level])(x))
        return layers.ReLU()(layers.Add()([x, mixed]))

    x = block(source, 0)
    levels = []
    for level in range(1, len(WIDTHS)):
        levels.append(x)
        x = block(layers.AveragePooling2D(2)(x), level)
    x = block(x, len(WIDTHS) - 1)
    for level in reversed(range(len(WIDTHS) - 1)):
        up = Doubled()(layers.Conv2D(4 * WIDTHS[level], 1)(x))
        x = block(layers.Add()([up, levels[level]]), level)
    answer = layers.Conv2D(GROUP**3, 1, activation="sigmoid", dtype="float32")(x)
    return keras.Model(source, answer, name="brain")
