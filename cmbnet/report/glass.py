"""The lesions of a scan in a transparent template head, from three sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from cmbnet.regions import head_template
from cmbnet.report.pictures import MARK, Picture, encode, letter_font

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

    from cmbnet.lesions import Lesion

COLOURS: Final = {
    "lobar": (230, 159, 0),
    "deep": (86, 180, 233),
    "infratentorial": (0, 158, 115),
    "unknown": MARK,
}
"""Of Okabe and Ito. The shapes differ, too."""

PIXELS_A_MM: Final = 1.5
DOT_PIXELS: Final = 4
VIEWS: Final = ((0, 1, 2, "RL"), (1, 0, 2, "RL"), (2, 0, 1, "AP"))
"""Axis looked along, axes that point up and to the left (z, y, x), and letters of the sides."""


def glass_brain(lesions: Sequence[Lesion]) -> Picture | None:
    """Draw the lesions whose place is known, or return None if there are none."""
    from PIL import Image, ImageDraw

    known = [
        (np.array(lesion.place.mni_mm[::-1]), lesion.place.group)
        for lesion in lesions
        if lesion.place is not None and lesion.place.mni_mm is not None
    ]
    if not known:
        return None
    tissues = head_template().tissues
    brain, cell_mm = tissues.maps[..., 0], tissues.cell_mm
    sides = []
    for along, up, left, letters in VIEWS:
        # A little of the depth shines through, so that the two halves can be told apart.
        shade = 0.3 * brain.max(axis=along) + 0.2 * brain.mean(axis=along)
        grey = Image.fromarray((255 * shade[::-1, ::-1]).clip(0, 255).astype(np.uint8))
        size = tuple(round(n * cell_mm * PIXELS_A_MM) for n in shade.shape[::-1])
        picture = grey.resize((size[0], size[1]), Image.Resampling.BICUBIC).convert("RGB")
        draw = ImageDraw.Draw(picture)
        for point, group in known:
            # The middle of cell 0 lies half a cell inside the picture.
            place = (point - tissues.origin_mm + cell_mm / 2) * PIXELS_A_MM
            _dot(draw, size[0] - place[left], size[1] - place[up], group)
        for x, letter, anchor in ((4, letters[0], "la"), (size[0] - 4, letters[1], "ra")):
            draw.text((x, 3), letter, fill=MARK, font=letter_font(), anchor=anchor)
        sides.append(picture)
    sheet = Image.new("RGB", (sum(side.width for side in sides), max(s.height for s in sides)))
    start = 0
    for side in sides:
        sheet.paste(side, (start, 0))
        start += side.width
    return encode(sheet)


def _dot(draw: ImageDraw, x: float, y: float, group: str) -> None:
    """A disc for lobar, a square for deep, a triangle for infratentorial, a ring for unknown."""
    box, colour = (x - DOT_PIXELS, y - DOT_PIXELS, x + DOT_PIXELS, y + DOT_PIXELS), COLOURS[group]
    if group == "deep":
        draw.rectangle(box, fill=colour, outline=(0, 0, 0))
    elif group == "infratentorial":
        corners = [(x, box[1]), (box[0], box[3]), (box[2], box[3])]
        draw.polygon(corners, fill=colour, outline=(0, 0, 0))
    else:
        draw.ellipse(box, fill=colour if group == "lobar" else None, outline=colour)
