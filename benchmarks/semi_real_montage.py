"""Picture of planted lesions: each before and after, with size, loss of signal and verdict."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmbnet import RESEARCH_USE_ONLY

if TYPE_CHECKING:
    from benchmarks.planted.plant import Copy
    from cmbnet.evaluation import ScoredCase
    from cmbnet.phantom.truth import LesionTruth

COLUMNS = 10
REACH_MM = 11.0
COLOURS = {"found": "lime", "missed": "red", "": "orange"}
Shown = tuple["Copy", "LesionTruth", str]


def write_montage(pictures: list[tuple[str, list[tuple[Copy, ScoredCase]]]], path: Path) -> None:
    """Two rows for each scan: lesions from small to large, without and with them.

    Args:
        pictures: Name of a scan, and its copies with their scores.
        path: A ``.png`` file.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(
        2 * len(pictures), COLUMNS, figsize=(1.5 * COLUMNS, 3.25 * len(pictures)), squeeze=False
    )
    for axis in axes.ravel():
        axis.set(xticks=[], yticks=[], frame_on=False)
    for number, (name, results) in enumerate(pictures):
        axes[2 * number, 0].set_title(name, fontsize=9, loc="left", fontweight="bold")
        for column, shown in enumerate(_chosen(results)):
            _draw(axes[2 * number : 2 * number + 2, column], *shown, titled=column > 0)
    figure.suptitle(
        f"simulated lesions in real ordinary brains, before and after; green found, red missed, "
        f"orange not visible enough to count. {RESEARCH_USE_ONLY}",
        fontsize=9,
    )
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    figure.savefig(path, dpi=75)
    plt.close(figure)


def _chosen(results: list[tuple[Copy, ScoredCase]]) -> list[Shown]:
    """Lesions evenly through the range of sizes."""
    every: list[Shown] = []
    for copy, scored in results:
        verdicts = {one.label: str(one.verdict) for one in scored.truth}
        for row in copy.rows:
            verdict = verdicts.get(row.lesion, "") if row.lesion else ""
            every.append((copy, row, verdict if verdict in COLOURS else ""))
    every.sort(key=lambda one: one[1].diameter_mm)
    if not every:
        return []
    return [every[n] for n in np.unique(np.linspace(0, len(every) - 1, COLUMNS).astype(int))]


def _draw(axes: Any, copy: Copy, row: LesionTruth, verdict: str, *, titled: bool) -> None:
    spacing = copy.image.spacing_mm
    z = int(np.clip(round(row.z), 0, copy.image.shape[0] - 1))
    top = float(np.percentile(copy.without.data, 99.5))
    flips = [-1 if copy.image.affine[:3, axis].sum() < 0 else 1 for axis in (1, 2)]
    for axis, volume in zip(axes, (copy.without, copy.image), strict=True):
        axis.set(frame_on=True, facecolor="black")
        axis.imshow(volume.data[z], cmap="gray", vmin=0, vmax=top, aspect=spacing[1] / spacing[2])
        y_mm, x_mm = REACH_MM / spacing[1], REACH_MM / spacing[2]
        axis.set_xlim(row.x - x_mm * flips[1], row.x + x_mm * flips[1])
        axis.set_ylim(row.y - y_mm * flips[0], row.y + y_mm * flips[0])
    words = f"{row.diameter_mm:.1f} mm  -{row.peak_drop:.0%}"
    axes[1].set_title(words, fontsize=8, color="black", pad=2)
    axes[1].add_patch(_ring(row, spacing, COLOURS[verdict]))
    if titled:
        axes[0].set_title(verdict or row.status, fontsize=8, pad=2)


def _ring(row: LesionTruth, spacing: tuple[float, float, float], colour: str) -> Any:
    from matplotlib.patches import Ellipse

    reach = row.diameter_mm + 5.0
    return Ellipse((row.x, row.y), reach / spacing[2], reach / spacing[1], fill=False, ec=colour)
