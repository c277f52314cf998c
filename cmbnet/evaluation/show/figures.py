"""Figures of an evaluation, as matplotlib figures.

matplotlib is imported inside the functions, because scoring does not need it.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.errors import require
from cmbnet.evaluation.cohort.analysis import AREAS, Analysis, Area
from cmbnet.evaluation.cohort.scores import CohortScores
from cmbnet.evaluation.stats.calibration import Decision
from cmbnet.evaluation.stats.columns import counted_truth
from cmbnet.evaluation.stats.counts import BANDS
from cmbnet.evaluation.stats.froc import FP_PER_SCAN, froc_curve, lesion_scores_of
from cmbnet.evaluation.stats.intervals import wilson
from cmbnet.evaluation.stats.roc import auc as area_of
from cmbnet.evaluation.stats.roc import roc_curve
from cmbnet.io import write_bytes_atomically
from cmbnet.lesions.sizes import LARGE_FROM_MM, LARGEST_MM, SMALLEST_MM, exceeds, reaches

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#1f5f8b", "#c2571a", "#6b6b6b"
DIAMETERS_MM = (SMALLEST_MM, 3.0, 4.0, LARGE_FROM_MM, 7.0)
"""Lower bounds of the bars after the first. The last bar holds diameters above `LARGEST_MM`."""
STYLE = {
    "axes.grid": True,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 10,
    "font.size": 9,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "cmbnet",
}


@dataclass(frozen=True, slots=True)
class Versus:
    """Another model, whose curves are drawn beside those of this one."""

    names: tuple[str, str]  # Names of this model and of the other
    other: CohortScores  # Scores of the other model


def all_figures(analysis: Analysis, versus: Versus | None = None) -> dict[str, Figure]:
    """Draw every figure that the cohort has data for, by file name without ending."""
    figures = {
        "bland_altman": bland_altman(analysis),
        "count_bands": count_bands(analysis),
        "size_detection": size_detection(analysis),
    }
    if analysis.areas:
        figures = {"roc": roc(analysis, versus), **figures}
    if analysis.froc is not None:
        figures["froc"] = froc(analysis, versus)
    if analysis.calibrations:
        figures["calibration"] = calibration_curves(analysis)
    if analysis.decision is not None:
        figures["decision"] = decision(analysis.decision)
    if analysis.pixel is not None:
        figures["pixel_curves"] = pixel_curves(analysis)
    return figures


def write_figure(figure: Figure, path: Path, *, for_print: bool = False) -> bytes:
    """Write a figure as SVG and PNG to a path without ending, and return the SVG.

    With `for_print`, a PDF without the research-use sentence is written, too: a paper says it.

    The same figure gives the same bytes.
    """
    written = _saved(figure, {"svg": {"Date": None}, "png": {"Software": None}})
    if for_print:
        figure.supxlabel("")
        written |= _saved(figure, {"pdf": {"CreationDate": None}})
    for kind, content in written.items():
        write_bytes_atomically(path.with_name(f"{path.name}.{kind}"), content)
    return written["svg"]


def _saved(figure: Figure, formats: dict[str, dict[str, None]]) -> dict[str, bytes]:
    """Save a figure in formats with their metadata. Layout takes longest, so it is done once."""
    import matplotlib as mpl

    saved = {}
    with mpl.rc_context(STYLE):
        figure.set_layout_engine("constrained")
        figure.draw_without_rendering()
        figure.set_layout_engine(None)
        box = figure.get_tightbbox().padded(mpl.rcParams["savefig.pad_inches"])
        for kind, metadata in formats.items():
            stream = io.BytesIO()
            figure.savefig(stream, format=kind, dpi=150, metadata=metadata, bbox_inches=box)
            saved[kind] = stream.getvalue()
    return saved


def roc(analysis: Analysis, versus: Versus | None = None) -> Figure:
    """Draw ROC curves of lesions and patients, each with its interval band."""
    with drawing((3.6 * len(analysis.areas), 3.9)) as figure:
        axes = figure.subplots(1, len(analysis.areas), squeeze=False)[0]
        for ax, area in zip(axes, analysis.areas, strict=True):
            _roc_panel(ax, area)
            samples = None if versus is None else AREAS[area.name][1](versus.other.cases)
            if versus is not None and samples is not None:
                curve = roc_curve(samples.positive, samples.score)
                own, other = (
                    f"{name}: {auc:.3f}"
                    for name, auc in zip(
                        versus.names,
                        (area.value, area_of(samples.positive, samples.score)),
                        strict=True,
                    )
                )
                ax.lines[-1].set_label(own)
                ax.plot(curve.x, curve.y, color=ORANGE, lw=1.4, ls="--", label=other)
                ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8)
    return figure


def _roc_panel(ax: Any, area: Area) -> None:
    ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
    if not np.isnan(area.value):
        ax.fill_between(area.band.x, area.band.low, area.band.high, color=BLUE, alpha=0.2, lw=0)
        ax.plot(area.curve.x, area.curve.y, color=BLUE, lw=1.6)
    low, high = area.bootstrap.low, area.bootstrap.high
    ax.set_title(_wrapped(area.classes[0].upper() + area.classes[1:]))
    ax.text(
        0.97,
        0.04,
        f"AUC {area.value:.3f}\n95 % {low:.3f} to {high:.3f}\n"
        f"{area.positives} positive, {area.negatives} negative",
        transform=ax.transAxes,
        ha="right",
        va="bottom",
    )
    ax.set(xlabel="False-positive rate", ylabel="True-positive rate", aspect="equal")
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))


def froc(analysis: Analysis, versus: Versus | None = None) -> Figure:
    """Draw the FROC with the interval at each of the seven abscissae."""
    with drawing((5.2, 3.8)) as figure:
        ax, curve = figure.subplots(), analysis.froc
        if curve is None:
            raise ValueError("a FROC needs scores of lesions")
        at, middle = np.array(FP_PER_SCAN), np.array(curve.sensitivities)
        x, y = curve.curve.x, curve.curve.y
        right = max(8.0, float(x[-1]), curve.operating_point[0])
        name = None if versus is None else versus.names[0]
        ax.step(
            np.append(x, right), np.append(y, y[-1]), where="post", color=BLUE, lw=1.6, label=name
        )
        scores = None if versus is None else lesion_scores_of(versus.other.cases)
        if versus is not None and scores is not None:
            other = froc_curve(scores)
            x, y = np.append(other.x, max(right, other.x[-1])), np.append(other.y, other.y[-1])
            ax.step(x, y, where="post", color=ORANGE, lw=1.4, ls="--", label=versus.names[1])
        point = curve.operating_point
        ax.plot(*point, "o", color=ORANGE, ms=6, label="operating point", zorder=3)
        errors = np.stack([middle - curve.at.low, curve.at.high - middle]).clip(min=0)
        ax.errorbar(at, middle, errors, fmt="none", ecolor=BLUE, capsize=3, lw=1, label="95 %")
        # Logarithmic from 1/8 on, linear below: a point may lie at 0.
        ax.set_xscale("symlog", base=2, linthresh=at[0])
        ax.set_xticks([0, *at], ["0", "1/8", "1/4", "1/2", "1", "2", "4", "8"])
        ax.set(xlabel="False positives per scan", ylabel="Sensitivity", ylim=(0, 1.02))
        ax.set_xlim(-at[0] / 8, 1.1 * right)
        ax.set_title(
            f"FROC: mean sensitivity {curve.score:.3f}, "
            f"average precision {curve.average_precision:.3f}"
        )
        ax.legend(loc="lower right")
    return figure


def bland_altman(analysis: Analysis) -> Figure:
    """Draw the difference of lesion counts against their mean, with one dot per patient."""
    with drawing((5.6, 3.8)) as figure:
        ax, agreement = figure.subplots(), analysis.counts.bland_altman
        points = np.stack([agreement.mean, agreement.difference], axis=1)
        places, many = np.unique(points, axis=0, return_counts=True)
        ax.scatter(places[:, 0], places[:, 1], s=14 * many**0.7, color=BLUE, alpha=0.6, lw=0)
        lines = ((agreement.bias, "bias", ORANGE, "-"),)
        limits = ((agreement.limits[0], "-1.96 SD", GREY, "--"),
                  (agreement.limits[1], "+1.96 SD", GREY, "--"))  # fmt: skip
        for (value, interval), name, colour, style in (*lines, *limits):
            if np.isnan(value):
                continue
            ax.axhline(value, color=colour, ls=style, lw=1.2)
            if not np.isnan(interval.low):
                ax.axhspan(interval.low, interval.high, color=colour, alpha=0.12, lw=0)
            label = f"{name} {value:.2f}"
            ax.annotate(label, (1.01, value), xycoords=("axes fraction", "data"), va="center")
        ax.set(xlabel="Mean of predicted and true number of lesions")
        ax.set(ylabel="Predicted - true", title="Lesions per patient; larger dots: more of them")
    return figure


def count_bands(analysis: Analysis) -> Figure:
    """Draw the confusion matrix of the bands of lesions per patient."""
    with drawing((4.2, 3.8)) as figure:
        ax, table = figure.subplots(), analysis.counts.bands
        ax.imshow(table, cmap="Blues", vmin=0, vmax=max(1.0, 1.3 * float(table.max())))
        for (row, column), value in np.ndenumerate(table):
            dark = value > 0.6 * table.max()
            ax.text(column, row, f"{int(value)}", ha="center", va="center",
                    color="white" if dark else "black")  # fmt: skip
        ax.set_xticks(range(len(BANDS)), BANDS)
        ax.set_yticks(range(len(BANDS)), BANDS)
        ax.set(xlabel="Predicted lesions", ylabel="True lesions", title="Patients by count")
        ax.grid(visible=False)
    return figure


def calibration_curves(analysis: Analysis) -> Figure:
    """Draw the share of positives by score, for predicted lesions and patients."""
    titles = {"candidate_auc": "Predicted lesions", "patient_auc": "Patients"}
    with drawing((3.6 * len(analysis.calibrations), 3.8)) as figure:
        axes = figure.subplots(1, len(analysis.calibrations), squeeze=False)[0]
        for ax, one in zip(axes, analysis.calibrations, strict=True):
            ends = [wilson(share * n, n) for share, n in zip(one.share, one.samples, strict=True)]
            ax.plot([0, 1], [0, 1], color=GREY, lw=0.8, ls=":")
            ax.vlines(one.mean_score, [e.low for e in ends], [e.high for e in ends], color=BLUE)
            ax.plot(one.mean_score, one.share, "o-", color=BLUE, ms=4)
            for x, y, n in zip(one.mean_score, one.share, one.samples, strict=True):
                ax.annotate(f"{n}", (x, y), xytext=(4, -10), textcoords="offset points", fontsize=7)
            ax.set_title(f"{titles[one.name]}: Brier score {one.brier:.3f}")
            ax.set(xlabel="Mean score", ylabel="Share of positives", aspect="equal")
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    return figure


def decision(curve: Decision) -> Figure:
    """Draw the net benefit of acting on the score of a patient."""
    with drawing((5.2, 3.6)) as figure:
        ax = figure.subplots()
        ax.plot(curve.threshold, curve.model, color=BLUE, lw=1.6, label="by the model")
        ax.plot(curve.threshold, curve.every, color=ORANGE, lw=1.2, ls="--", label="every patient")
        ax.axhline(0, color=GREY, lw=1, label="no patient")
        top = float(max(curve.model.max(), curve.every.max(), 0.01))
        ax.set(xlim=(0, 1), ylim=(-0.25 * top, 1.1 * top), xlabel="Threshold probability")
        ax.set(ylabel="Net benefit, true positives per patient", title="Decision curve, patients")
        ax.legend(loc="upper right")
    return figure


def size_detection(analysis: Analysis) -> Figure:
    """Draw the share of found true lesions by maximum in-plane diameter, with Wilson intervals."""
    with drawing((5.6, 3.6)) as figure:
        ax = figure.subplots()
        lesions = counted_truth(analysis.scores.cases)
        bars = np.array([size_bar(lesion.diameter_mm) for lesion in lesions], int)
        found = np.array([lesion.verdict == "found" for lesion in lesions], bool)
        names = ["<2", "2-3", "3-4", "4-5", "5-7", "7-10", ">10"]
        for index in range(len(names)):
            inside = bars == index
            total, hits = int(inside.sum()), int(found[inside].sum())
            if not total:
                continue
            interval = wilson(hits, total)
            colour = ORANGE if index in (0, len(names) - 1) else BLUE
            ax.plot([index, index], [interval.low, interval.high], color=colour, lw=1.4)
            ax.plot(index, hits / total, "o", color=colour, ms=6)
            ax.annotate(f"{hits}/{total}", (index, 1.03), ha="center", fontsize=8)
        ax.set_xticks(range(len(names)), names)
        # The bars beyond the definition of a microbleed are there only if they hold something.
        first, last = int(0 not in bars), len(names) - int(len(names) - 1 not in bars)
        ax.set(xlim=(first - 0.6, last - 0.4), ylim=(-0.02, 1.1), ylabel="Share found")
        ax.set(xlabel="Maximum in-plane diameter of the true lesion, mm (lower bound included)")
        ax.set_title("Detection by size")
    return figure


def size_bar(diameter_mm: float) -> int:
    """Return the index of the bar of a diameter.

    Examples:
        >>> [size_bar(d) for d in (1.9, 2.0, 4.9, 5.0, 10.0000001, 10.1)]
        [0, 1, 3, 4, 5, 6]
    """
    if exceeds(diameter_mm, LARGEST_MM):
        return len(DIAMETERS_MM) + 1
    return sum(reaches(diameter_mm, bound) for bound in DIAMETERS_MM)


def pixel_curves(analysis: Analysis) -> Figure:
    """Draw ROC and precision-recall curves of the voxels."""
    with drawing((7.2, 3.8)) as figure:
        left, right = figure.subplots(1, 2)
        pixel = analysis.pixel
        if pixel is None:
            raise ValueError("pixel curves need probability maps")
        left.plot(pixel.roc.x, pixel.roc.y, color=BLUE, lw=1.6)
        left.set(xlabel="False-positive rate", ylabel="True-positive rate")
        left.set_title(f"Voxels, ROC: AUC {pixel.auc:.4f}")
        right.plot(pixel.precision_recall.x, pixel.precision_recall.y, color=BLUE, lw=1.6)
        right.set(xlabel="Recall", ylabel="Precision")
        right.set_title(f"Voxels: average precision {pixel.average_precision:.3f}")
        for ax in (left, right):
            ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    return figure


@contextmanager
def drawing(size: tuple[float, float]) -> Iterator[Figure]:
    """Make a figure of a size in inches, in the house style and with the research-use sentence.

    Raises:
        MissingExtra: If matplotlib is not installed.
    """
    require("matplotlib", extra="evaluate", purpose="to draw figures")
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        yield figure
        figure.supxlabel(RESEARCH_USE_ONLY, fontsize=6, color=GREY)


def _wrapped(text: str) -> str:
    """Break a title into two lines, before its second half."""
    words = text.split()
    lengths = np.cumsum([len(word) + 1 for word in words])
    cut = int(np.searchsorted(lengths, lengths[-1] / 2)) + 1
    return " ".join(words[:cut]) + "\n" + " ".join(words[cut:])
