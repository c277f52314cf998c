"""The report as a PDF of A4 pages, for viewers and archives without SEG and SR.

Every page names the patient, because printed pages get separated. The PDF has real text, embedded
fonts and no date of writing, so the same result gives the same bytes.
"""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from cmbnet.errors import MissingExtra
from cmbnet.regions.counts import in_words
from cmbnet.report.html import headline, why_nothing
from cmbnet.report.pictures import Painter

if find_spec("matplotlib") is None:
    raise MissingExtra("matplotlib", "dicom", "to write the report as PDF")

from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

    from cmbnet.io.dicom import DicomSource
    from cmbnet.lesions import Lesion
    from cmbnet.predict import Prediction
    from cmbnet.report.result import Result

_PAGE_INCHES: Final = (8.27, 11.69)
_LEFT, _RIGHT, _TOP, _BOTTOM = 0.09, 0.92, 0.95, 0.07
_LINE: Final = 0.0165
"""Height of a line of 9 points, as a fraction of the page."""

_LETTERS: Final = 105
"""Of a line."""

_SLICES_A_PAGE: Final = 6
_MOST_SLICES: Final = 12
_FIRST_FROM_RIGHT: Final = 0x590
"""First letter of the scripts (Hebrew, Arabic and further ones) that single letters cannot set."""

_INK, _WARNING = "#16202a", "#8a4b00"

_COLUMNS: Final = (
    ("No.", 0.0),
    ("Class", 0.06),
    ("Score", 0.17),
    ("In slice, mm", 0.29),
    ("Equivalent, mm", 0.435),
    ("Volume, mm³", 0.555),
    ("Centre R, A, S, mm", 0.745),
    ("Image", 0.83),
)
"""Heads and right edge of each column. The first two columns are aligned to the left."""


def report_pdf(prediction: Prediction, result: Result) -> bytes:
    """Make the report of a prediction: patient, answer, table, quality, provenance and slices."""
    stream = io.BytesIO()
    about = {"Title": f"cmbnet report: {_plain(result.case)}", "Creator": "cmbnet",
             "Subject": result.notice, "CreationDate": None}  # fmt: skip
    source = prediction.record.dicom
    head = "" if source is None else _patient(source)
    with PdfPages(stream, metadata=about) as document:
        for page in (*_text_pages(result, source, head), *_picture_pages(prediction, result, head)):
            document.savefig(page)
    return stream.getvalue()


class _Writer:
    """A writer that sets lines from top to bottom, on as many pages as needed."""

    def __init__(self, notice: str, head: str) -> None:
        self._notice, self._head = notice, head
        self.pages: list[Figure] = []
        self._new_page()

    def line(self, words: str, *, size: float = 9, bold: bool = False) -> None:
        """Write words on as many lines as needed."""
        for part in textwrap.wrap(_plain(words), int(_LETTERS * 9 / size)) or [""]:
            self._step(size / 9)
            _text(self.pages[-1], _LEFT, self._y, part, size=size, bold=bold)

    def row(self, cells: Iterable[str], *, bold: bool = False) -> None:
        """Write a row of the table of lesions."""
        self._step(1)
        for number, ((_, edge), words) in enumerate(zip(_COLUMNS, cells, strict=True)):
            align = "left" if number < 2 else "right"
            _text(self.pages[-1], _LEFT + edge, self._y, words, bold=bold, align=align)

    def gap(self) -> None:
        """Leave half a line empty."""
        self._y -= _LINE / 2

    def _step(self, lines: float) -> None:
        if self._y - _LINE * lines < _BOTTOM:
            self._new_page()
        self._y -= _LINE * lines

    def _new_page(self) -> None:
        self.pages.append(_page(self._notice, self._head))
        self._y = _TOP - 3 * _LINE


def _text(
    page: Figure,
    x: float,
    y: float,
    words: str,
    *,
    size: float = 9,
    bold: bool = False,
    ink: str = _INK,
    align: str = "left",
) -> None:
    weight = "bold" if bold else "normal"
    page.text(x, y, _plain(words), size=size, weight=weight, color=ink, ha=align, parse_math=False)


def _page(notice: str, head: str) -> Figure:
    figure = Figure(figsize=_PAGE_INCHES)
    patient = textwrap.shorten(_plain(head), _LETTERS)
    _text(figure, _LEFT, _TOP - 1.6 * _LINE, patient, size=8, bold=True)
    for y in (_TOP, _BOTTOM - 2 * _LINE):
        _text(figure, 0.5, y, notice, size=10, bold=True, ink=_WARNING, align="center")
    return figure


def _text_pages(result: Result, source: DicomSource | None, head: str) -> list[Figure]:
    write = _Writer(result.notice, head)
    write.line(f"Microbleed report: {result.case}", size=14, bold=True)
    i, j, k = result.input.shape_ijk
    size = " x ".join(f"{mm:.3g}" for mm in result.input.spacing_ijk_mm)
    write.line(f"{result.input.file}: {i} x {j} x {k} voxels of {size} mm")
    write.gap()
    write.line(headline(result), size=12, bold=True)
    for words in _answer(result):
        write.line(words)
    write.gap()
    write.line("Lesions (AI candidates, not reviewed)", size=11, bold=True)
    if result.lesions:
        write.row((head for head, _ in _COLUMNS), bold=True)
    for lesion in result.lesions:
        write.row(_cells(lesion, source))
    for title, lines in (
        ("Quality of the scan", _quality(result)),
        ("Made with", _origin(result)),
        ("Made of", _images(result, source)),
    ):
        write.gap()
        write.line(title, size=11, bold=True)
        for words in lines:
            write.line(words)
    return write.pages


def _answer(result: Result) -> Iterator[str]:
    scan, model = result.scan, result.model
    if not result.lesions:
        yield why_nothing(result)
    call = "positive" if scan.positive else "negative"
    yield (
        f"At operating point {model.operating_point} the scan is called {call}: score "
        f"{scan.score:.3f}, positive from {model.patient_threshold:.3f}."
    )
    yield (
        "The size of a lesion is its largest diameter within a slice. Small is at least 2 mm and "
        "less than 5 mm; large is 5 to 10 mm. Susceptibility makes lesions look larger than they "
        "are."
    )
    if result.lesions:
        where = result.regions.failed or (
            f"Approximate regions: {in_words(result.regions)}; pattern {result.regions.pattern}"
        )
        yield f"{where}."
    yield f"What the model has seen: {model.training}"


def _cells(lesion: Lesion, source: DicomSource | None) -> tuple[str, ...]:
    return (
        str(lesion.id),
        lesion.size_class,
        f"{lesion.score:.3f}",
        f"{lesion.max_in_plane_diameter_mm:.1f}",
        f"{lesion.equivalent_diameter_mm:.1f}",
        f"{lesion.volume_mm3:.1f}",
        ", ".join(f"{mm:.1f}" for mm in lesion.centre_ras_mm),
        _image_of(lesion, source),
    )


def _image_of(lesion: Lesion, source: DicomSource | None) -> str:
    """Return a viewer's number of the image through a lesion's middle: instance or frame."""
    z = lesion.voxel_ijk[2]
    if source is None:
        return str(z + 1)
    if source.frame_numbers:
        return f"frame {source.frame_numbers[z]}"
    return _said(source.headers[z], "InstanceNumber") or "?"


def _quality(result: Result) -> Iterator[str]:
    for finding in result.quality.findings:
        yield f"{finding.severity}: {finding.message}"
    if not result.quality.findings:
        yield "Nothing to remark."


def _origin(result: Result) -> Iterator[str]:
    model = result.model
    yield f"cmbnet {result.request.cmbnet}, model {model.bundle}, {model.backend} {model.precision}"
    yield f"Model sha256 {result.request.bundle_sha256}"


def _images(result: Result, source: DicomSource | None) -> Iterator[str]:
    """Yield series and instances as viewers number them."""
    if source is not None:
        header = source.headers[0]
        series, name = _said(header, "SeriesNumber"), _said(header, "SeriesDescription")
        numbers = [_said(one, "InstanceNumber") for one in source.headers]
        known = sorted(int(one) for one in numbers if one.lstrip("-").isdigit())
        which = f"instances {known[0]} to {known[-1]}" if known else "instances without numbers"
        if source.frame_numbers:
            which = f"instance {numbers[0]}, {len(source.frame_numbers)} frames"
        yield f"Series {series or 'without a number'} ({name}): {len(numbers)} files, {which}"
        yield f"Series Instance UID {source.series_instance_uid}"
    if result.request.input_sha256:
        yield f"Images sha256 {result.request.input_sha256}"


def _patient(source: DicomSource) -> str:
    """Describe the patient on one line."""
    header = source.headers[0]
    name = next((one for one in _said(header, "PatientName").split("=") if one.strip("^ ")), "")
    stated = (
        ("", ", ".join(part for part in name.split("^") if part.strip())),
        ("ID ", _said(header, "PatientID")),
        ("born ", _said(header, "PatientBirthDate")),
        ("", _said(header, "PatientSex")),
        ("study of ", _said(header, "StudyDate")),
        ("accession ", _said(header, "AccessionNumber")),
    )
    return "Patient: " + (
        "; ".join(word + value for word, value in stated if value) or "not stated"
    )


def _said(header: Dataset, keyword: str) -> str:
    """Write a value as text, with dates as 2026-01-31. Empty if it is missing or unreadable."""
    from cmbnet.io.dicom.dataset import quiet_pydicom

    value = ""
    # Values are converted when they are first looked at, which may raise nearly anything.
    with quiet_pydicom(), suppress(Exception):
        value = str(header.get(keyword) or "").strip()
    if keyword.endswith("Date") and len(value) == 8 and value.isdigit():
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    return value


def _picture_pages(prediction: Prediction, result: Result, head: str) -> Iterator[Figure]:
    painter = Painter(prediction)
    chosen = painter.slices_to_show(result.lesions, (), most=_MOST_SLICES)
    for first in range(0, len(chosen), _SLICES_A_PAGE):
        page = _page(result.notice, head)
        _draw_slices(page, painter, chosen[first : first + _SLICES_A_PAGE])
        yield page


def _draw_slices(page: Figure, painter: Painter, indices: Sequence[int]) -> None:
    legend = (
        "Axial slices, anterior is up, the patient's right is on the left; orange outlines "
        "surround lesions."
    )
    _text(page, _LEFT, _TOP - 2.8 * _LINE, legend)
    for place, index in enumerate(indices):
        left = _LEFT + 0.42 * (place % 2)
        bottom = 0.62 - 0.277 * (place // 2)
        axes = page.add_axes((left, bottom, 0.41, 0.25))
        axes.imshow(painter.draw_slice(index), interpolation="nearest")
        axes.set_axis_off()
        ids = ", ".join(map(str, painter.lesions_on(index)))
        caption = f"Slice {index + 1} from below" + (f": lesion {ids}" if ids else "")
        axes.set_title(textwrap.shorten(caption, 60), size=8, color=_INK, pad=2)


def _plain(words: str) -> str:
    """Keep letters that the font has and that run from left to right. Names may hold any letter."""
    return "".join(one if one in _letters() else "?" for one in words)


@cache
def _letters() -> frozenset[str]:
    known = get_font(findfont("DejaVu Sans")).get_charmap()
    return frozenset(chr(code) for code in known if code < _FIRST_FROM_RIGHT)
