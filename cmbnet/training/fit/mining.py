"""Hard negatives: places where the current model sees a lesion that is none."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.training.data.cache_part import IGNORE, LESION
from cmbnet.training.fit.recipe import MiningSettings
from cmbnet.training.fit.sampler import Sampler
from cmbnet.training.fit.validation import EIGHT_CONNECTED

CLEARANCE_PX = 3
"""Smallest distance of a false positive from a lesion or an ignored place, whose edge is
blurred."""


class Miner:
    """A search for false positives in a rotating subset of training slices.

    The sampler receives the found centres. The seed fixes the examined slices of each epoch.
    """

    def __init__(self, sampler: Sampler, settings: MiningSettings, seed: int) -> None:
        self.sampler = sampler
        self.settings = settings
        self._seed = seed
        self.rows: NDArray[np.int16] = np.zeros((0, 4), np.int16)
        """Found centres, oldest first: (case, z, y, x)."""

    def due(self, epoch: int) -> bool:
        """Return whether to mine after this epoch (from 0)."""
        every = self.settings.every_epochs
        return every > 0 and (epoch + 1) % every == 0

    def mine(self, predict: Any, epoch: int) -> int:
        """Examine some slices, and return the number of their false positives.

        `predict` maps (sampler, case, z) to a probability (y, x). The epoch chooses the slices.
        """
        rng = np.random.default_rng((self._seed, epoch, 1))
        cases = self.sampler.cache.cases
        found = []
        for _ in range(self.settings.slices):
            case = int(rng.integers(len(cases)))
            brain_z = cases[case].crop_centres.brain[:, 0]
            z = int(brain_z[rng.integers(len(brain_z))])
            centres = false_blobs(
                predict(self.sampler, case, z), cases[case].marks[z], self.settings.probability
            )
            found += [(case, z, y, x) for y, x in centres]
        new = np.array(found, np.int16).reshape(-1, 4)
        self.restore(np.concatenate([self.rows, new])[-self.settings.keep :])
        return len(new)

    def restore(self, rows: NDArray[np.int16]) -> None:
        """Restore found centres, for example from a checkpoint."""
        self.rows = rows
        self.sampler.set_mined(
            {int(case): rows[rows[:, 0] == case, 1:] for case in np.unique(rows[:, 0])}
        )


def false_blobs(
    probability: NDArray[np.float32], marks: NDArray[np.uint8], threshold: float
) -> list[tuple[int, int]]:
    """Find the centres (y, x) of blobs above the threshold, clear of lesions and ignored places."""
    taken = (marks & (LESION | IGNORE)) > 0
    if taken.any():
        taken = ndimage.binary_dilation(taken, EIGHT_CONNECTED, iterations=CLEARANCE_PX)
    labels, count = ndimage.label(probability > threshold, EIGHT_CONNECTED)
    touched = set(np.unique(labels[taken]).tolist())
    free = [label for label in range(1, count + 1) if label not in touched]
    centres = ndimage.center_of_mass(labels > 0, labels, free) if free else []
    return [(round(y), round(x)) for y, x in centres]
