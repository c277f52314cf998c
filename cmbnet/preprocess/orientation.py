"""The nearest axial orientation of a grid. Axes are exchanged and flipped, never interpolated."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_Scalar = TypeVar("_Scalar", bound=np.generic)

_WORLD_AXIS = (2, 1, 0)
"""World axis (Right, Anterior, Superior) that the canonical axes z, y, x follow."""


@dataclass(frozen=True, slots=True)
class Orientation:
    """The turn of a native array (z, y, x) to z toward S, y toward A, x toward R."""

    axes: tuple[int, int, int]  # Native axis that becomes the canonical z, y, x
    flips: tuple[bool, bool, bool]  # Whether the canonical z, y, x runs against its native axis

    def apply(self, array: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Turn an array from native to canonical axes. The result is a view."""
        return array.transpose(self.axes)[self._slices]

    def invert(self, array: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Turn an array from canonical to native axes. The result is a view."""
        first, second, third = (self.axes.index(axis) for axis in range(3))
        return array[self._slices].transpose(first, second, third)

    def affine(
        self, native_affine: NDArray[np.float64], native_shape: tuple[int, int, int]
    ) -> NDArray[np.float64]:
        """Return the affine of the canonical array, from index (z, y, x, 1) to RAS+ mm."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1.0
        for canonical, (native, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            matrix[native, canonical] = -1.0 if flip else 1.0
            if flip:
                matrix[native, 3] = native_shape[native] - 1
        product: NDArray[np.float64] = native_affine @ matrix
        return product

    @property
    def _slices(self) -> tuple[slice, slice, slice]:
        z, y, x = (slice(None, None, -1 if flip else 1) for flip in self.flips)
        return z, y, x


def closest_orientation(affine: NDArray[np.float64]) -> Orientation:
    """Find the exchange and flips of axes that bring a grid closest to axial.

    Args:
        affine: Affine from index (z, y, x, 1) to RAS+ mm, of shape (4, 4), as in `Volume`.

    Returns:
        The assignment of axes, of six, with the largest sum of direction cosines. A tie (a grid
        turned by exactly 45 degrees) takes the one that moves fewer axes.
    """
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)

    def alignment(axes: tuple[int, ...]) -> float:
        pairs = zip(_WORLD_AXIS, axes, strict=True)
        return round(float(sum(abs(directions[world, native]) for world, native in pairs)), 6)

    # max() keeps the first of equals, and permutations() starts with the identity.
    z, y, x = max(permutations(range(3)), key=alignment)
    flips = tuple(
        bool(directions[world, native] < 0)
        for world, native in zip(_WORLD_AXIS, (z, y, x), strict=True)
    )
    return Orientation((z, y, x), (flips[0], flips[1], flips[2]))
