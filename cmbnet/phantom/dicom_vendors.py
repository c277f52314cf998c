r"""What the series of one SWI scan look like in the headers of each vendor, as tables.

ImageType, private tags and descriptions are those of public headers and notes: Siemens VE and XA,
GE SWAN with its private image kind, Philips SWIp with magnitude and phase under one UID. For
Canon only the product name FSBB is public; its image types here are a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Content = Literal["swi", "magnitude", "phase", "projection"]


class Vendor(StrEnum):
    """Whose headers a phantom series imitates."""

    SIEMENS = "siemens"
    GE = "ge"
    PHILIPS = "philips"
    CANON = "canon"


@dataclass(frozen=True, slots=True)
class SeriesStyle:
    r"""One image kind of a scan."""

    content: Content  # What the pixels are
    number: int  # SeriesNumber; kinds that share it share one series (Philips)
    description: str  # SeriesDescription
    image_type: str  # ImageType of classic files, ``\`` between the words
    frame_type: str  # ImageType and FrameType of enhanced files
    ge_kind: int | None = None  # GE's private (0043,102F)
    slope: float | None = None  # RescaleSlope, None writes none
    intercept: float = 0.0  # RescaleIntercept

    @property
    def component(self) -> str:
        """ComplexImageComponent."""
        return "PHASE" if self.content == "phase" else "MAGNITUDE"

    @property
    def derived(self) -> bool:
        """Whether an enhanced file of it is derived from others."""
        return self.frame_type.startswith("DERIVED")


@dataclass(frozen=True, slots=True)
class VendorStyle:
    """A vendor's scanner and the series of its SWI scan."""

    manufacturer: str
    model: str
    series: tuple[SeriesStyle, ...]


_S = SeriesStyle
STYLES: dict[Vendor, VendorStyle] = {
    Vendor.SIEMENS: VendorStyle("SIEMENS", "Prisma", (
        _S("magnitude", 2, "Mag_Images", r"ORIGINAL\PRIMARY\M\ND\NORM",
           r"ORIGINAL\PRIMARY\M\NONE"),
        _S("phase", 3, "Pha_Images", r"ORIGINAL\PRIMARY\P\ND", r"ORIGINAL\PRIMARY\P\NONE",
           slope=2.0, intercept=-4096.0),
        # ORIGINAL, as on real scanners: only the token tells that it is a projection.
        _S("projection", 4, "mIP_Images(SW)", r"ORIGINAL\PRIMARY\MNIP\ND\NORM",
           r"DERIVED\PRIMARY\SWI\MINIMUM"),
        _S("swi", 5, "SWI_Images", r"ORIGINAL\PRIMARY\M\SWI\NORM\DIS2D",
           r"ORIGINAL\PRIMARY\SWI\NONE"),
    )),
    Vendor.GE: VendorStyle("GE MEDICAL SYSTEMS", "SIGNA Premier", (
        _S("swi", 7, "Ax SWAN", r"ORIGINAL\PRIMARY\OTHER", r"ORIGINAL\PRIMARY\OTHER\NONE",
           ge_kind=0),
        _S("phase", 700, "FILT_PHA: Ax SWAN", r"DERIVED\SECONDARY\PROCESSED",
           r"DERIVED\PRIMARY\OTHER\NONE", ge_kind=1),
        _S("projection", 701, "mIP | Ax SWAN", r"DERIVED\SECONDARY\OTHER",
           r"DERIVED\PRIMARY\OTHER\MINIMUM", ge_kind=0),
    )),
    Vendor.PHILIPS: VendorStyle("Philips Medical Systems", "Ingenia", (
        _S("swi", 501, "SWIp", r"ORIGINAL\PRIMARY\SW_M_FFE\SW_M\FFE",
           r"ORIGINAL\PRIMARY\SW_M_FFE\M", slope=3.907),
        _S("phase", 501, "SWIp", r"ORIGINAL\PRIMARY\SW_P_FFE\SW_P\FFE",
           r"ORIGINAL\PRIMARY\SW_P_FFE\P", slope=1.5346, intercept=-3142.0),
        _S("projection", 502, "mIP SWIp", r"DERIVED\SECONDARY\PROJECTION IMAGE",
           r"DERIVED\PRIMARY\PROJECTION IMAGE\MINIMUM", slope=3.907),
    )),
    Vendor.CANON: VendorStyle("CANON_MEC", "Vantage Galan", (
        _S("swi", 6000, "FSBB AX", r"ORIGINAL\PRIMARY\OTHER", r"ORIGINAL\PRIMARY\OTHER\NONE",
           slope=1.0),
        _S("phase", 6001, "FSBB AX", r"ORIGINAL\PRIMARY\PHASE MAP",
           r"ORIGINAL\PRIMARY\PHASE MAP\NONE", slope=1.0, intercept=-4096.0),
        _S("projection", 6002, "FSBB AX MIP", r"DERIVED\SECONDARY\MIP",
           r"DERIVED\PRIMARY\OTHER\MINIMUM", slope=1.0),
    )),
}  # fmt: skip
