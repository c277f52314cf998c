"""`View` measures what a scan shows at a place, whatever the network says of it."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.followup.changes import Elsewhere, Look, Spot

if TYPE_CHECKING:
    from cmbnet.followup.register import RigidMap
    from cmbnet.predict import Answer

LOOK_MM: Final = 2.0
"""A candidate nearer than this, or than its radius, is at a place."""

SHIFT_MM: Final = 1.5
"""How far registration, noise and partial volume may move a lesion."""

LEAST_RADIUS_MM: Final = 1.25
RING_MM: Final = (2.0, 4.0)
"""Distance from a lesion's edge at which its surroundings are bright or dark."""

STEP_MM: Final = 0.75
FAINT: Final = 0.05
"""Less darkness than this is noise."""


class View:
    """A scan in the world of the first.

    Args:
        answer: The scan, and what was found on it.
        found: How it lies on the first.
    """

    def __init__(self, answer: Answer, found: RigidMap) -> None:
        self.answer, self._map = answer, found

    @cached_property
    def _to_index(self) -> NDArray[np.floating]:
        inverse: NDArray[np.floating] = np.linalg.inv(self.answer.volume.affine)
        return inverse

    def _index(self, points_mm: NDArray[np.floating]) -> NDArray[np.floating]:
        there = self._map.from_first(points_mm)
        index: NDArray[np.floating] = there @ self._to_index[:3, :3].T + self._to_index[:3, 3]
        return index

    def spots(self) -> list[Spot]:
        """Return the lesions of the scan."""
        lesions = self.answer.found.lesions
        centres = self._map.to_first(np.array([x.centre_ras_mm for x in lesions]).reshape(-1, 3))
        return [
            Spot(one.id, (x, y, z), one.equivalent_diameter_mm, one.volume_mm3)
            for one, (x, y, z) in zip(lesions, centres.tolist(), strict=True)
        ]

    def holds(self, spot: Spot) -> bool:
        """Return whether the field of view holds the centre of a spot."""
        (middle,) = np.rint(self._index(np.array([spot.centre_mm])))
        return bool(np.all(middle >= 0) and np.all(middle < self.answer.volume.shape))

    def darkness(self, spot: Spot, *, reach_mm: float = 0.0) -> float:
        """Return how much darker than its surroundings a ball of the spot's size is, 0 to 1.

        Args:
            spot: Where, and how large.
            reach_mm: How far from there the darkest ball is looked for.
        """
        radius = max(LEAST_RADIUS_MM, spot.diameter_mm / 2)
        count = int(np.ceil((radius + RING_MM[1]) / STEP_MM))
        steps = np.arange(-count, count + 1) * STEP_MM
        grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1)
        away = np.linalg.norm(grid, axis=-1)
        index = self._index((grid + spot.centre_mm).reshape(-1, 3))
        data = self.answer.volume.data
        values = ndimage.map_coordinates(data, index.T, order=1, mode="nearest", output=np.float32)
        values = values.reshape(away.shape)
        around = (away >= radius + RING_MM[0]) & (away <= radius + RING_MM[1])
        ball = (away <= radius).astype(np.float32)
        bright = float(np.median(values[around]))
        smooth = ndimage.convolve(values, ball / ball.sum(), mode="nearest")
        darkest = float(smooth[away <= max(reach_mm, STEP_MM / 2)].min())
        return 1 - darkest / bright if bright > 0 else 0.0

    def candidate(self, spot: Spot) -> float | None:
        """Return the highest probability of the excluded candidates at a spot, or None."""
        (there,) = self._map.from_first(np.array([spot.centre_mm]))
        near = [
            one.max_probability
            for one in self.answer.found.excluded
            if np.linalg.norm(np.subtract(one.centre_ras_mm, there))
            <= max(LOOK_MM, one.equivalent_diameter_mm / 2)
        ]
        return max(near, default=None)


def looking(other: View, own: View) -> Look:
    """Make a function that looks at the other scan at the place of a lesion of its own scan."""

    def look(spot: Spot) -> Elsewhere | None:
        if not other.holds(spot):
            return None
        darkness = other.darkness(spot, reach_mm=SHIFT_MM) / max(own.darkness(spot), FAINT)
        return Elsewhere(darkness, other.candidate(spot))

    return look
