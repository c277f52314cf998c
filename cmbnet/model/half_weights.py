"""Weights that half precision holds exactly, so that float16 files are the network itself.

Converters fold each normalisation into the convolution before it and store what comes out in half
precision. That rounding moves probabilities by up to .006, which is enough to flip a lesion. It is
done here instead, once, before anything is measured with the network: what is rounded is the
folded weights, and the layers stay as they are, so that training can go on from them.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

CONVOLUTION, NORMALISATION = "_conv", "_bn"
"""Ends of the names of layers that `cmbnet.model.unet` makes in pairs."""


def round_to_half(model: keras.Model) -> None:
    """Change a network's weights, by less than half a step of half precision each.

    Args:
        model: Built by `cmbnet.model.unet.build_unet`. Its folded weights are then numbers of half
            precision up to float32's own rounding, which rounding to half precision removes.
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
    """Kernel (y, x, inputs, outputs) and bias (outputs,) of the two layers as one convolution."""
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
    """What the normalisation multiplies each channel with."""
    gamma, _, _, variance = (w.astype(np.float64) for w in normalisation.get_weights())
    gain: NDArray[np.float64] = gamma / np.sqrt(variance + normalisation.epsilon)
    return gain


def _nearest_half(values: NDArray[Any]) -> NDArray[np.float64]:
    """Values as half precision holds them; beyond its range as they are."""
    with np.errstate(over="ignore"):
        halves = values.astype(np.float16).astype(np.float64)
    return np.where(np.isfinite(halves), halves, values)
