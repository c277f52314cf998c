"""Pictures for the report, as data URIs: slices with outlines, and lesions in three planes.

Everything is drawn in the network's frame, so that every scan is shown axially, with the same
contrast, anterior up and the patient's right on the left, whatever the order of axes in its file.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.ndimage import binary_dilation

from cmbnet.phase.local import picture
from cmbnet.slices import brain_box

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from cmbnet.lesions import Lesion
    from cmbnet.predict import Prediction

OUTLINE: Final = (255, 176, 0)
CROSS: Final = (86, 180, 233)
"""Orange and blue that readers of every colour vision tell apart (Okabe and Ito)."""
MARK: Final = (235, 235, 235)
"""Letters and scale bars."""

TILE_MM: Final = 24.0
TILE_PIXELS: Final = 168
SLICE_BAR_MM: Final = 20
TILE_BAR_MM: Final = 5
"""What the scale bars of slices and near views stand for."""

RING_PIXELS: Final = 5
"""Distance of a ring from its candidate."""

THUMBNAIL_PIXELS: Final = 120
"""Side of the picture of a scan among many."""

SLICE_PIXELS: Final = 340
"""Smallest height of a slice in the report, so that a lesion of 2 mm has several pixels."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of the report."""

    uri: str  # ``data:image/jpeg;base64,...``
    width: int  # Width in pixels
    height: int  # Height in pixels


class Painter:
    """A painter of the pictures of a prediction."""

    def __init__(self, prediction: Prediction) -> None:
        self.with_phase = prediction.phase is not None
        prepared = prediction.prepared
        self._image = prepared.image
        self._labels = prepared.frame.from_native(prediction.found.labels)
        self._spacing_mm = prepared.spacing_mm
        self._to_frame = np.linalg.inv(prepared.frame.affine(prediction.volume.affine))
        self._box = brain_box(prepared.brain, multiple=1)
        self._phase = None
        if prediction.phase is not None:
            judged = (*prediction.found.lesions, *prediction.found.excluded)
            places = [lesion.centre_ras_mm for lesion in judged if lesion.phase is not None]
            grey = picture(prediction.phase, prediction.volume, places)
            self._phase = prepared.frame.image_from_native(grey)

    def slices_to_show(
        self, lesions: tuple[Lesion, ...], excluded: tuple[Lesion, ...], *, most: int
    ) -> list[int]:
        """Choose slices through lesions, or else through the brain and the best candidates."""
        if lesions:
            return _spread({self.index_of(lesion)[0] for lesion in lesions}, most)
        spread = _spread(self._box.slices.tolist(), most // 2)
        best = [self.index_of(lesion)[0] for lesion in excluded[: most // 2]]
        return sorted({*spread, *best})

    def lesions_on(self, index: int) -> list[int]:
        """Return the ids of the lesions that a slice shows."""
        labels = self._labels[index]
        return [int(n) for n in np.unique(labels[labels > 0])]

    def slice(self, index: int, excluded: tuple[Lesion, ...] = ()) -> Picture:
        """Draw an axial slice with numbered outlines of lesions and rings around candidates."""
        return encode(self.draw_slice(index, excluded))

    def draw_slice(
        self, index: int, excluded: tuple[Lesion, ...] = (), *, least_height: int = SLICE_PIXELS
    ) -> Image:
        """Draw the slice as an image with at least this number of rows."""
        grey = self._box.crop(self._image)[index]
        labels = self._box.crop(self._labels)[index]
        _, y_mm, x_mm = self._spacing_mm
        height = max(least_height, grey.shape[0])
        width = max(1, round(height * grey.shape[1] * x_mm / (grey.shape[0] * y_mm)))
        picture, outlined = _draw(grey[::-1, ::-1], labels[::-1, ::-1], (width, height))
        for lesion in excluded:
            z, y, x = self.index_of(lesion)
            if z == index:
                row = (self._box.y.stop - y - 0.5) * height / grey.shape[0]
                column = (self._box.x.stop - x - 0.5) * width / grey.shape[1]
                pixels_a_mm = height / (grey.shape[0] * y_mm)
                _ring(picture, column, row, lesion.max_in_plane_diameter_mm * pixels_a_mm / 2)
        _number(picture, outlined)
        orient(picture, "RL", width / (grey.shape[1] * x_mm), SLICE_BAR_MM)
        return picture

    def tile(self, lesion: Lesion) -> Picture:
        """Draw a lesion in the axial, coronal and sagittal plane, side by side, with a cross."""
        return encode(self.draw_tile(lesion))

    def draw_tile(self, lesion: Lesion) -> Image:
        """Draw the tile as an image, with a second row of the phase where it was judged."""
        from PIL import Image

        centre, images = self.index_of(lesion), [self._image]
        if self._phase is not None and lesion.phase is not None:
            images.append(self._phase)
        step = TILE_PIXELS + 4
        size = (3 * step - 4, len(images) * step - 4)
        sheet = Image.new("RGB", size, (128, 128, 128))
        for row, image in enumerate(images):
            for axis in range(3):
                sheet.paste(self._plane(image, centre, axis, lesion.id), (axis * step, row * step))
        return sheet

    def thumbnail(self, lesion: Lesion) -> bytes:
        """Draw the axial plane of a lesion as a small JPEG, for pages of many scans."""
        plane = self._plane(self._image, self.index_of(lesion), 0, lesion.id)
        return _jpeg(plane.resize((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS)), quality=80)

    def index_of(self, lesion: Lesion) -> tuple[int, int, int]:
        """Return the voxel of the frame at the lesion's centre."""
        place = self._to_frame @ np.array([*lesion.centre_ras_mm, 1.0])
        z, y, x = np.clip(np.rint(place[:3]), 0, np.array(self._image.shape) - 1).astype(int)
        return int(z), int(y), int(x)

    def _plane(
        self, image: NDArray[Any], centre: tuple[int, int, int], axis: int, label: int
    ) -> Image:
        """Cut a square of `TILE_MM` around a voxel, across an axis of the frame."""
        grey = _square(image, centre, axis, self._spacing_mm)
        labels = _square(self._labels, centre, axis, self._spacing_mm)
        # z, y and x grow toward superior, anterior and right: up, up and left in a picture, but
        # a sagittal picture has anterior on the left, which is y reversed as well.
        picture, _ = _draw(
            grey[::-1, ::-1],
            np.where(labels == label, labels, 0)[::-1, ::-1],
            (TILE_PIXELS, TILE_PIXELS),
        )
        cross(picture)
        width_mm = grey.shape[1] * self._spacing_mm[1 if axis == 2 else 2]
        orient(picture, "AP" if axis == 2 else "RL", TILE_PIXELS / width_mm, TILE_BAR_MM)
        return picture


def _square(
    array: NDArray[Any],
    centre: tuple[int, int, int],
    axis: int,
    spacing_mm: tuple[float, float, float],
) -> NDArray[Any]:
    """Cut the voxels of a plane within `TILE_MM` / 2 of a voxel. Outside the frame they are 0."""
    plane = np.take(array, centre[axis], axis=axis)
    others = [other for other in range(3) if other != axis]
    half = [max(1, round(TILE_MM / 2 / spacing_mm[other])) for other in others]
    padded = np.pad(plane, [(n, n) for n in half])
    row, column = (centre[other] for other in others)
    return padded[row : row + 2 * half[0] + 1, column : column + 2 * half[1] + 1]


def _draw(
    grey: NDArray[Any], labels: NDArray[Any], size: tuple[int, int]
) -> tuple[Image, NDArray[Any]]:
    """Draw a picture of (width, height) with outlines around, not over, the lesions."""
    from PIL import Image

    shade = Image.fromarray(np.round(np.clip(grey, 0, 1) * 255).astype(np.uint8))
    picture = np.asarray(shade.resize(size, Image.Resampling.BICUBIC).convert("RGB")).copy()
    if not labels.any():
        return Image.fromarray(picture), np.zeros(size[::-1], np.uint8)
    large = np.asarray(
        Image.fromarray(labels.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
    )
    near = binary_dilation(large > 0)
    picture[binary_dilation(near) & ~near] = OUTLINE
    return Image.fromarray(picture), large


def _spread(indices: Iterable[int], most: int) -> list[int]:
    """Choose at most this number of the indices, evenly and in order."""
    chosen = sorted(indices)
    if len(chosen) <= most:
        return chosen
    return [chosen[round(n)] for n in np.linspace(0, len(chosen) - 1, most)]


def _ring(picture: Image, column: float, row: float, inner: float) -> None:
    """Draw a circle that leaves `inner` pixels around its centre free."""
    from PIL import ImageDraw

    radius = inner + RING_PIXELS
    box = (column - radius, row - radius, column + radius, row + radius)
    ImageDraw.Draw(picture).ellipse(box, outline=CROSS)


def _number(picture: Image, labels: NDArray[Any]) -> None:
    """Write each lesion's number to the right of it, or to the left at the border."""
    from PIL import ImageDraw

    draw, font = ImageDraw.Draw(picture), letter_font()
    for label in np.unique(labels[labels > 0]).tolist():
        rows, columns = np.nonzero(labels == label)
        text = str(label)
        x = int(columns.max()) + 5
        if x + 9 * len(text) > picture.width:
            x = int(columns.min()) - 5 - 9 * len(text)
        place = (x, max(0, int(rows.min()) - 6))
        draw.text(place, text, fill=OUTLINE, font=font, stroke_width=1, stroke_fill=(0, 0, 0))


@cache
def letter_font() -> Any:
    """The font of numbers and letters on pictures."""
    from PIL import ImageFont

    return ImageFont.load_default(15)


def cross(picture: Image) -> None:
    """Draw lines from the border toward the middle that leave the lesion free."""
    from PIL import ImageDraw

    draw = ImageDraw.Draw(picture)
    end, middle, length = TILE_PIXELS - 1, TILE_PIXELS // 2, TILE_PIXELS // 5
    for first, last in (((0, middle), (length, middle)), ((end, middle), (end - length, middle))):
        draw.line([first, last], fill=CROSS)
        draw.line([first[::-1], last[::-1]], fill=CROSS)


def orient(picture: Image, sides: str, pixels_a_mm: float, bar_mm: int) -> None:
    """Letter the left and the right side, and draw a scale bar into the lower right corner."""
    from PIL import ImageDraw

    draw, font = ImageDraw.Draw(picture), letter_font()
    right, bottom = picture.width - 5, picture.height - 6
    start = right - round(bar_mm * pixels_a_mm)
    draw.rectangle((start - 1, bottom - 1, right + 1, bottom + 2), fill=(0, 0, 0))
    draw.rectangle((start, bottom, right, bottom + 1), fill=MARK)
    for place, text, anchor in (
        ((5, 3), sides[0], "la"),
        ((right, 3), sides[1], "ra"),
        ((right, bottom - 4), f"{bar_mm} mm", "rb"),  # it may be longer than the bar
    ):
        draw.text(
            place, text, fill=MARK, font=font, anchor=anchor, stroke_width=1, stroke_fill=(0, 0, 0)
        )


def encode(picture: Image) -> Picture:
    """Encode a picture as a JPEG data URI. The same picture gives the same bytes."""
    text = base64.b64encode(_jpeg(picture, quality=88, subsampling=0)).decode("ascii")
    return Picture(f"data:image/jpeg;base64,{text}", picture.width, picture.height)


def _jpeg(picture: Image, **how: int) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", **how)
    return stream.getvalue()
