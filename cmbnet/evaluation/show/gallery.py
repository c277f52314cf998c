"""The error gallery: missed and false lesions on the slice through their centre."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from cmbnet.evaluation.match.case import Case
from cmbnet.evaluation.match.score import ScoredCase, ScoredLesion, predicted_volume
from cmbnet.evaluation.show.figures import GREY, drawing
from cmbnet.volume import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from cmbnet.evaluation.match.case import Settings

HALF_MM, STEP_MM = 14.0, 0.25
PER_KIND = 12
COLUMNS = 6


def worst_errors(cases: Sequence[ScoredCase]) -> list[tuple[str, ScoredLesion]]:
    """Choose the largest missed and the highest-scored (else largest) false lesions."""
    missed = [(c.name, t) for c in cases for t in c.truth if t.verdict == "missed"]
    false = [(c.name, p) for c in cases for p in c.predicted if p.verdict == "false"]
    missed.sort(key=lambda one: -one[1].diameter_mm)
    false.sort(
        key=lambda one: (-np.nan_to_num(one[1].detection_score, nan=0.0), -one[1].diameter_mm)
    )
    return missed[:PER_KIND] + false[:PER_KIND]


def error_gallery(
    errors: Sequence[tuple[str, ScoredLesion]],
    load: Callable[[str], tuple[Case, Volume | None]],
    settings: Settings,
) -> Figure:
    """Draw the errors of `worst_errors`. `load` reads a case and, if there is one, its image."""
    by_case: dict[str, list[int]] = {}
    for index, (name, _) in enumerate(errors):
        by_case.setdefault(name, []).append(index)
    rows = max(1, -(-len(errors) // COLUMNS))
    with drawing((1.9 * COLUMNS, 2.25 * rows + 0.6)) as figure:
        axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for ax in axes:
            ax.axis("off")
        for name, members in by_case.items():  # each case is read once
            case, image = load(name)
            predicted = predicted_volume(case, settings)
            for index in members:
                lesion = errors[index][1]
                axes[index].set_title(f"{_title(lesion)}\n{name}", fontsize=7)
                _draw_tile(axes[index], lesion.centroid_ras_mm, image, (case.truth, predicted))
        if not errors:
            axes[0].text(0, 0.5, "No missed and no false lesion.")
        figure.suptitle(
            f"Errors: outline of true lesions blue, of predicted ones orange and dashed; "
            f"{2 * HALF_MM:g} mm squares, the patient's right on the left",
            fontsize=9,
            color=GREY,
        )
    return figure


def _title(lesion: ScoredLesion) -> str:
    what = "missed" if lesion.verdict == "missed" else "false"
    score = "" if np.isnan(lesion.score) else f", p {lesion.score:.2f}"
    return f"{what}, {lesion.diameter_mm:.1f} mm{score}"


def _draw_tile(
    ax: Any, at: tuple[float, float, float], image: Volume | None, sides: tuple[Volume, Volume]
) -> None:
    """Draw the image, or grey, with the outlines of true and predicted lesions."""
    masks = [axial_cut(side, at, order=0, present=True) > 0.5 for side in sides]
    if image is None:
        ax.imshow(np.full(masks[0].shape, 0.92), cmap="gray", vmin=0, vmax=1)
    else:
        cut = axial_cut(image, at, order=1)
        low, high = _window(image, cut)
        ax.imshow(cut, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
    for mask, colour, style in zip(masks, ("#3fa9f5", "#ff8c2b"), ("-", "--"), strict=True):
        if mask.any() and not mask.all():
            ax.contour(mask, levels=[0.5], colors=colour, linestyles=style, linewidths=1.2)


def _window(image: Volume, cut: NDArray[np.float64]) -> tuple[float, float]:
    """Choose black for the whole scan and white for the tile, because coils shade a head."""
    low, high = np.percentile(image.data[::2, ::4, ::4], 2), np.percentile(cut, 99.5)
    return float(low), float(high)


def axial_cut(
    volume: Volume, centre_ras_mm: tuple[float, float, float], *, order: int, present: bool = False
) -> NDArray[np.float64]:
    """Cut an axial square around a point. In radiological order, the patient's right is left.

    The cut is sampled in world coordinates, so the file's orientation does not matter.

    Args:
        volume: Volume on any grid.
        centre_ras_mm: Middle of the square.
        order: 0 takes the nearest voxel, 1 interpolates linearly.
        present: Whether to sample "the value is not 0" instead of the value.

    Returns:
        The square with rows from anterior to posterior and columns from right to left. Outside
        the grid it is 0.
    """
    offsets = np.arange(-HALF_MM, HALF_MM + STEP_MM / 2, STEP_MM)
    anterior, right = np.meshgrid(-offsets, -offsets, indexing="ij")
    world = np.stack([right, anterior, np.zeros_like(right), np.ones_like(right)])
    world[:3] += np.array(centre_ras_mm)[:, None, None]
    index = np.einsum("ij,jyx->iyx", np.linalg.inv(volume.affine), world)[:3]
    # Only the slab around the cut is looked at: a scan has 10 million voxels, the cut 13,000.
    low = np.clip(np.floor(index.min(axis=(1, 2))).astype(int) - 1, 0, None)
    high = np.ceil(index.max(axis=(1, 2))).astype(int) + 2
    slab = volume.data[tuple(slice(a, max(a + 1, b)) for a, b in zip(low, high, strict=True))]
    if slab.size == 0:
        return np.zeros(right.shape)
    values = (slab != 0).astype(np.float32) if present else slab.astype(np.float32)
    cut: NDArray[np.float64] = map_coordinates(values, index - low[:, None, None], order=order)
    return cut
