"""Pictures of phantoms, to look at them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.phantom.case import PhantomCase

COLUMNS = 5
TILE = 300


def write_montage(case: PhantomCase, path: Path) -> None:
    """Write a PNG of slices through a case; lesions are ringed, what is ignored is dotted."""
    from PIL import Image, ImageDraw

    top = float(np.percentile(case.image.data[case.brain.data > 0], 99)) * 1.15
    slices = _chosen(case)
    rows = -(-len(slices) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * TILE, rows * TILE + 24))
    for number, z in enumerate(slices):
        tile = _tile(case, int(z), top)
        tile = tile.resize((TILE, TILE), Image.Resampling.BICUBIC)
        sheet.paste(tile, (number % COLUMNS * TILE, number // COLUMNS * TILE))
    text = f"seed {case.seed}  {case.protocol.name}  {len(case.truth)} bleeds  {RESEARCH_USE_ONLY}"
    ImageDraw.Draw(sheet).text((6, rows * TILE + 6), text, fill="white")
    sheet.save(path)


def _chosen(case: PhantomCase) -> NDArray[np.int64]:
    """Slices evenly through the brain, each moved to the nearest lesion within three slices."""
    used = np.flatnonzero(case.brain.data.any(axis=(1, 2)))
    share = np.linspace(0.08, 0.95, 2 * COLUMNS)
    chosen: NDArray[np.int64] = used[(share * (len(used) - 1)).astype(int)]
    for n, z in enumerate(chosen):
        near = [row.z for row in case.truth if row.lesion and abs(row.z - z) <= 3]
        if near:
            chosen[n] = round(near[0])
    return chosen


def _tile(case: PhantomCase, z: int, top: float):  # type: ignore[no-untyped-def]
    from PIL import Image, ImageDraw

    grey = np.clip(case.image.data[z] / top, 0, 1)
    tile = Image.fromarray((grey * 255).astype(np.uint8)).convert("RGB")
    draw = ImageDraw.Draw(tile)
    for row in case.truth:
        if abs(row.z - z) > 0.5 * max(row.slices, 1):
            continue
        reach = (0.5 * row.diameter_mm + 3) / case.protocol.pixel_mm
        colour = "lime" if row.lesion else "orange"
        draw.ellipse((row.x - reach, row.y - reach, row.x + reach, row.y + reach), outline=colour)
    flip_y = case.image.affine[1, 1] > 0
    flip_x = case.image.affine[0, 2] > 0
    if flip_y:
        tile = tile.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    if flip_x:
        tile = tile.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    side = max(tile.size)
    square = Image.new("RGB", (side, side))
    square.paste(tile, ((side - tile.size[0]) // 2, (side - tile.size[1]) // 2))
    return square
