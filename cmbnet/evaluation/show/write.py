"""Write all results of an evaluation into a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cmbnet import RESEARCH_USE_ONLY
from cmbnet.evaluation.cohort.analysis import Analysis
from cmbnet.evaluation.cohort.compare import Comparison
from cmbnet.evaluation.cohort.files import CaseFiles
from cmbnet.evaluation.cohort.load import load_case
from cmbnet.evaluation.cohort.origin import Origin
from cmbnet.evaluation.cohort.scores import CohortScores
from cmbnet.evaluation.match.case import Case
from cmbnet.evaluation.show.claim import claim_markdown
from cmbnet.evaluation.show.figures import Versus, all_figures, write_figure
from cmbnet.evaluation.show.gallery import error_gallery, worst_errors
from cmbnet.evaluation.show.page import render_page
from cmbnet.evaluation.show.results import (
    case_notes,
    cases_csv,
    cohort_counts,
    curves_csv,
    lesions_csv,
    to_json,
)
from cmbnet.evaluation.show.table import Table, cell_text, join_latex, join_markdown, number
from cmbnet.io import read_nifti, write_text_atomically
from cmbnet.volume import Volume


def title(origin: Origin) -> str:
    """Write the heading of tables and page: the model and the data."""
    return f"Evaluation of microbleed detection on {origin.words}"


def write_tables(
    folder: Path,
    analysis: Analysis,
    origin: Origin,
    tables: Sequence[Table],
    comparison: Comparison | None = None,
) -> None:
    """Write ``results.json``, CSV tables, ``tables.md``, ``tables.tex`` and ``claim.md``."""
    cases = analysis.scores.cases
    for name, text in {
        "results.json": to_json(analysis, origin, comparison),
        "cases.csv": cases_csv(cases),
        "lesions.csv": lesions_csv(cases),
        "curves.csv": curves_csv(analysis),
        "tables.md": join_markdown(title(origin), tables, RESEARCH_USE_ONLY),
        "tables.tex": join_latex(tables, RESEARCH_USE_ONLY),
        "claim.md": claim_markdown(analysis, origin),
    }.items():
        write_text_atomically(folder / name, text)


def write_figures(
    folder: Path,
    analysis: Analysis,
    origin: Origin,
    tables: Sequence[Table],
    files: Sequence[CaseFiles],
    *,
    images: dict[str, Path] | None = None,
    other: CohortScores | None = None,
    for_print: bool = False,
) -> None:
    """Write the figures as SVG and PNG into ``figures/``, and ``evaluation.html``.

    The error gallery reads the cases again. A case that `images` lacks is drawn on grey. Curves of
    the model of `other` are drawn, too. With `for_print`, each figure becomes a PDF, too.
    """
    by_name = {one.name: one for one in files}

    def load(name: str) -> tuple[Case, Volume | None]:
        path = (images or {}).get(name)
        return load_case(by_name[name]), None if path is None else read_nifti(path)

    errors = worst_errors(analysis.scores.cases)
    versus = None if other is None else Versus(_names(origin), other)
    figures = all_figures(analysis, versus)
    figures["error_gallery"] = error_gallery(errors, load, analysis.scores.settings)
    drawn = {name: write_figure(figure, folder / "figures" / name, for_print=for_print)
             for name, figure in figures.items()}  # fmt: skip
    page = render_page(title(origin), headline(analysis, origin), tables, drawn, notes(analysis))
    write_text_atomically(folder / "evaluation.html", page)


def _names(origin: Origin) -> tuple[str, str]:
    """Return the names of both models, or what they are called if these are the same or unknown."""
    if origin.model is None or origin.other is None or origin.model.bundle == origin.other.bundle:
        return "this model", "the other"
    return origin.model.bundle, origin.other.bundle


def headline(analysis: Analysis, origin: Origin) -> dict[str, str]:
    """Return the headline numbers of the page."""
    count = cohort_counts(analysis.scores.cases)
    values = analysis.scores.metrics
    shown = {
        "Dice, all voxels": "dice",
        "Lesion precision": "lesion_precision",
        "Lesion recall": "lesion_recall",
        "False positives per scan": "fp_per_scan",
    }
    return {
        "Scans": str(count["scans"]),
        "Patients with lesions": str(count["patients_with_lesions"]),
        "Controls": str(count["controls"]),
        "True lesions": str(count["true_lesions"]),
        **{
            title: f"{number(values[name])} ({cell_text(analysis.intervals[name])})"
            for title, name in shown.items()
        },
        "Matching rule": str(analysis.scores.settings.rule),
        "Model": "not recorded" if origin.model is None else str(origin.model),
    }


def notes(analysis: Analysis, most: int = 50) -> list[str]:
    """Return notes on omissions and oddities, with the first `most` notes of cases."""
    count = cohort_counts(analysis.scores.cases)
    lines = [
        f"{count['true_lesions_below_2_mm']} true lesions are below 2 mm and "
        f"{count['true_lesions_above_10_mm']} above 10 mm "
        f"(size rule: {analysis.scores.settings.size_rule}).",
        f"{count['true_lesions_ignored']} true and {count['predicted_lesions_ignored']} predicted "
        "lesions were left out because they lie in the ignore region.",
    ]
    lines += analysis.withheld
    unscored = sum(not case.has_scores for case in analysis.scores.cases)
    if unscored:
        lines.append(
            f"No FROC and no areas: the lesions of {unscored} cases have no score (give "
            "probability maps, or the output folder of cmbnet predict)."
        )
    if count["missing_predictions"]:
        lines.append(f"{count['missing_predictions']} predictions were missing and count as empty.")
    found = case_notes(analysis.scores.cases)
    more = [f"and {len(found) - most} more, in results.json"] if len(found) > most else []
    return [*lines, *found[:most], *more]
