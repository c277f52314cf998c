"""``compare.html``: each lesion at all time points, on the grid of the first scan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from cmbnet.followup.changes import DARK
from cmbnet.pages import render
from cmbnet.report.pictures import TILE_MM, TILE_PIXELS, Picture, cross, encode, orient

if TYPE_CHECKING:
    from cmbnet.followup.changes import Change
    from cmbnet.followup.comparison import Compared

MOST_ROWS: Final = 60
"""Lesions with pictures; new ones come first, and what is left out is said."""

ORDER: Final = (
    "new", "newly above threshold", "not assessable", "split", "merged", "larger", "smaller",
    "no longer seen", "no longer above threshold", "persistent",
)  # fmt: skip
CHECKS: Final = 8
BOARD_PIXELS, BOARD_MM = 400, 200.0


def compare_html(compared: Compared) -> str:
    """The page of a comparison."""
    painter = _Painter(compared)
    numbers = {
        (time, one): track.number
        for track in compared.comparison.tracks
        for time, one in enumerate(track.lesions)
    }
    sections = []
    for follow_up in compared.comparison.follow_ups:
        ordered = sorted(follow_up.changes, key=lambda change: ORDER.index(change.category))
        shown = ordered[:MOST_ROWS]
        sections.append(
            {
                "follow_up": follow_up,
                "board": painter.checkerboard(follow_up.time_point),
                "rows": [
                    (change, _number(change, follow_up.time_point, numbers), painter.tiles(change))
                    for change in shown
                ],
                "left_out": len(ordered) - len(shown),
            }
        )
    return render("compare.html", comparison=compared.comparison, sections=sections, dark=DARK)


def _number(change: Change, time: int, numbers: dict[tuple[int, int | None], int]) -> int:
    """The number of a lesion over all scans."""
    if change.before:
        return numbers[0, change.before[0]]
    return numbers[time, change.after[0]]


class _Painter:
    """Draws planes of the first scan's world from any scan, with the same window."""

    def __init__(self, compared: Compared) -> None:
        self._maps = compared.maps
        self._images = [one.prepared.image for one in compared.answers]
        affines = [one.prepared.frame.affine(one.volume.affine) for one in compared.answers]
        self._to_index = [np.linalg.inv(affine) for affine in affines]
        axes = affines[0][:3, :3] / np.linalg.norm(affines[0][:3, :3], axis=0)
        self._down, self._right = -axes[:, 1], -axes[:, 2]
        brain = compared.answers[0].prepared.brain
        areas = (brain.sum(axis=across) for across in ((1, 2), (0, 2), (0, 1)))
        middle = [np.average(np.arange(len(area)), weights=area) for area in areas]
        self._middle = affines[0][:3, :3] @ middle + affines[0][:3, 3]

    def tiles(self, change: Change) -> list[Picture]:
        """A lesion's place on every scan; black beyond its edge."""
        pictures = []
        for number in range(len(self._images)):
            plane = self._plane(number, np.array(change.centre_mm), TILE_MM, TILE_PIXELS)
            picture = _drawn(plane)
            cross(picture)
            orient(picture, "RL", TILE_PIXELS / TILE_MM, 5)
            pictures.append(encode(picture))
        return pictures

    def checkerboard(self, number: int) -> Picture:
        """The middle of the brain: fields of the first scan and of a later one in turn."""
        first, later = (
            self._plane(one, self._middle, BOARD_MM, BOARD_PIXELS) for one in (0, number)
        )
        field = np.arange(BOARD_PIXELS) * CHECKS // BOARD_PIXELS
        picture = _drawn(np.where((field[:, None] + field) % 2, later, first))
        orient(picture, "RL", BOARD_PIXELS / BOARD_MM, 20)
        return encode(picture)

    def _plane(
        self, number: int, centre: NDArray[np.float64], width_mm: float, pixels: int
    ) -> NDArray[np.float32]:
        steps = (np.arange(pixels) + 0.5) * width_mm / pixels - width_mm / 2
        corners = np.stack([centre, centre + self._down, centre + self._right])
        to_index = self._to_index[number]
        at, down, right = (
            self._maps[number].from_first(corners) @ to_index[:3, :3].T + to_index[:3, 3]
        )
        away = steps[:, None] * (down - at), steps[:, None] * (right - at)
        index = np.moveaxis(at + away[0][:, None] + away[1], -1, 0)
        plane: NDArray[np.float32] = ndimage.map_coordinates(
            self._images[number], index, order=1, output=np.float32
        )
        return plane


def _drawn(plane: NDArray[np.float32]) -> Any:
    from PIL import Image

    return Image.fromarray(np.round(np.clip(plane, 0, 1) * 255).astype(np.uint8)).convert("RGB")
