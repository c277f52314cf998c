"""Key images: a colour picture per lesion, for viewers that show neither SEG nor SR.

Each is a secondary capture that refers to the slice from which it was drawn. The burned-in text
says "research use only", and it does not name the patient.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pydicom.valuerep import DA, TM

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.report.dicom.content import DicomResult, moment_of
from cmbnet.report.dicom.naming import head_of, name_by_content, uid_for
from cmbnet.report.dicom.references import reference_to
from cmbnet.report.dicom.segmentation import tracking_id
from cmbnet.report.dicom.source_images import forget_clock, quiet_highdicom, source_images

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

    from cmbnet.io.dicom import DicomSource
    from cmbnet.lesions import Lesion
    from cmbnet.report.pictures import Painter


MOST_KEY_IMAGES = 20
"""Largest number of key images, by highest score. Each is 1.5 MB, uncompressed for every viewer."""

_WIDTH: Final = 640
_HEIGHT: Final = 780
_SLICE_ROWS: Final = 480
_INK: Final = (235, 235, 235)
_WARNING: Final = (255, 176, 0)


@dataclass(frozen=True, slots=True)
class KeyPicture:
    """The picture in a key image."""

    lesion: Lesion  # The lesion
    pixels: NDArray[np.uint8]  # RGB pixels, uint8 (rows, columns, 3)


def draw_key_pictures(painter: Painter, lesions: Sequence[Lesion]) -> tuple[KeyPicture, ...]:
    """Draw the slice and the near view of every lesion, at most `MOST_KEY_IMAGES`."""
    return tuple(
        KeyPicture(lesion, np.asarray(_sheet(painter, lesion, len(lesions))))
        for lesion in lesions[:MOST_KEY_IMAGES]
    )


def _sheet(painter: Painter, lesion: Lesion, count: int) -> Image:
    from PIL import Image, ImageDraw, ImageFont

    sheet = Image.new("RGB", (_WIDTH, _HEIGHT))
    axial = painter.draw_slice(painter.index_of(lesion)[0], least_height=_SLICE_ROWS)
    axial.thumbnail((_WIDTH, _SLICE_ROWS), Image.Resampling.LANCZOS)
    sheet.paste(axial, ((_WIDTH - axial.width) // 2, 50))
    tile = painter.draw_tile(lesion)
    sheet.paste(tile, ((_WIDTH - tile.width) // 2, 50 + _SLICE_ROWS + 10))
    draw = ImageDraw.Draw(sheet)

    def write(row: int, text: str, size: int, colour: tuple[int, int, int] = _INK) -> None:
        font = ImageFont.load_default(size)
        draw.text((_WIDTH / 2, row), text, fill=colour, font=font, anchor="ma")

    write(6, f"{tracking_id(lesion)} of {count}: AI candidate, not reviewed", 18)
    write(29, _measures(lesion), 14)
    write(718, "24 mm: axial, coronal, sagittal (anterior on the left)", 13)
    write(740, RESEARCH_USE_ONLY, 15, _WARNING)
    return sheet


def _measures(lesion: Lesion) -> str:
    return (
        f"{lesion.size_class}, {lesion.max_in_plane_diameter_mm:.1f} mm in the slice, "
        f"{lesion.volume_mm3:.1f} mm3, score {lesion.score:.3f}"
    )


def build_key_images(
    pictures: Sequence[KeyPicture],
    result: DicomResult,
    source: DicomSource,
    *,
    created: datetime.datetime | None = None,
) -> list[hd.sc.SCImage]:
    """Make a secondary capture of every picture, all in one series.

    Raises:
        InputRefused: If the headers of the series are unusable.
    """
    moment = created or moment_of(source)
    reference = source_images(source)[0]
    with quiet_highdicom("key images"):
        images = [
            _capture(picture, number, result, source, reference, moment)
            for number, picture in enumerate(pictures, start=1)
        ]
        name_by_content(images)
    return images


def _capture(
    picture: KeyPicture,
    number: int,
    result: DicomResult,
    source: DicomSource,
    reference: Dataset,
    moment: datetime.datetime,
) -> hd.sc.SCImage:
    image = hd.sc.SCImage.from_ref_dataset(
        reference,
        pixel_array=np.ascontiguousarray(picture.pixels),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        sop_instance_uid=uid_for(result, source, f"key {picture.lesion.id}"),
        instance_number=number,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **head_of(result, source, moment, "key"),
    )
    image.DateOfSecondaryCapture = DA(moment.date())
    image.TimeOfSecondaryCapture = TM(moment.time())
    # Not paired, so that no laterality is asked for.
    image.BodyPartExamined = "BRAIN"
    image.BurnedInAnnotation = "YES"
    image.LossyImageCompression = "00"
    image.ImageComments = f"{tracking_id(picture.lesion)}: {_measures(picture.lesion)}. " + (
        RESEARCH_USE_ONLY
    )
    image.SourceImageSequence = [reference_to(source, picture.lesion.voxel_ijk[2])]
    forget_clock(image)
    return image
