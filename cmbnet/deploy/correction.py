"""Bias correction: subtract the mean shift of quantised logits from the last layer's bias.

Rounding the weights of a trained network shifts its outputs a little, all in one direction, and
the lesions that flip are those at the threshold. Nagel et al. 2019 (arXiv:1906.04721, section 4.2)
correct the bias of each layer; here the last one's is enough.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

UNDECIDED = (0.05, 0.95)
"""Range of the probabilities that a shift can move over a threshold."""

FEWEST_PIXELS = 50
"""Smallest number of undecided pixels from which a mean is taken."""


def logit_shift(reference: NDArray[np.float32], answer: NDArray[np.float32]) -> float | None:
    """Return the mean difference of logits, answer minus reference, over undecided pixels.

    Examples:
        >>> half = np.full((1, 10, 10), 0.5, np.float32)
        >>> round(logit_shift(half, np.full_like(half, 1 / (1 + np.exp(-0.25)))), 4)
        0.25
    """
    undecided = (reference > UNDECIDED[0]) & (reference < UNDECIDED[1])
    if np.count_nonzero(undecided) < FEWEST_PIXELS:
        return None
    first, second = (_logit(values[undecided]) for values in (reference, answer))
    return float((second - first).mean())


def _logit(probability: NDArray[np.float32]) -> NDArray[np.float64]:
    # int8 answers 0 and 1 exactly; half a step inside, their logits are finite.
    inside = np.clip(probability.astype(np.float64), 1 / 512, 511 / 512)
    logit: NDArray[np.float64] = np.log(inside / (1 - inside))
    return logit
