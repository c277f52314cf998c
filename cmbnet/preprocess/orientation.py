"""The nearest axial orientation of a grid: axes exchanged and flipped, never interpolated."""

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
    """How a native array (z, y, x) is turned to z toward S, y toward A, x toward R.

    Args:
        axes: Native axis that becomes the canonical z, y, x.
        flips: Whether the canonical z, y, x runs against its native axis.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Native to canonical; a view, nothing is copied."""
        return array.transpose(self.axes)[self._slices]

    def invert(self, array: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Canonical to native; a view, nothing is copied."""
        first, second, third = (self.axes.index(axis) for axis in range(3))
        return array[self._slices].transpose(first, second, third)

    def affine(
        self, native_affine: NDArray[np.float64], native_shape: tuple[int, int, int]
    ) -> NDArray[np.float64]:
        """Affine of the canonical array, index (z, y, x, 1) to RAS+ mm."""
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
    """The exchange and flips of axes that bring a grid closest to axial.

    Args:
        affine: (4, 4), index (z, y, x, 1) to RAS+ mm, as in `Volume`.

    Returns:
        Of the six assignments of axes the one with the largest sum of direction cosines; of
        equals (a grid turned by exactly 45 degrees) the one that moves fewer axes.
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
