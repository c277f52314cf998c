"""`FrameTransform`: the transform between the grid of a scan and the frame of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from cmbnet.errors import InputRefused
from cmbnet.preprocess.orientation import Orientation
from cmbnet.preprocess.resample import PlaneResampler, sampling_matrix
from cmbnet.threads import in_slabs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from cmbnet.preprocess.recipe import PreprocessRecipe

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class AxisMap:
    """The map of one axis: pixel j of the frame lies at index ``start + step * j`` of the scan."""

    n_frame: int  # Number of pixels of the frame
    n_canonical: int  # Number of voxels of the scan along this axis, in canonical direction
    start: float  # Canonical index of frame pixel 0. It may lie outside the scan.
    step: float  # Frame pixel divided by native pixel, positive

    @property
    def is_shift(self) -> bool:
        """Whether the frame only crops or pads, without interpolation."""
        return self.step == 1.0 and float(self.start).is_integer()

    def canonical_positions(self) -> NDArray[np.float64]:
        """Return the canonical index of each frame pixel."""
        return self.start + self.step * np.arange(self.n_frame, dtype=np.float64)

    def frame_positions(self) -> NDArray[np.float64]:
        """Return the frame index of each canonical voxel."""
        return (np.arange(self.n_canonical, dtype=np.float64) - self.start) / self.step

    def overlap(self) -> tuple[slice, slice]:
        """Return where scan and frame overlap, for a pure shift: (in the frame, in the scan)."""
        first = max(0, -int(self.start))
        last = min(self.n_frame, self.n_canonical - int(self.start))
        last = max(first, last)
        return slice(first, last), slice(first + int(self.start), last + int(self.start))


@dataclass(frozen=True, slots=True)
class FrameTransform:
    """The transform between the native grid (z, y, x) and the frame (z, size, size).

    Slices are never resampled. Slice k of the frame is slice k of the canonical scan.
    """

    orientation: Orientation  # The turn from native to canonical axes
    native_shape: tuple[int, int, int]  # Shape of the scan as stored
    n_slices: int  # Number of slices of the canonical scan and of the frame
    y: AxisMap  # The map of rows
    x: AxisMap  # The map of columns
    antialias_from: float = 1.5  # See `PreprocessRecipe`

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an array in the frame."""
        return self.n_slices, self.y.n_frame, self.x.n_frame

    def affine(self, native_affine: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the affine of the frame, from index (z, y, x, 1) to RAS+ mm."""
        to_canonical = np.diag([1.0, self.y.step, self.x.step, 1.0])
        to_canonical[1, 3], to_canonical[2, 3] = self.y.start, self.x.start
        product: NDArray[np.float64] = (
            self.orientation.affine(native_affine, self.native_shape) @ to_canonical
        )
        return product

    def image_from_native(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Bring an image into the frame by linear interpolation. Outside the scan it is 0.

        The image is float32 on the native grid. Return C-contiguous float32 of shape `shape`.
        """
        canonical = self.orientation.apply(self._checked(image, self.native_shape))
        if self.y.is_shift and self.x.is_shift:
            return self._shifted(canonical)
        # The flips go into the matrices: a matrix product of a view that runs backwards copies.
        unflipped = self.orientation.flips
        canonical = canonical[:, :: -1 if unflipped[1] else 1, :: -1 if unflipped[2] else 1]
        rows = self._forward_matrix(self.y, flip=unflipped[1])
        columns = self._forward_matrix(self.x, flip=unflipped[2])
        return PlaneResampler(rows, columns).all_slices(canonical)

    def from_native(self, mask: NDArray[_Scalar]) -> NDArray[_Scalar]:
        """Bring a mask or labels into the frame without losing a label.

        A frame pixel takes the nearest native voxel. If frame pixels are larger than native voxels,
        it takes the largest label of all native voxels nearest to it, so a lesion of one voxel
        stays. A mask may thereby grow by half a native step, `step - 1`.
        The mask is on the native grid, of any dtype.
        """
        canonical = self.orientation.apply(self._checked(mask, self.native_shape))
        result = np.zeros(self.shape, mask.dtype)

        def fill(slab: slice) -> None:
            taken = canonical[slab]
            if taken.any():  # most slices hold no lesion
                taken = _take_largest(taken, self.y, axis=1)
                result[slab] = _take_largest(taken, self.x, axis=2)

        in_slabs(fill, self.n_slices, slab=1)
        return result

    def to_native(
        self,
        array: NDArray[_Scalar],
        *,
        order: Literal[0, 1] = 0,
        window: tuple[slice, slice] | None = None,
    ) -> NDArray[_Scalar]:
        """Bring an array of the frame back onto the grid of the scan. Outside the frame it is 0.

        Args:
            array: Array of shape `shape`. For order 1 it is float32.
            order: 0 takes the nearest frame pixel (masks, labels). 1 interpolates linearly
                (probabilities).
            window: Rows and columns of the frame that `array` holds. The rest of the frame is 0.

        Returns:
            A C-contiguous array of shape `native_shape` and the dtype of `array`.
        """
        rows, columns = window or (slice(0, self.y.n_frame), slice(0, self.x.n_frame))
        n_rows, n_columns = rows.stop - rows.start, columns.stop - columns.start
        array = self._checked(array, (self.n_slices, n_rows, n_columns))
        native = np.empty(self.native_shape, array.dtype)
        canonical = self.orientation.apply(native)  # a view: what is written to it turns by itself
        if order == 0 or (self.y.is_shift and self.x.is_shift):
            y = _nearest(self.y.frame_positions()) - rows.start
            x = _nearest(self.x.frame_positions()) - columns.start

            def fill(slab: slice) -> None:
                canonical[slab] = _take(_take(array[slab], y, n_rows, axis=1), x, n_columns, axis=2)

        else:
            resampler = PlaneResampler(
                sampling_matrix(self.y.n_frame, self.y.frame_positions())[:, rows],
                sampling_matrix(self.x.n_frame, self.x.frame_positions())[:, columns],
            )

            def fill(slab: slice) -> None:
                canonical[slab] = resampler(array[slab])

        in_slabs(fill, self.n_slices)
        return native

    def _checked(self, array: NDArray[_Scalar], shape: tuple[int, int, int]) -> NDArray[_Scalar]:
        if array.shape != shape:
            raise InputRefused(f"an array of shape {shape} is required, got {array.shape}")
        return array

    def _shifted(self, canonical: NDArray[np.float32]) -> NDArray[np.float32]:
        """Crop and pad. The values are copied unchanged."""
        result = np.zeros(self.shape, np.float32)
        rows_to, rows_from = self.y.overlap()
        columns_to, columns_from = self.x.overlap()
        result[:, rows_to, columns_to] = canonical[:, rows_from, columns_from]
        return result

    def _forward_matrix(self, axis: AxisMap, *, flip: bool) -> NDArray[np.float32]:
        support = axis.step if axis.step >= self.antialias_from else 1.0
        matrix = sampling_matrix(axis.n_canonical, axis.canonical_positions(), support=support)
        return matrix[:, ::-1] if flip else matrix


def fit_frame(
    recipe: PreprocessRecipe,
    orientation: Orientation,
    native_shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    centre_yx: tuple[float, float],
) -> FrameTransform:
    """Choose the frame of a scan by a recipe.

    `orientation` turns native to canonical axes; spacing and `centre_yx`, the middle of the brain,
    are canonical.
    """
    n_slices, *in_plane = (native_shape[axis] for axis in orientation.axes)
    axes = []
    for n, pixel_mm, centre in zip(in_plane, spacing_mm[1:], centre_yx, strict=True):
        if recipe.frame == "paper":
            step = min(in_plane) / recipe.size
            middle = (n - 1) / 2
        else:
            near = abs(pixel_mm / recipe.pixel_mm - 1) <= recipe.pixel_tolerance
            step = 1.0 if near else recipe.pixel_mm / pixel_mm
            middle = centre
        start = middle - step * (recipe.size - 1) / 2
        if step == 1.0:
            start = float(np.floor(start + 0.5))  # a whole shift: nothing is interpolated
        axes.append(AxisMap(recipe.size, n, start, step))
    return FrameTransform(
        orientation, native_shape, n_slices, axes[0], axes[1], recipe.antialias_from
    )


def _nearest(positions: NDArray[np.float64]) -> NDArray[np.intp]:
    return np.floor(positions + 0.5).astype(np.intp)


def _take_largest(array: NDArray[_Scalar], axis_map: AxisMap, *, axis: int) -> NDArray[_Scalar]:
    """Bring labels from canonical axis to frame along one axis. Outside the scan they are 0."""
    if axis_map.step <= 1.0:
        nearest = _nearest(axis_map.canonical_positions())
        return _take(array, nearest, axis_map.n_canonical, axis)
    target = _nearest(axis_map.frame_positions())
    inside = np.flatnonzero((target >= 0) & (target < axis_map.n_frame))
    shape = list(array.shape)
    shape[axis] = axis_map.n_frame
    result = np.zeros(shape, array.dtype)
    if inside.size:
        pixels, first = np.unique(target[inside], return_index=True)
        kept = np.take(array, inside, axis=axis)
        moved = np.moveaxis(result, axis, 0)
        moved[pixels] = np.moveaxis(np.maximum.reduceat(kept, first, axis=axis), axis, 0)
    return result


def _take(array: NDArray[_Scalar], index: NDArray[np.intp], n: int, axis: int) -> NDArray[_Scalar]:
    """Take elements of one axis by index. An index outside 0..n-1 gives 0."""
    outside = (index < 0) | (index >= n)
    taken: NDArray[_Scalar] = np.take(array, np.clip(index, 0, n - 1), axis=axis)
    if outside.any():
        np.moveaxis(taken, axis, 0)[outside] = 0
    return taken
