"""``report.html``: one page that opens anywhere, offline, without scripts.

Everything that comes from a file (its name, notes, the texts of a bundle) goes through `_e`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, partial
from html import escape as _e
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Final

from cmbnet.report.pictures import Painter, Picture
from cmbnet.threads import in_threads

if TYPE_CHECKING:
    from cmbnet.lesions import Lesion
    from cmbnet.predict import Prediction
    from cmbnet.report.result import Result

MOST_SLICES: Final = 24
MOST_TILES: Final = 60
MOST_EXCLUDED: Final = 50
"""Enough to look through; what is left out is said on the page and stands in the tables."""


def report_html(prediction: Prediction, result: Result) -> str:
    """The page of a result."""
    painter = Painter(prediction)
    return _template().substitute(
        title=_e(f"cmbnet report: {result.case}"),
        notice=_e(result.notice),
        forced=_forced(result),
        case=_e(result.case),
        about=_about(result),
        headline=_e(headline(result)),
        answer=_answer(result),
        training=_e(f"What the model has seen: {result.model.training}"),
        lesions=_lesion_table(result),
        slices=_slices(painter, result),
        tiles=_tiles(painter, result.lesions),
        quality=_quality(result),
        stages=_stages(result),
        provenance=_provenance(result),
    )


@cache
def _template() -> Template:
    return Template((Path(__file__).parent / "report.html").read_text(encoding="utf-8"))


def _forced(result: Result) -> str:
    if not result.quality.forced:
        return ""
    return (
        '<p class="banner bad" role="alert">This scan was refused as not analysable and --force '
        "overruled that: the numbers below should not be trusted. The reason stands under "
        "Quality of the scan.</p>"
    )


def _about(result: Result) -> str:
    i, j, k = result.input.shape_ijk
    size = " x ".join(f"{mm:.3g}" for mm in result.input.spacing_ijk_mm)
    return _e(f"{result.input.file}: {i} x {j} x {k} voxels of {size} mm")


def headline(result: Result) -> str:
    """The answer in one line."""
    scan = result.scan
    if scan.lesions == 0:
        return "No microbleeds were reported"
    noun = "microbleed was" if scan.lesions == 1 else "microbleeds were"
    return f"{scan.lesions} possible {noun} found: {scan.small} small, {scan.large} large"


def _answer(result: Result) -> str:
    scan, model = result.scan, result.model
    call = "positive" if scan.positive else "negative"
    lines = [
        f"At operating point <em>{_e(model.operating_point)}</em> the scan is called {call}: "
        f"score {scan.score:.3f}, positive from {model.patient_threshold:.3f}.",
        "Small is 2 mm up to, but not, 5 mm; large is 5 to 10 mm; by the largest diameter in a "
        "slice. Susceptibility makes lesions look larger than they are.",
    ]
    if scan.lesions == 0:
        lines.insert(0, why_nothing(result))
    return "".join(f"<p>{line}</p>" for line in lines)


def why_nothing(result: Result) -> str:
    """An empty result explains itself."""
    scan, model, stages = result.scan, result.model, result.stages
    seen = (
        f"The network looked at {scan.slices_analysed} slices. Its highest probability was "
        f"{scan.highest_probability:.3f}; a voxel counts from {model.pixel_threshold:.3f}. "
    )
    if stages["candidates"] == 0:
        return seen + "So there was not even a candidate."
    removed = [
        f"{count} by {name.removeprefix('removed_by_')}"
        for name, count in stages.items()
        if name.startswith("removed_by_") and count
    ]
    return seen + (
        f"There were {stages['candidates']} candidates, and the rules removed them all: "
        f"{', '.join(removed)}. Each is listed below with its reason."
    )


def _lesion_table(result: Result) -> str:
    if not result.lesions:
        return "<p>None.</p>"
    heads = (
        "No.", "Class", "Score", "Diameter in slice, mm", "Equivalent diameter, mm",
        "Volume, mm³", "Across slices, mm", "To brain border, mm", "Centre R, A, S, mm",
        "Voxel i, j, k",
    )  # fmt: skip
    rows = ([*_sizes(lesion), _border(lesion), *_places(lesion)] for lesion in result.lesions)
    return _table(
        "By descending score. Centre in world coordinates, voxel in the order of the file.",
        heads,
        rows,
    )


def _sizes(lesion: Lesion) -> list[str]:
    return [
        str(lesion.id),
        lesion.size_class,
        f"{lesion.score:.3f}",
        f"{lesion.max_in_plane_diameter_mm:.1f}",
        f"{lesion.equivalent_diameter_mm:.1f}",
        f"{lesion.volume_mm3:.1f}",
        f"{lesion.z_extent_mm:.1f}",
    ]


def _border(lesion: Lesion) -> str:
    return "" if lesion.border_distance_mm is None else f"{lesion.border_distance_mm:.1f}"


def _places(lesion: Lesion) -> list[str]:
    return [
        ", ".join(f"{mm:.1f}" for mm in lesion.centre_ras_mm),
        ", ".join(map(str, lesion.voxel_ijk)),
    ]


def _slices(painter: Painter, result: Result) -> str:
    excluded = result.excluded[:MOST_EXCLUDED]
    chosen = painter.slices_to_show(result.lesions, excluded, most=MOST_SLICES)
    pictures = in_threads([partial(painter.slice, index, excluded) for index in chosen])
    figures = []
    for index, picture in zip(chosen, pictures, strict=True):
        ids = painter.lesions_on(index)
        what = f"lesion {', '.join(map(str, ids))}" if ids else "no lesion"
        caption = f"Slice {index + 1} from below: {what}"
        figures.append(_figure(picture, f"Axial {caption[0].lower()}{caption[1:]}", caption))
    note = "Slices through lesions" if result.lesions else "Slices through the brain"
    return (
        f'<p class="soft">{note}, at most {MOST_SLICES}. Axial, anterior is up, the patient\'s '
        "right is on the left. Orange outlines surround lesions, blue rings excluded "
        f'candidates.</p><div class="slices">{"".join(figures)}</div>'
    )


def _tiles(painter: Painter, lesions: Sequence[Lesion]) -> str:
    if not lesions:
        return ""
    shown = lesions[:MOST_TILES]
    pictures = in_threads([partial(painter.tile, lesion) for lesion in shown])
    figures = []
    for lesion, picture in zip(shown, pictures, strict=True):
        caption = (
            f"Lesion {lesion.id}: {lesion.size_class}, {lesion.max_in_plane_diameter_mm:.1f} mm, "
            f"score {lesion.score:.3f}"
        )
        alt = f"{caption}; axial, coronal and sagittal plane through its centre, marked by a cross"
        figures.append(_figure(picture, alt, caption))
    left_out = len(lesions) - len(figures)
    more = f" The {left_out} of lowest score are left out." if left_out else ""
    return (
        '<section><h2>Lesions from near</h2><p class="soft">24 mm in the axial, coronal and '
        "sagittal plane; anterior is on the left of the sagittal one. The blue cross points to "
        f'the centre.{more}</p><div class="tiles">{"".join(figures)}</div></section>'
    )


def _figure(picture: Picture, alt: str, caption: str) -> str:
    return (
        f'<figure><img src="{picture.uri}" width="{picture.width}" height="{picture.height}" '
        f'alt="{_e(alt)}"><figcaption>{_e(caption)}</figcaption></figure>'
    )


def _quality(result: Result) -> str:
    if not result.quality.findings:
        return "<p>Nothing to remark.</p>"
    items = (
        f'<li><span class="severity {f.severity}">{f.severity}</span> {_e(f.message)} '
        f'<span class="soft">({_e(f.code)})</span></li>'
        for f in result.quality.findings
    )
    return f"<ul>{''.join(items)}</ul>"


def _stages(result: Result) -> str:
    names = {
        "candidates": "Candidates (connected voxels above the threshold)",
        "lesions": "Lesions",
    }
    rows = (
        [names.get(name, name.replace("_", " ").capitalize()), str(count)]
        for name, count in result.stages.items()
    )
    table = _table("How many were left after each rule.", ("Stage", "Count"), rows, text=(0,))
    if not result.excluded:
        return table
    heads = (
        "No.", "Class", "Score", "Diameter in slice, mm", "Equivalent diameter, mm",
        "Volume, mm³", "Across slices, mm", "Centre R, A, S, mm", "Voxel i, j, k", "Reason",
    )  # fmt: skip
    shown = result.excluded[:MOST_EXCLUDED]
    excluded = _table(
        f"Excluded candidates, {len(shown)} of {result.excluded_total}, by descending score.",
        heads,
        ([*_sizes(lesion), *_places(lesion), lesion.reason] for lesion in shown),
        text=(9,),
    )
    return f"{table}<details><summary>Excluded candidates and why</summary>{excluded}</details>"


def _provenance(result: Result) -> str:
    model, request = result.model, result.request
    rows = {
        "Input": f"{result.input.file}, sha256 {request.input_sha256 or 'unknown (array)'}",
        "Model": f"{model.bundle}, licence {model.licence}, sha256 {request.bundle_sha256}",
        "Thresholds": (
            f"voxel {model.pixel_threshold:g}, lesion score {model.lesion_score:g}, "
            f"scan {model.patient_threshold:g}"
        ),
        "Measured with them": _measured(result),
        "Backend": f"{model.backend} {model.precision}, {model.runtime} ({model.backend_reason})",
        "Versions": ", ".join(f"{name} {v}" for name, v in result.versions.items()),
        "Files beside this page": ", ".join(result.files),
    }
    return _table(None, (), ([name, text] for name, text in rows.items()), text=(0, 1))


def _measured(result: Result) -> str:
    measured = result.model.measured
    if measured is None:
        return "nothing: no operating characteristics are stored in this bundle"
    values = {
        "sensitivity": measured.sensitivity,
        "precision": measured.precision,
        "false positives a scan": measured.false_positives_per_scan,
        "false positive scans": measured.patient_fpr,
        "false negative scans": measured.patient_fnr,
    }
    known = ", ".join(f"{name} {value:.3g}" for name, value in values.items() if value is not None)
    return f"{known}; on {measured.cohort}"


def _table(
    caption: str | None,
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    text: tuple[int, ...] = (),
) -> str:
    """A table of escaped cells; the first cell of a row is its header.

    Args:
        caption: Above the table.
        heads: Of the columns; none for a table of names and values.
        rows: Cells as plain text.
        text: Columns that hold words and may wrap.
    """

    def cell(column: int, content: str) -> str:
        kind = ' class="text"' if column in text else ""
        tag = 'th scope="row"' if column == 0 else "td"
        return f"<{tag}{kind}>{_e(content)}</{tag.split()[0]}>"

    head = "".join(
        f'<th scope="col"{" class=" + chr(34) + "text" + chr(34) if n in text else ""}>{_e(h)}</th>'
        for n, h in enumerate(heads)
    )
    body = "".join(
        f"<tr>{''.join(cell(n, content) for n, content in enumerate(row))}</tr>" for row in rows
    )
    return (
        '<div class="scroll"><table>'
        + (f"<caption>{_e(caption)}</caption>" if caption else "")
        + (f"<thead><tr>{head}</tr></thead>" if head else "")
        + f"<tbody>{body}</tbody></table></div>"
    )
