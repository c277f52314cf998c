"""2.5D input: stacks of three slices, and the part of a scan that holds brain.

The network sees three slices and answers for the middle one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cmbnet.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_MARGIN_PIXELS: Final = 8
"""Margin around the brain in a crop. It keeps the cut out of the network's view."""

STRIDE: Final = 8
"""The network halves its resolution three times: its crops begin and end on this grid."""


@dataclass(frozen=True, slots=True)
class SliceContext:
    """The rule that chooses the two slices beside the middle one.

    Args:
        target_mm: The slices nearest to this distance above and below are taken, and never the
            middle slice itself. None takes the adjacent slices, as in the paper.

    Raises:
        UsageError: If the distance is not in 0 to 100 mm.

    Examples:
        >>> SliceContext(target_mm=2.0).offset(0.8)
        3
        >>> SliceContext().offset(0.8)
        1
    """

    target_mm: float | None = None

    def __post_init__(self) -> None:
        if self.target_mm is not None and not 0 < self.target_mm < 100:
            raise UsageError(f"slice context: target_mm must be in 0..100, got {self.target_mm}")

    def offset(self, spacing_z_mm: float) -> int:
        """Return the distance of the neighbours in slices, at least 1; a tie takes the farther."""
        if self.target_mm is None:
            return 1
        return max(1, int(np.floor(self.target_mm / spacing_z_mm + 0.5)))


def neighbour_indices(
    n_slices: int, spacing_z_mm: float, context: SliceContext
) -> NDArray[np.intp]:
    """Return the three slices that are the input for each slice.

    Args:
        n_slices: Number of slices of the scan, at least 1.
        spacing_z_mm: Distance between slices.
        context: Which neighbours.

    Returns:
        Array of shape (n_slices, 3): below, middle, above. At the ends of the scan, the last slice
        replaces a missing one.

    Examples:
        >>> neighbour_indices(3, 2.0, SliceContext()).tolist()
        [[0, 0, 1], [0, 1, 2], [1, 2, 2]]
    """
    if n_slices < 1 or not spacing_z_mm > 0:
        raise UsageError(
            f"slices and a positive spacing are required, got {n_slices} at {spacing_z_mm} mm"
        )
    offset = context.offset(spacing_z_mm)
    middle = np.arange(n_slices)[:, None]
    wanted: NDArray[np.intp] = middle + np.array([-offset, 0, offset])
    return wanted.clip(0, n_slices - 1)


def make_stacks(
    image: NDArray[np.float32],
    indices: Sequence[int] | NDArray[np.integer[Any]],
    *,
    spacing_z_mm: float,
    context: SliceContext,
) -> NDArray[np.float32]:
    """Make the network's input for some slices.

    Args:
        image: The frame, or a crop of it with all its slices, of shape (z, y, x).
        indices: Indices of the middle slices, of shape (k,).
        spacing_z_mm: Distance between slices.
        context: Which neighbours.

    Returns:
        C-contiguous float32 array of shape (k, y, x, 3). The channels are below, middle, above.
    """
    neighbours = neighbour_indices(len(image), spacing_z_mm, context)[np.asarray(indices, np.intp)]
    stacks = np.empty((len(neighbours), *image.shape[1:], 3), np.float32)
    for stack, triple in zip(stacks, neighbours, strict=True):
        for channel, index in enumerate(triple):
            stack[..., channel] = image[index]
    return stacks


@dataclass(frozen=True, slots=True)
class BrainBox:
    """The part of a frame that the network must see."""

    slices: NDArray[np.intp]  # Ascending indices of the slices that hold brain, of shape (k,)
    y: slice  # Rows of the crop
    x: slice  # Columns of the crop

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the crop."""
        return self.y.stop - self.y.start, self.x.stop - self.x.start

    def crop(self, image: NDArray[Any]) -> NDArray[Any]:
        """Crop all slices of an array (z, y, x). The result is a view."""
        return image[:, self.y, self.x]


def brain_box(
    brain: NDArray[np.bool_],
    *,
    shapes: Sequence[tuple[int, int]] | None = None,
    multiple: int = STRIDE,
    margin_pixels: int = DEFAULT_MARGIN_PIXELS,
) -> BrainBox:
    """Find the slices with brain, and the smallest crop that holds all of it.

    Args:
        brain: Mask of the brain in the frame, bool, of shape (z, y, x).
        shapes: Rows and columns that the network accepts. The smallest shape (by area) that holds
            the brain and its margin is taken. If none does, the whole frame is taken. With None,
            every multiple of `multiple` is accepted.
        multiple: The network's stride.
        margin_pixels: Margin around the brain. At the border of the frame it may be smaller.

    Returns:
        The box. Without brain, it has no slices and covers the whole frame.

    Raises:
        UsageError: If no accepted shape lies within the frame, or if the brain fits in none of
            `shapes` and the frame is not among them.
    """
    rows, columns = brain.shape[1:]
    slices = np.flatnonzero(brain.any(axis=(1, 2)))
    if slices.size == 0:
        return BrainBox(slices, slice(0, rows), slice(0, columns))
    spans = _spans(np.any(brain, axis=0), margin_pixels)
    needed = (spans[0][1] - spans[0][0], spans[1][1] - spans[1][0])
    if shapes is None:
        chosen = tuple(
            min(-(-need // multiple) * multiple, size)
            for need, size in zip(needed, (rows, columns), strict=True)
        )
    else:
        fitting = [
            shape
            for shape in shapes
            if needed[0] <= shape[0] <= rows and needed[1] <= shape[1] <= columns
        ]
        if not fitting:
            raise UsageError(
                f"a network shape of at least {needed} within the frame {(rows, columns)} is "
                f"required, got {list(shapes)}"
            )
        chosen = min(fitting, key=lambda shape: shape[0] * shape[1])
    y, x = (
        _place(span, length, size)
        for span, length, size in zip(spans, chosen, (rows, columns), strict=True)
    )
    return BrainBox(slices, y, x)


def runs_of_slices(
    brain: NDArray[np.bool_], box: BrainBox, *, shapes: Sequence[tuple[int, int]]
) -> tuple[BrainBox, ...]:
    """Cut a box into runs of slices, each with the smallest crop that holds its brain.

    The brain is small near its top and its base, so a network of several shapes has a quarter less
    to do. All crops lie in the box, and begin at multiples of `STRIDE` in it: the network halves
    its resolution at the same pixels in all of them.

    Args:
        brain: Mask of the brain in the frame, bool, of shape (z, y, x).
        box: What `brain_box` found for `brain` and `shapes`.
        shapes: Rows and columns that the network accepts.

    Returns:
        The runs in the order of their slices. Together they have the slices of the box.
    """
    within = [s for s in shapes if s[0] <= box.shape[0] and s[1] <= box.shape[1]]

    def smallest(index: np.intp) -> tuple[int, int]:
        return brain_box(brain[index : index + 1], shapes=within).shape

    runs = []
    for _, members in groupby(box.slices, key=smallest):
        slices = np.array(list(members))
        found = brain_box(brain[slices], shapes=within)
        y, x = (_aligned(part, whole) for part, whole in ((found.y, box.y), (found.x, box.x)))
        runs.append(BrainBox(slices, y, x))
    return tuple(runs)


def _aligned(part: slice, whole: slice) -> slice:
    """Move a slice into another one, to the nearest multiple of `STRIDE` from its start."""
    length = part.stop - part.start
    steps = round((part.start - whole.start) / STRIDE)
    start = whole.start + STRIDE * min(max(steps, 0), (whole.stop - whole.start - length) // STRIDE)
    return slice(start, start + length)


def _spans(in_plane: NDArray[np.bool_], margin: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the first and last (exclusive) row and column in use, with a margin in the frame."""
    rows, columns = (
        (max(int(used[0]) - margin, 0), min(int(used[-1]) + 1 + margin, size))
        for used, size in (
            (np.flatnonzero(in_plane.any(axis=1)), in_plane.shape[0]),
            (np.flatnonzero(in_plane.any(axis=0)), in_plane.shape[1]),
        )
    )
    return rows, columns


def _place(span: tuple[int, int], length: int, size: int) -> slice:
    """Return a slice of `length` within 0..size with the span in its middle."""
    start = (span[0] + span[1] - length) // 2
    start = min(max(start, 0), size - length)
    return slice(start, start + length)
