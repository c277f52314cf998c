"""2.5D input: three slices in, the mask of the middle one out; and where there is brain at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np

from cmbnet.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_MARGIN_PIXELS: Final = 8
"""Room left around the brain in a crop, so that the network does not see the cut."""


@dataclass(frozen=True, slots=True)
class SliceContext:
    """Which two slices stand beside the middle one.

    Args:
        kind: ``adjacent``: the slices above and below, as in the paper; ``target_mm``: the
            slices nearest to `target_mm` above and below, never the middle slice itself.
        target_mm: Distance, mm, positive; implies ``target_mm``.

    Raises:
        UsageError: A distance that is not positive, or missing, or with ``adjacent``.

    Examples:
        >>> SliceContext(target_mm=2.0).offset(0.8)
        3
        >>> SliceContext("adjacent").offset(0.8)
        1
    """

    kind: Literal["adjacent", "target_mm"] | None = None
    target_mm: float | None = None

    def __post_init__(self) -> None:
        if self.kind is None:
            chosen = "adjacent" if self.target_mm is None else "target_mm"
            object.__setattr__(self, "kind", chosen)
        if self.kind not in ("adjacent", "target_mm"):
            raise UsageError(f"slice context must be adjacent or target_mm, got {self.kind!r}")
        if (self.kind == "target_mm") != (self.target_mm is not None):
            raise UsageError("slice context: target_mm is required for, and only for, target_mm")
        if self.target_mm is not None and not 0 < self.target_mm < 100:
            raise UsageError(f"slice context: target_mm must be in 0..100, got {self.target_mm}")

    def offset(self, spacing_z_mm: float) -> int:
        """Slices between the middle and its neighbours, at least 1; of equals the farther."""
        if self.target_mm is None:
            return 1
        return max(1, int(np.floor(self.target_mm / spacing_z_mm + 0.5)))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON or YAML; `from_dict` gives the same context back."""
        return {"kind": self.kind, "target_mm": self.target_mm}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> SliceContext:
        """The context of `to_dict`.

        Raises:
            UsageError: An unknown key or value.
        """
        unknown = sorted(set(values) - {"kind", "target_mm"})
        if unknown:
            raise UsageError(f"slice context: unknown settings {', '.join(unknown)}")
        return cls(values.get("kind"), values.get("target_mm"))


def neighbour_indices(
    n_slices: int, spacing_z_mm: float, context: SliceContext
) -> NDArray[np.intp]:
    """The three slices that are the input for each slice.

    Args:
        n_slices: Slices of the scan, at least 1.
        spacing_z_mm: Distance between slices.
        context: Which neighbours.

    Returns:
        (n_slices, 3): below, middle, above. At the ends the last slice stands in for what is
        missing.

    Examples:
        >>> neighbour_indices(3, 2.0, SliceContext("adjacent")).tolist()
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
    """The network's input for some slices.

    Args:
        image: (z, y, x), the frame or a crop of it with all its slices.
        indices: Middle slices, shape (k,).
        spacing_z_mm: Distance between slices.
        context: Which neighbours.

    Returns:
        float32 (k, y, x, 3), C-contiguous; channels below, middle, above.
    """
    neighbours = neighbour_indices(len(image), spacing_z_mm, context)[np.asarray(indices, np.intp)]
    stacks = np.empty((len(neighbours), *image.shape[1:], 3), np.float32)
    for stack, triple in zip(stacks, neighbours, strict=True):
        for channel, index in enumerate(triple):
            stack[..., channel] = image[index]
    return stacks


@dataclass(frozen=True, slots=True)
class BrainBox:
    """What of a frame has to be looked at.

    Args:
        slices: Slices that hold brain, ascending, shape (k,).
        y: Rows of the crop.
        x: Columns of the crop.
    """

    slices: NDArray[np.intp]
    y: slice
    x: slice

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the crop."""
        return self.y.stop - self.y.start, self.x.stop - self.x.start

    def crop(self, image: NDArray[Any]) -> NDArray[Any]:
        """The crop of all slices of an array (z, y, x); a view."""
        return image[:, self.y, self.x]


def brain_box(
    brain: NDArray[np.bool_],
    *,
    shapes: Sequence[tuple[int, int]] | None = None,
    multiple: int = 8,
    margin_pixels: int = DEFAULT_MARGIN_PIXELS,
) -> BrainBox:
    """Find the slices with brain, and the smallest crop that holds all of it.

    Args:
        brain: bool (z, y, x) in the frame.
        shapes: Rows and columns that the network accepts; the smallest (by area) that holds the
            brain and its margin is taken, else the whole frame. None: any multiple of `multiple`.
        multiple: The network's stride.
        margin_pixels: Room around the brain; at the border of the frame less is left.

    Returns:
        The box. Without brain: no slices, and the whole frame.

    Raises:
        UsageError: No shape is accepted that lies within the frame, or the frame is none of
            `shapes` and the brain fits in none.
    """
    rows, columns = brain.shape[1:]
    in_plane = brain.any(axis=0)
    slices = np.flatnonzero(brain.any(axis=(1, 2)))
    if slices.size == 0:
        return BrainBox(slices, slice(0, rows), slice(0, columns))
    spans = [_span(np.flatnonzero(in_plane.sum(axis=1)), rows, margin_pixels)]
    spans.append(_span(np.flatnonzero(in_plane.sum(axis=0)), columns, margin_pixels))
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


def _span(used: NDArray[np.intp], size: int, margin: int) -> tuple[int, int]:
    """First and last (exclusive) index in use, with a margin inside 0..size."""
    return max(int(used[0]) - margin, 0), min(int(used[-1]) + 1 + margin, size)


def _place(span: tuple[int, int], length: int, size: int) -> slice:
    """A slice of `length` within 0..size that holds the span, the span in its middle."""
    start = (span[0] + span[1] - length) // 2
    start = min(max(start, 0), size - length)
    return slice(start, start + length)
