"""How far a converted network is from the Keras model that it was made of."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MASK_THRESHOLD = 0.5


@dataclass(frozen=True, slots=True)
class Parity:
    """Differences of probabilities over some stacks.

    Args:
        stacks: Number of stacks compared.
        max_difference: Largest absolute difference of a pixel.
        mean_difference: Mean absolute difference over all pixels.
        mean_difference_lesion: The same where the reference is at least `MASK_THRESHOLD`; over
            all pixels the background would hide it. 0 where there is none.
        mask_dice: Dice of the two masks at `MASK_THRESHOLD`; 1 if both are empty.
    """

    stacks: int
    max_difference: float
    mean_difference: float
    mean_difference_lesion: float
    mask_dice: float

    def to_dict(self) -> dict[str, float]:
        """Plain values, as a bundle records them."""
        return asdict(self)


def compare(reference: NDArray[Any], candidate: NDArray[Any]) -> Parity:
    """Compare two sets of probabilities.

    Args:
        reference: float (n, y, x), of the Keras model.
        candidate: Same shape, of the converted network.

    Raises:
        ValueError: If the shapes differ.

    Examples:
        >>> compare(np.array([[[0.9, 0.1]]]), np.array([[[0.7, 0.1]]])).mask_dice
        1.0
    """
    if reference.shape != candidate.shape:
        raise ValueError(f"equal shapes are required, got {reference.shape}, {candidate.shape}")
    difference = np.abs(reference.astype(np.float64) - candidate)
    first, second = reference >= MASK_THRESHOLD, candidate >= MASK_THRESHOLD
    pixels = int(np.count_nonzero(first) + np.count_nonzero(second))
    return Parity(
        stacks=len(reference),
        max_difference=float(difference.max(initial=0.0)),
        mean_difference=float(difference.mean()),
        mean_difference_lesion=float(difference[first].mean()) if first.any() else 0.0,
        mask_dice=2.0 * int(np.count_nonzero(first & second)) / pixels if pixels else 1.0,
    )
