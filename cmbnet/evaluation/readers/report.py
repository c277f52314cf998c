"""Tables, figure and files of a reader study. The first table follows the paper's Table 4."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.data_kind import KINDS, DataKind
from cmbnet.evaluation.cohort.origin import NOT_STATED
from cmbnet.evaluation.readers.arms import Arms
from cmbnet.evaluation.readers.study import Agreement, LabelCounts, StudyResult
from cmbnet.evaluation.readers.times import TimeResult
from cmbnet.evaluation.show.figures import BLUE, GREY, ORANGE, drawing, write_figure
from cmbnet.evaluation.show.page import render_page
from cmbnet.evaluation.show.results import plain
from cmbnet.evaluation.show.table import (
    Cell,
    Table,
    join_latex,
    join_markdown,
    number,
    p_text,
)
from cmbnet.evaluation.stats.intervals import Interval
from cmbnet.io import write_text_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = "cmbnet-readers/2"
PAPER_ROW = ("Paper, average of five", "-", "20.6 (2.5 %)", "35.6 (4.3 %)", "93.3 %", "-", "-", "-",
             "0.790")  # fmt: skip


def study_tables(
    study: StudyResult,
    times: Sequence[TimeResult] = (),
    arms: Arms | None = None,
    *,
    paper: bool = False,
) -> list[Table]:
    """Make every table of a study. With `paper`, the paper's averages stand beside it."""
    tables = [labels_table(study, paper=paper)]
    if study.system_by_truth is not None:
        tables.append(truth_table(study))
    tables.append(agreement_table(study))
    if arms is not None:
        tables.append(arms_table(arms))
    if times:
        tables.append(times_table(times))
    return tables


def labels_table(study: StudyResult, *, paper: bool = False) -> Table:
    """Make the table of each reader's labels of the system, and of their agreement."""
    rows: list[Sequence[Cell]] = [
        (reader.name, *_label_cells(reader.system_by_reader), *_agreement_cells(reader.with_system))
        for reader in study.readers
    ]
    rows.append(_average(study))
    if paper:
        rows.append(PAPER_ROW)
    return Table.of(
        "Labels of the system by each reader",
        _header("Reader", "system"),
        rows,
        f"{study.sites} sites in {study.cases} cases. Shares are of all three labels; accuracy is "
        "the share of correct labels. Positive agreement: lesions of both over the mean of those "
        "of each. Kappa: any lesion or none, over the cases."
        + (" The paper does not say what its kappa counts." if paper else ""),
    )  # fmt: skip


def _header(first: str, other: str) -> tuple[str, ...]:
    labels = (first, "Correct", "Missed", "Incorrect", "Accuracy", "95 %, by case")
    return (*labels, f"Positive agreement with the {other}", "95 %, by case", "Kappa of any lesion")


def _label_cells(labels: LabelCounts) -> tuple[str, ...]:
    counts = zip((labels.correct, labels.missed, labels.incorrect), labels.shares, strict=True)
    shown = (f"{count} ({_percent(share)})" for count, share in counts)
    return (*shown, _percent(labels.accuracy), _percent_range(labels.accuracy_interval))


def _agreement_cells(agreement: Agreement | None) -> tuple[Cell, ...]:
    if agreement is None:
        return None, None, None
    return agreement.positive, agreement.positive_interval, agreement.presence.value


def _average(study: StudyResult) -> tuple[str, ...]:
    labels = [reader.system_by_reader for reader in study.readers]
    counts = np.mean([(one.correct, one.missed, one.incorrect) for one in labels], axis=0)
    shares = np.mean([one.shares for one in labels], axis=0)

    def defined_mean(values: Sequence[float]) -> str:
        known = [value for value in values if not np.isnan(value)]
        return number(float(np.mean(known)) if known else None)

    agreements = [reader.with_system for reader in study.readers]
    return (
        "Average",
        *(f"{n:.1f} ({_percent(share)})" for n, share in zip(counts, shares, strict=True)),
        _percent(shares[0]),
        "-",
        defined_mean([one.positive for one in agreements]),
        "-",
        defined_mean([one.presence.value for one in agreements]),
    )


def truth_table(study: StudyResult) -> Table:
    """Compare the system and each reader with the reviewed truth."""
    judged = [("System", study.system_by_truth, None)] + [
        (reader.name, reader.reader_by_truth, reader.with_truth) for reader in study.readers
    ]
    return Table.of(
        "Labels against the reviewed truth",
        _header("", "truth"),
        [
            (name, *_label_cells(labels), *_agreement_cells(agreement))
            for name, labels, agreement in judged
            if labels is not None
        ],
        "Correct: in both; missed: in the truth only; incorrect: not in the truth.",
    )  # fmt: skip


def agreement_table(study: StudyResult) -> Table:
    """Make the table of the agreement of readers with the system and with each other."""
    pairs = [(f"{r.name} - system", r.with_system) for r in study.readers]
    pairs += [(f"{pair.first} - {pair.second}", pair.agreement) for pair in study.pairs]
    rows: list[tuple[Cell, ...]] = [
        (
            name,
            one.positive,
            one.positive_interval,
            one.presence.value,
            one.bands.value,
            one.bands_linear.value,
            one.bands_quadratic.value,
            p_text(one.bands_linear.p),
            one.sites.value,
        )
        for name, one in pairs
    ]
    presence = study.fleiss_presence
    rows.append(
        (
            "All readers; kappa of Fleiss",
            study.positive,
            study.positive_interval,
            f"{number(presence.value)} (P {p_text(presence.p)})",
            *[None] * 4,
            study.fleiss_sites.value,
        )
    )
    return Table.of(
        "Agreement",
        ("Raters", "Positive agreement", "95 %, by case", "Kappa: any lesion", "bands",
         "bands, linear", "bands, quadratic", "P, linear", "sites"),
        rows,
        "Positive agreement: lesions of both over the mean of those of each. Kappa of any lesion "
        "and of bands (0, 1, 2-4, 5-10, >10): over cases. Kappa of sites, lesion or none, can be "
        "negative for raters who agree on most lesions: two agree on none only where a third sees "
        "one. "
        f"Readers accept the system's lesions equally often: P {p_text(study.cochran_p)} "
        "(Cochran's Q).",
    )  # fmt: skip


def times_table(times: Sequence[TimeResult]) -> Table:
    """Make the table of reading times with and without the system."""
    rows = [
        (
            one.reader,
            one.pairs,
            number(one.mean_without_s, 1),
            number(one.mean_with_s, 1),
            number(one.median_without_s, 1),
            number(one.median_with_s, 1),
            _percent(one.saved),
            _percent_range(one.saved_interval),
            p_text(one.p),
        )
        for one in times
    ]
    return Table.of(
        "Reading time, s per case",
        ("Reader", "Cases in both arms", "Mean without", "Mean with", "Median without",
         "Median with", "Saved", "95 %, by case", "P, Wilcoxon"),
        rows,
    )  # fmt: skip


ARMS = {"system": "System alone", "without": "{} alone", "with": "{} with the system"}


def arms_table(arms: Arms) -> Table:
    """Make the table of the system alone, readers alone, and readers with the system."""
    rows = [
        (
            ARMS[one.arm].format(one.reader),
            one.lesions_per_case,
            one.with_system,
            one.with_truth,
            one.sensitivity,
            one.false_per_case,
            number(one.seconds, 1),
        )
        for one in arms.results
    ]
    alone, together = (number(value) for value in arms.among_readers)
    note = (
        f"{arms.cases} cases that every reader read in both ways. Positive agreement among the "
        f"readers: {alone} alone, {together} with the system."
    )
    merit = arms.merit
    if merit is not None and not np.isnan(merit.p):
        note += (
            " Positive agreement with the truth, with minus without the system, for readers and "
            f"cases at random (Obuchowski-Rockette): {number(merit.difference)}, 95 % "
            f"{number(merit.interval.low)} to {number(merit.interval.high)}, "
            f"F(1, {number(merit.df, 1)}) {number(merit.f, 2)}, P {p_text(merit.p)}."
        )
    return Table.of(
        "System alone, readers alone, and readers with the system",
        ("", "Lesions per case", "Positive agreement with the system", "with the truth",
         "Sensitivity", "False per case", "Time, s per case"),
        rows,
        note,
    )  # fmt: skip


def arms_figure(arms: Arms) -> Figure:
    """Draw what changes when a reader gets the system: a line for each reader."""
    panels = {
        "seconds": "Time, s per case",
        "with_truth": "Positive agreement with the truth",
        "false_per_case": "False lesions per case",
        "lesions_per_case": "Lesions per case",
    }
    system, rest = arms.results[0], arms.results[1:]
    known = {name: label for name, label in panels.items()
             if not all(np.isnan(getattr(one, name)) for one in rest)}  # fmt: skip
    with drawing((2.6 * len(known) + 0.6, 3.4)) as figure:
        axes = figure.subplots(1, len(known), squeeze=False)[0]
        for ax, (name, label) in zip(axes, known.items(), strict=True):
            for index, (alone, together) in enumerate(zip(rest[::2], rest[1::2], strict=True)):
                ends = [getattr(alone, name), getattr(together, name)]
                ax.plot([0, 1], ends, marker="o", ms=4, label=alone.reader, color=f"C{index}")
            ax.axhline(getattr(system, name), color=GREY, ls="--", label="system alone")
            ax.set_xticks([0, 1], ["alone", "with the\nsystem"])
            ax.set(xlim=(-0.25, 1.25), ylabel=label)
            ax.set_ylim(bottom=0)
        axes[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    return figure


def study_figure(study: StudyResult) -> Figure:
    """Draw the shares of labels per reader, and the positive agreement between all raters."""
    with drawing((9.0, 0.45 * len(study.readers) + 2.2)) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1.25, 1))
        names = [reader.name for reader in study.readers]
        start = np.zeros(len(names))
        for index, (label, colour) in enumerate(
            (("correct", BLUE), ("missed", GREY), ("incorrect", ORANGE))
        ):
            share = np.array([reader.system_by_reader.shares[index] for reader in study.readers])
            left.barh(names, share, left=start, color=colour, label=label, height=0.6)
            start += np.nan_to_num(share, nan=0.0)
        left.invert_yaxis()
        left.set(xlim=(0, 1), xlabel="Share of the labels")
        left.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
        _matrix(right, study)
    return figure


def _matrix(ax: Any, study: StudyResult) -> None:
    names = ["system", *(reader.name for reader in study.readers)]
    matrix = np.eye(len(names))
    for index, reader in enumerate(study.readers, start=1):
        matrix[0, index] = matrix[index, 0] = reader.with_system.positive
    for pair in study.pairs:
        a, b = names.index(pair.first, 1), names.index(pair.second, 1)
        matrix[a, b] = matrix[b, a] = pair.agreement.positive
    ax.imshow(matrix, cmap="Blues", vmin=-0.2, vmax=1.2)
    for (row, column), value in np.ndenumerate(matrix):
        ax.text(
            column,
            row,
            number(float(value), 2),
            ha="center",
            va="center",
            fontsize=8,
            color="white" if value > 0.55 else "black",
        )
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
    ax.set_yticks(range(len(names)), names)
    ax.set_title("Positive agreement")
    ax.grid(visible=False)


def title(kind: DataKind | None) -> str:
    """Write the heading of tables and page."""
    return f"Reader study of {NOT_STATED if kind is None else KINDS[kind]}"


def study_json(
    study: StudyResult, times: Sequence[TimeResult], kind: DataKind, arms: Arms | None = None
) -> str:
    """Make the content of ``readers.json``. NaN becomes null."""
    document = {
        "schema": SCHEMA,
        "research_use_only": RESEARCH_USE_ONLY,
        "cmbnet": __version__,
        "data": {"kind": kind},
        "study": asdict(study),
        "times": [asdict(one) for one in times],
        "arms": None if arms is None else asdict(arms),
    }
    return json.dumps(plain(document), indent=1, allow_nan=False) + "\n"


def write_study(
    folder: Path,
    study: StudyResult,
    kind: DataKind,
    tables: Sequence[Table],
    times: Sequence[TimeResult] = (),
    arms: Arms | None = None,
    *,
    figures: bool = True,
    for_print: bool = False,
) -> None:
    """Write ``readers.json`` and tables, and with `figures` the drawing and ``readers.html``.

    With `for_print`, each figure becomes a PDF, too.
    """
    heading = title(kind)
    write_text_atomically(folder / "readers.json", study_json(study, times, kind, arms))
    write_text_atomically(folder / "tables.md", join_markdown(heading, tables, RESEARCH_USE_ONLY))
    write_text_atomically(folder / "tables.tex", join_latex(tables, RESEARCH_USE_ONLY))
    if not figures:
        return
    drawn = {"readers": study_figure(study)}
    if arms is not None:
        drawn["arms"] = arms_figure(arms)
    svg = {name: write_figure(one, folder / "figures" / name, for_print=for_print)
           for name, one in drawn.items()}  # fmt: skip
    headline = {
        "Readers": str(len(study.readers)),
        "Cases": str(study.cases),
        "Sites": str(study.sites),
        "Accuracy of the system, average": _average(study)[4],
        "Positive agreement with the system, average": _average(study)[6],
        "Kappa of any lesion with the system, average": _average(study)[8],
    }
    page = render_page(heading, headline, tables, svg)
    write_text_atomically(folder / "readers.html", page)


def _percent_range(interval: Interval) -> str:
    known = not np.isnan(interval.low)
    return f"{_percent(interval.low)} to {_percent(interval.high)}" if known else "-"


def _percent(share: float) -> str:
    """Write a share in percent.

    Examples:
        >>> _percent(0.025), _percent(float("nan"))
        ('2.5 %', '-')
    """
    return "-" if np.isnan(share) else f"{100 * share:.1f} %"
