"""``report.html``: a page without scripts, which opens offline in any browser."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.pages import render
from cmbnet.regions.counts import in_words
from cmbnet.report.glass import glass_brain
from cmbnet.threads import in_threads

if TYPE_CHECKING:
    from cmbnet.report.pictures import Painter
    from cmbnet.report.result import Result

MOST_SLICES: Final = 24
MOST_TILES: Final = 60
MOST_EXCLUDED: Final = 50
"""Largest numbers of pictures and rows on the page, which says what it leaves out. The tables have
everything."""


def report_html(painter: Painter, result: Result) -> str:
    """Make the page of a result, with pictures of its prediction."""
    excluded = result.excluded[:MOST_EXCLUDED]
    near = result.lesions[:MOST_TILES]
    calcium = tuple(one for one in result.excluded if one.removed_by == "phase")[:MOST_TILES]
    indices = painter.slices_to_show(result.lesions, excluded, most=MOST_SLICES)
    drawn = in_threads(
        [
            *(partial(painter.slice, index, excluded) for index in indices),
            *(partial(painter.tile, lesion) for lesion in (*near, *calcium)),
        ]
    )
    shown = {
        lesion.id: index + 1
        for lesion in (*result.lesions, *excluded)
        if (index := painter.index_of(lesion)[0]) in indices
    }
    return render(
        "report.html",
        result=result,
        headline=headline(result),
        why_nothing=why_nothing(result),
        most_slices=MOST_SLICES,
        slices=[
            (index + 1, painter.lesions_on(index), picture)
            for index, picture in zip(indices, drawn[: len(indices)], strict=True)
        ],
        tiles=list(zip((*near, *calcium), drawn[len(indices) :], strict=True)),
        pictured=len(near),
        left_out=len(result.lesions) - len(near),
        slice_of=shown,
        groups=in_words(result.regions),
        glass=glass_brain(result.lesions),
        excluded=excluded,
        with_phase=painter.with_phase,
        provenance=_provenance(result),
    )


def refusal_html(case: str, file: str, reason: str) -> str:
    """Make the page of a refused scan. It holds nothing that looks like a result."""
    return render(
        "refused.html",
        case=case,
        file=file,
        reason=reason,
        notice=RESEARCH_USE_ONLY,
        version=__version__,
    )


def headline(result: Result) -> str:
    """Write the result in one line."""
    scan = result.scan
    calcium = _calcium(result)
    if scan.lesions == 0:
        return f"No microbleeds were reported{calcium}"
    noun = "microbleed was" if scan.lesions == 1 else "microbleeds were"
    return f"{scan.lesions} possible {noun} found: {scan.small} small, {scan.large} large{calcium}"


def _calcium(result: Result) -> str:
    """What the phase says, in both ways of counting."""
    apart = result.stages.get("removed_by_phase", 0)
    if apart:
        noun = "possible calcification is" if apart == 1 else "possible calcifications are"
        return f"; {apart} {noun} not counted ({result.scan.lesions + apart} in all)"
    counted = sum(lesion.phase == "diamagnetic" for lesion in result.lesions)
    return f"; {counted} of them may be calcified" if counted else ""


def why_nothing(result: Result) -> str:
    """Explain a result without lesions."""
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


def _provenance(result: Result) -> dict[str, str]:
    model, request = result.model, result.request
    return {
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
