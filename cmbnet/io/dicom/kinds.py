r"""The kind of image of a frame, from its tokens and private tags.

The tokens are those seen in public headers: Siemens ``M\SWI``, ``MNIP``, ``P``; Philips
``SW_M_FFE``, ``SW_P_FFE``, ``PHASE MAP``; enhanced ``SWI\MINIMUM``, ``FIELD_MAP``. Specific
tokens come first, because a minimum intensity projection of SWI has the token SWI, too.
"""

from __future__ import annotations

import re
from enum import StrEnum

from cmbnet.io.dicom.frames import Frame


class ImageKind(StrEnum):
    """The meaning of the grey values of an image."""

    SWI = "susceptibility-weighted image"
    MAGNITUDE = "magnitude"
    PHASE = "phase"
    PROJECTION = "intensity projection (mIP, MIP)"
    REAL = "real part"
    IMAGINARY = "imaginary part"
    MAP = "quantitative map (field, QSM, R2*)"
    LOCALIZER = "localizer"
    MOSAIC = "mosaic"
    UNKNOWN = "unknown kind"


_PROJECTION = re.compile(
    r"(^|[ _])(MNIP|MINIP|MIP|MIN IP|MAX IP|MINIMUM|MAXIMUM|PROJECTION)($|[ _])"
)
_PHASE = re.compile(r"^(SW_)?P(_[A-Z0-9]+)?$|^PHASE( MAP)?$")
_REAL = re.compile(r"^R(_[A-Z0-9]+)?$|^REAL$")
_IMAGINARY = re.compile(r"^I(_[A-Z0-9]+)?$|^IMAGINARY$")
_MAP = re.compile(r"^(QSM|R2STAR|R2_STAR|R2\*|T2STAR|T2_STAR|FIELD_MAP|B0 MAP|B0)$")
_SWI = re.compile(r"^SWI$|^SW_M(_[A-Z0-9]+)?$")
_MAGNITUDE = re.compile(r"^M(_[A-Z0-9]+)?$|^MAGNITUDE$")

_BY_TOKEN: tuple[tuple[re.Pattern[str], ImageKind], ...] = (
    (re.compile(r"^MOSAIC$|^VFRAME$"), ImageKind.MOSAIC),
    (_PROJECTION, ImageKind.PROJECTION),
    (re.compile(r"^LOCALI[SZ]ER$"), ImageKind.LOCALIZER),
    (_MAP, ImageKind.MAP),
    (_PHASE, ImageKind.PHASE),
    (_REAL, ImageKind.REAL),
    (_IMAGINARY, ImageKind.IMAGINARY),
)
"""Kinds that exclude SWI. The first that fits decides."""

_BY_GE_KIND = {1: ImageKind.PHASE, 2: ImageKind.REAL, 3: ImageKind.IMAGINARY}


def image_kind(frame: Frame) -> ImageKind:
    """Return the kind of one frame. The series description never decides it."""
    for pattern, kind in _BY_TOKEN:
        if any(pattern.search(token) for token in frame.tokens):
            return kind
    if frame.ge_kind in _BY_GE_KIND:
        return _BY_GE_KIND[frame.ge_kind]
    if frame.component in ("PHASE", "REAL", "IMAGINARY"):
        return ImageKind[frame.component]
    if any(_SWI.search(token) for token in frame.tokens):
        return ImageKind.SWI
    if (
        frame.component == "MAGNITUDE"
        or frame.ge_kind == 0
        or any(_MAGNITUDE.search(token) for token in frame.tokens)
    ):
        return ImageKind.MAGNITUDE
    return ImageKind.UNKNOWN


def label_kind(description: str) -> ImageKind | None:
    """Return the kind that a series description claims, if it excludes SWI.

    GE and Siemens write it as a label: ``mIP | ...``, ``Mag_Images``, ``FILT_PHA: Ax SWAN``.
    A description can only exclude a series, because people type it.

    Examples:
        >>> label_kind("mIP_Images(SW)").name, label_kind("FILT_PHA: Ax SWAN").name
        ('PROJECTION', 'PHASE')
        >>> label_kind("Ax SWAN") is None
        True
    """
    for pattern, kind in _BY_LABEL:
        if pattern.search(description):
            return kind
    return None


def _words(words: str, *, at_start: bool = False) -> re.Pattern[str]:
    r"""Whole words; ``\b`` would not do, it counts the underscore as a letter."""
    start = r"^\W*" if at_start else r"(?<![a-z])"
    return re.compile(start + f"(?:{words})" + r"(?![a-z])", re.IGNORECASE)


_BY_LABEL = (
    (_words("m(in)?[ _]?n?ip|min[ _]ip"), ImageKind.PROJECTION),
    (_words(r"qsm *\||r2\*|r2star|qsm", at_start=True), ImageKind.MAP),
    (_words("(filt_?)?pha(se)?", at_start=True), ImageKind.PHASE),
    (_words("mag(nitude)?"), ImageKind.MAGNITUDE),
)

SWI_NAME = _words("swi|swan|swip|fsbb|ven.?bold|bsi")
"""Names of the SWI products of the vendors, as people write them into a description."""
