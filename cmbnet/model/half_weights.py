"""Weights that half precision holds exactly, so that float16 files equal the network.

Converters fold each normalisation into the convolution before it, and store the result in half
precision. That rounding moves probabilities by up to .006, which is enough to flip a lesion. This
module rounds the folded weights once, before anything is measured with the network. The layers stay
separate, so training can continue from them.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

CONVOLUTION, NORMALISATION = "_conv", "_bn"
"""Endings of the names of layers that `cmbnet.model.unet` makes in pairs."""


def round_to_half(model: keras.Model) -> None:
    """Change each weight of a network by less than half a step of half precision.

    Args:
        model: Network of `cmbnet.model.unet.build_unet`. Afterwards its folded weights are numbers
            of half precision, up to the rounding of float32.
    """
    layers = {layer.name: layer for layer in model.layers}
    for name, layer in layers.items():
        if not isinstance(layer, keras.layers.Conv2D):
            continue
        follower = layers.get(name.removesuffix(CONVOLUTION) + NORMALISATION)
        if follower is None:
            layer.set_weights([_nearest_half(weight) for weight in layer.get_weights()])
        else:
            _round_pair(layer, follower)


def folded(convolution: Any, normalisation: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Fold the two layers into one kernel (y, x, inputs, outputs) and bias (outputs,)."""
    (kernel,) = convolution.get_weights()
    _, beta, mean, _ = (w.astype(np.float64) for w in normalisation.get_weights())
    gain = _gain(normalisation)
    return kernel.astype(np.float64) * gain, beta - mean * gain


def _round_pair(convolution: Any, normalisation: Any) -> None:
    """Choose the kernel and the offset whose folded values are halves."""
    kernel, bias = folded(convolution, normalisation)
    gain = _gain(normalisation)
    gamma, _, mean, variance = normalisation.get_weights()
    beta = _nearest_half(bias) + mean * gain
    normalisation.set_weights([gamma, beta.astype(np.float32), mean, variance])
    # A channel without gain answers its offset, whatever its kernel is.
    (whole,) = convolution.get_weights()
    divisor = np.where(gain == 0.0, 1.0, gain)
    rounded = np.where(gain == 0.0, whole, _nearest_half(kernel) / divisor)
    convolution.set_weights([rounded.astype(np.float32)])


def _gain(normalisation: Any) -> NDArray[np.float64]:
    """Return the factors by which the normalisation multiplies the channels."""
    gamma, _, _, variance = (w.astype(np.float64) for w in normalisation.get_weights())
    gain: NDArray[np.float64] = gamma / np.sqrt(variance + normalisation.epsilon)
    return gain


def _nearest_half(values: NDArray[Any]) -> NDArray[np.float64]:
    """Round values to half precision. Values beyond its range stay as they are."""
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16).astype(np.float64)
    return np.where(np.isfinite(halves), halves, values)
