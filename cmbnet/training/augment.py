"""Random changes of crops, in tf ops on whole batches so that the input keeps up with training.

Interpolation blurs lesions of two or three pixels, and down-scaling erases them. So flips,
transposition and translation move whole pixels; only a share of the crops is rotated and scaled,
by little; and the truth is moved with the nearest pixel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from cmbnet.training.cache import IGNORE, LESION
from cmbnet.training.paste import paste_lesions
from cmbnet.training.recipe import AugmentSettings

BIAS_GRID = 4
"""Knots of the bias field along each side of a crop."""


def side_with_margin(crop_px: int, settings: AugmentSettings) -> int:
    """Side of the crop that must be cut so that it can be turned without empty corners."""
    if settings.affine_probability == 0.0:
        return crop_px
    angle = np.deg2rad(min(settings.rotation_deg, 45.0))
    factor = (np.cos(angle) + np.sin(angle)) * (1.0 + settings.scale)
    return int(-(-crop_px * factor // 8) * 8)


@dataclass(frozen=True, slots=True)
class Augmenter:
    """Turns cut crops into network input and target.

    Args:
        settings: What to change and how much.
        crop_px: Side of the result.
    """

    settings: AugmentSettings
    crop_px: int

    def __call__(self, stacks: Any, marks: Any, seed: Any) -> tuple[Any, Any]:
        """Change a batch.

        Args:
            stacks: uint8 (n, side, side, 3).
            marks: uint8 (n, side, side).
            seed: int32 (2,); the same seed gives the same result.

        Returns:
            float32 stacks (n, crop, crop, 3) in [0, 1]; float32 targets (n, crop, crop, 2):
            truth and weight.
        """
        draw = _Draw(seed, tf.shape(stacks)[0])
        image = tf.cast(stacks, tf.float32) / 255.0
        image, marks = self._move(image, marks[..., tf.newaxis], draw)
        if self.settings.paste_probability > 0.0:
            chosen = draw.uniform(0.0, 1.0)[1::2] < self.settings.paste_probability
            image, marks = paste_lesions(image, marks, chosen)
        if self.settings.flip:
            image, marks = _flip(image, marks, draw)
        if self.settings.transpose:
            image, marks = _transpose(image, marks, draw)
        image = self._intensity(image, draw)
        image = self._degrade(image, draw)
        return tf.clip_by_value(image, 0.0, 1.0), to_target(marks[..., 0])

    def _move(self, image: Any, marks: Any, draw: _Draw) -> tuple[Any, Any]:
        """Rotate and scale a share of the crops about their centre, then cut the middle."""
        s = self.settings
        if s.affine_probability > 0.0:
            angle = draw.uniform(-s.rotation_deg, s.rotation_deg) * (np.pi / 180.0)
            scale = 1.0 + draw.uniform(-s.scale, s.scale)
            matrix = _about_centre(angle, scale, tf.cast(tf.shape(image)[1], tf.float32))
            turned = tf.where(draw.uniform(0.0, 1.0) < s.affine_probability)
            image = _change_some(image, turned, matrix, "BILINEAR")
            marks = _change_some(marks, turned, matrix, "NEAREST")
        start = (tf.shape(image)[1] - self.crop_px) // 2
        stop = start + self.crop_px
        image, marks = image[:, start:stop, start:stop], marks[:, start:stop, start:stop]
        image = tf.ensure_shape(image, (None, self.crop_px, self.crop_px, 3))
        return image, tf.ensure_shape(marks, (None, self.crop_px, self.crop_px, 1))

    def _intensity(self, image: Any, draw: _Draw) -> Any:
        """Contrast about the crop's mean, gamma, brightness, and a smooth bias field."""
        s = self.settings
        mean = tf.reduce_mean(image, axis=(1, 2, 3), keepdims=True)
        image = mean + (image - mean) * _spread(1.0 + draw.uniform(-s.contrast, s.contrast), 4)
        image += _spread(draw.uniform(-s.brightness, s.brightness), 4)
        if s.bias_field > 0.0:
            knots = draw.normal((BIAS_GRID, BIAS_GRID, 1)) * (s.bias_field / 2.0)
            image *= tf.exp(tf.image.resize(knots, (self.crop_px, self.crop_px), "bicubic"))
        if s.gamma > 0.0:
            power = tf.exp(draw.uniform(-s.gamma, s.gamma))
            image = tf.pow(tf.clip_by_value(image, 1e-4, 1.0), _spread(power, 4))
        return image

    def _degrade(self, image: Any, draw: _Draw) -> Any:
        """Slice drop-out, mild blur, noise."""
        s = self.settings
        if s.slice_drop_probability > 0.0:
            lost = draw.uniform(0.0, 1.0) < s.slice_drop_probability
            above = draw.uniform(0.0, 1.0) < 0.5
            middle = image[..., 1:2]
            below_lost, above_lost = _spread(lost & ~above, 4), _spread(lost & above, 4)
            first = tf.where(below_lost, middle, image[..., 0:1])
            last = tf.where(above_lost, middle, image[..., 2:3])
            image = tf.concat([first, middle, last], axis=-1)
        if s.blur_probability > 0.0:
            blurred = draw.uniform(0.0, 1.0) < s.blur_probability
            image = tf.where(_spread(blurred, 4), _blur(image), image)
        if s.noise > 0.0:
            amplitude = _spread(tf.abs(draw.uniform(-s.noise, s.noise)), 4)
            image += amplitude * draw.normal((self.crop_px, self.crop_px, 3))
        return image


def to_target(marks: Any) -> Any:
    """Truth and weight, float32 (n, y, x, 2), from the bits of the marks (n, y, x) uint8."""
    truth = tf.bitwise.bitwise_and(marks, tf.constant(LESION, tf.uint8)) > 0
    ignored = tf.bitwise.bitwise_and(marks, tf.constant(IGNORE, tf.uint8)) > 0
    return tf.cast(tf.stack([truth, ~ignored], axis=-1), tf.float32)


class _Draw:
    """Stateless random numbers, one or a field for each crop; every call takes the next seed."""

    def __init__(self, seed: Any, count: Any) -> None:
        self._seed = seed
        self._count = count
        self._calls = 0

    def _next(self) -> Any:
        self._calls += 1
        return tf.stack([self._seed[0], self._seed[1] * 64 + self._calls])

    def uniform(self, low: float, high: float) -> Any:
        """A number for each crop, shape (n,)."""
        return tf.random.stateless_uniform((self._count,), self._next(), low, high)

    def normal(self, shape: tuple[int, ...]) -> Any:
        """A field of standard normal numbers for each crop, shape (n, *shape)."""
        return tf.random.stateless_normal((self._count, *shape), self._next())


def _spread(values: Any, rank: int) -> Any:
    """Values (n,) as (n, 1, ...) so that they apply to whole crops."""
    return tf.reshape(values, (-1, *(1,) * (rank - 1)))


def _flip(image: Any, marks: Any, draw: _Draw) -> tuple[Any, Any]:
    """Mirror each crop at random along y and along x."""
    for axis in (1, 2):
        chosen = _spread(draw.uniform(0.0, 1.0) < 0.5, 4)
        image = tf.where(chosen, tf.reverse(image, [axis]), image)
        marks = tf.where(chosen, tf.reverse(marks, [axis]), marks)
    return image, marks


def _transpose(image: Any, marks: Any, draw: _Draw) -> tuple[Any, Any]:
    """Exchange y and x of each crop at random; with flips this gives all quarter turns."""
    chosen = _spread(draw.uniform(0.0, 1.0) < 0.5, 4)
    image = tf.where(chosen, tf.transpose(image, (0, 2, 1, 3)), image)
    return image, tf.where(chosen, tf.transpose(marks, (0, 2, 1, 3)), marks)


def _about_centre(angle: Any, scale: Any, side: Any) -> Any:
    """Rows (a0, a1, a2, b0, b1, b2, 0, 0): output pixel to input pixel, about the centre."""
    cos, sin = tf.cos(angle) / scale, tf.sin(angle) / scale
    centre = (side - 1.0) / 2.0
    zero = tf.zeros_like(cos)
    shift_x = centre - cos * centre + sin * centre
    shift_y = centre - sin * centre - cos * centre
    return tf.stack([cos, -sin, shift_x, sin, cos, shift_y, zero, zero], axis=1)


def _change_some(image: Any, turned: Any, matrix: Any, interpolation: str) -> Any:
    """Resample the crops with the indices `turned` (k, 1), leave the rest."""
    chosen = turned[:, 0]
    warped = _warp(tf.gather(image, chosen), tf.gather(matrix, chosen), interpolation)
    return tf.tensor_scatter_nd_update(image, turned, warped)


def _warp(image: Any, matrix: Any, interpolation: str) -> Any:
    """Resample crops; what lies outside mirrors what lies inside."""
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image,
        transforms=matrix,
        output_shape=tf.shape(image)[1:3],
        fill_value=0.0,
        interpolation=interpolation,
        fill_mode="REFLECT",
    )


def _blur(image: Any) -> Any:
    """Blur in plane with a Gaussian of sigma 0.5 pixels, cut at three taps."""
    line = np.exp(-0.5 * (np.array([-1.0, 0.0, 1.0]) / 0.5) ** 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    kernels = tf.constant(np.repeat(kernel[:, :, np.newaxis, np.newaxis], 3, axis=2), tf.float32)
    return tf.nn.depthwise_conv2d(image, kernels, (1, 1, 1, 1), "SAME")
