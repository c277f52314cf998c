"""The choice of crops: half with a lesion in the middle slice and half without, hard ones first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused
from cmbnet.slices import SliceContext, neighbour_indices
from cmbnet.training.data.cache_part import LESION
from cmbnet.training.data.reader import Cache
from cmbnet.training.fit.recipe import SamplingSettings

TRIES = 50
"""Number of draws of a centre before giving up."""

CROWD_EXPONENT = 0.5
"""A case with n lesions is drawn n**0.5 times as often as a case with one. Crowded cases bring more
lesions and do not drown the rest."""


_Crop = tuple[NDArray[np.uint8], NDArray[np.uint8]]


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of crops and their marks."""

    # Crops, uint8 (n, side, side, 3). Those at even indices have a lesion in the middle slice.
    stacks: NDArray[np.uint8]
    # Marks of the middle slice with the bits of `cmbnet.training.data.cache`, uint8 (n, side, side)
    marks: NDArray[np.uint8]


class Sampler:
    """A sampler of batches from a cache.

    `side_px` is the side of the crops. It is larger than `settings.crop_px` if augmentation turns
    them.
    """

    def __init__(self, cache: Cache, settings: SamplingSettings, side_px: int) -> None:
        if not cache.with_lesions:
            raise InputRefused("training needs a case with lesions, the cache holds none")
        self.cache = cache
        self.settings = settings
        self.side_px = side_px
        context = SliceContext(settings.context_mm)
        self._neighbours = [
            np.asarray(neighbour_indices(len(case.image), case.spacing_mm[0], context))
            for case in cache.cases
        ]
        self._mined: dict[int, NDArray[np.int16]] = {}
        crowd = np.array([cache.cases[n].lesions for n in cache.with_lesions], float)
        self._crowd_share = crowd**CROWD_EXPONENT / (crowd**CROWD_EXPONENT).sum()
        self._lesion_rows = [_rows_by_lesion(case.crop_centres.lesion) for case in cache.cases]

    def set_mined(self, mined: dict[int, NDArray[np.int16]]) -> None:
        """Replace the mined centres, given as case index -> rows (z, y, x)."""
        self._mined = {case: rows for case, rows in mined.items() if len(rows)}

    def batch(self, rng: np.random.Generator) -> Batch:
        """Draw a batch. The same state of `rng` and the same mined centres give the same batch.

        Crops with and without a lesion alternate, so every device gets equally many of each.
        """
        pairs = self.settings.batch_size // 2
        positives = [self._positive(rng) for _ in range(pairs)]
        negatives = [self._negative(rng) for _ in range(pairs)]
        crops = [crop for pair in zip(positives, negatives, strict=True) for crop in pair]
        return Batch(np.stack([c[0] for c in crops]), np.stack([c[1] for c in crops]))

    def stack(self, case: int, z: int) -> NDArray[np.uint8]:
        """Return the whole stack (3, y, x) around a slice of a case."""
        stack: NDArray[np.uint8] = self.cache.cases[case].image[self._neighbours[case][z]]
        return stack

    def _positive(self, rng: np.random.Generator) -> _Crop:
        """Draw a crop that holds a random slice of a random lesion, away from its edge."""
        case = self.cache.with_lesions[rng.choice(len(self._crowd_share), p=self._crowd_share)]
        lesions = self._lesion_rows[case]
        rows = lesions[rng.integers(len(lesions))]
        return self._crop_near(case, rows[rng.integers(len(rows))], rng)

    def _negative(self, rng: np.random.Generator) -> _Crop:
        """Draw a crop without a lesion in its middle slice. The neighbours may hold one."""
        for _ in range(TRIES):
            case, centre = self._negative_centre(rng)
            stack, marks = self._crop_near(case, centre, rng)
            if not np.any(marks & LESION):
                return stack, marks
        raise InputRefused(
            f"no crop of {self.side_px} pixels without a lesion was found in {TRIES} draws: "
            "take smaller crops or add control cases"
        )

    def _negative_centre(self, rng: np.random.Generator) -> tuple[int, Any]:
        """Draw a case, and a centre in it of a kind drawn by the weights of the recipe."""
        pools = [pool for pool in (self.cache.controls, self.cache.with_lesions) if pool]
        from_controls = rng.random() < self.settings.control_share
        pool = pools[0] if from_controls else pools[-1]
        weights = {
            "brain": self.settings.brain,
            "dark": self.settings.dark,
            "mimic": self.settings.mimic,
            "mined": self.settings.mined if self._mined else 0.0,
        }
        share = np.array(list(weights.values()))
        kind = list(weights)[rng.choice(len(share), p=share / share.sum())]
        if kind == "mined":
            pool = [case for case in pool if case in self._mined] or list(self._mined)
        for _ in range(TRIES):
            case = pool[rng.integers(len(pool))]
            rows = self._rows(case, kind)
            if len(rows):
                return case, rows[rng.integers(len(rows))]
        rows = self._rows(case, "brain")
        return case, rows[rng.integers(len(rows))]

    def _rows(self, case: int, kind: str) -> NDArray[np.int16]:
        """Return the centres (z, y, x) of one kind."""
        if kind == "mined":
            return self._mined.get(case, np.zeros((0, 3), np.int16))
        rows: NDArray[np.int16] = getattr(self.cache.cases[case].crop_centres, kind)
        return rows

    def _crop_near(self, case: int, centre: Any, rng: np.random.Generator) -> _Crop:
        """Cut a crop that holds a centre (z, y, x), or the whole slice if a crop is that large."""
        dy, dx = rng.integers(-self.settings.shift_px, self.settings.shift_px + 1, 2).tolist()
        z, y, x = (int(value) for value in centre[:3])
        content = self.cache.cases[case]
        if self.settings.crop_px >= max(content.frame_shape[1:]):
            y, x = (content.frame_shape[axis] // 2 - content.origin[axis] for axis in (1, 2))
        return self._crop(case, z, y + dy, x + dx)

    def _crop(self, case: int, z: int, y: int, x: int) -> _Crop:
        """Cut the crop centred at a voxel. Outside the cached box it is 0."""
        content = self.cache.cases[case]
        stack = np.zeros((self.side_px, self.side_px, 3), np.uint8)
        marks = np.zeros((self.side_px, self.side_px), np.uint8)
        rows_to, rows = _overlap(y - self.side_px // 2, self.side_px, content.image.shape[1])
        columns_to, columns = _overlap(x - self.side_px // 2, self.side_px, content.image.shape[2])
        for channel, index in enumerate(self._neighbours[case][z]):
            stack[rows_to, columns_to, channel] = content.image[index, rows, columns]
        marks[rows_to, columns_to] = content.marks[z, rows, columns]
        return stack, marks


def _rows_by_lesion(rows: NDArray[np.int16]) -> list[NDArray[np.int16]]:
    """Group the rows (z, y, x, lesion) by lesion."""
    return [rows[rows[:, 3] == lesion] for lesion in np.unique(rows[:, 3])]


def _overlap(start: int, length: int, size: int) -> tuple[slice, slice]:
    """Return where a window and an axis overlap: (in the window, on the axis)."""
    first, last = max(start, 0), min(start + length, size)
    last = max(first, last)
    return slice(first - start, last - start), slice(first, last)
