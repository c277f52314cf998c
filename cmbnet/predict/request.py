"""`Request`: what is asked of a scan, whoever asks."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

DicomObject = Literal["seg", "sr", "key-images", "pdf"]
"""What can go back into the study of a DICOM series."""


class Request(BaseModel):
    """What is asked of a scan by the command line, Python, a Triton server or the edge node.

    Attributes:
        operating_point: Name of a set of thresholds of the bundle.
        backend: Name of the runtime as it was asked for; whoever opens the backend says it here.
        frame: Which image of a 4D file or of a series with several images a place, from 0.
        series: Key or UID of the series of a DICOM input; None finds the SWI.
        phase_series: Key or UID of the phase of a DICOM input, or "none" for no phase; None finds
            the phase that belongs to the series.
        force: Answer even on what is not analysable.
        count_calcifications: Count as microbleeds what phase calls a calcification, too.
        save_probability: Write the probability map.
        dicom_seg: Write ``seg.dcm`` of a DICOM input.
        dicom_sr: Write ``sr.dcm`` of a DICOM input.
        dicom_key_images: Write ``key-01.dcm``... of a DICOM input.
        dicom_pdf: Write ``pdf.dcm`` of a DICOM input.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    operating_point: str = "default"
    backend: str = "auto"
    frame: int | None = None
    series: str | None = None
    phase_series: str | None = None
    force: bool = False
    count_calcifications: bool = False
    save_probability: bool = False
    dicom_seg: bool = False
    dicom_sr: bool = False
    dicom_key_images: bool = False
    dicom_pdf: bool = False

    @property
    def dicom(self) -> frozenset[DicomObject]:
        """The DICOM objects that are asked for."""
        asked: dict[DicomObject, bool] = {
            "seg": self.dicom_seg,
            "sr": self.dicom_sr,
            "key-images": self.dicom_key_images,
            "pdf": self.dicom_pdf,
        }
        return frozenset(name for name, wanted in asked.items() if wanted)

    def but(self, **changes: Any) -> Self:
        """The same with some fields changed.

        Raises:
            UsageError: If there is no such field, or a value does not fit it.

        Examples:
            >>> Request().but(frame=2).frame
            2
        """
        from cmbnet.io.settings import check_settings

        return check_settings(
            self.model_dump() | changes, type(self), what="request", source="request"
        )


PLAIN = Request()
"""Nothing special is asked for."""
