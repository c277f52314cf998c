"""The tables of an evaluation. The first follows the paper's Table 3."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cmbnet.evaluation.cohort.analysis import Analysis
from cmbnet.evaluation.cohort.compare import Comparison
from cmbnet.evaluation.show.table import Cell, Table, number, p_text
from cmbnet.evaluation.stats.columns import counted_predicted, counted_truth
from cmbnet.evaluation.stats.counts import BANDS, agreement_of_counts
from cmbnet.evaluation.stats.froc import FP_PER_SCAN
from cmbnet.evaluation.stats.kappa import Kappa
from cmbnet.evaluation.stats.metrics import METRICS, PAPER_LESION_AUC, Metric, metric

PAPER = (
    "Paper: Fan et al. 2022, doi:10.3389/fmed.2022.807443, on patients of its own; its averages do "
    "not say which level they are of and stand at both. What it calls specificity of labeling "
    "stands beside precision by size: lesions have no true negatives."
)
PAPER_COUNTS = {"patient_fp": 10, "patient_fn": 2, "patient_tn": 84, "patient_tp": 93}


def all_tables(
    analysis: Analysis, comparison: Comparison | None = None, *, paper: bool = False
) -> list[Table]:
    """Make every table, in the order of the report. With `paper`, show the paper's values, too."""
    first = [performance(analysis), patients(analysis)]
    if paper:
        first[0] = replace(first[0], note=f"{first[0].note} {PAPER}")
    else:
        first = [without_paper(table) for table in first]
    tables = [*first, strata(analysis), counts(analysis), bands(analysis)]
    if len(analysis.scores.cases) > len(analysis.scores.columns.patients):
        tables.append(counts(analysis, by_scan=True))
    if analysis.groups:
        tables.append(groups(analysis))
    if analysis.areas or analysis.withheld or analysis.pixel is not None:
        tables.append(areas(analysis))
    if analysis.calibrations:
        tables.append(calibrations(analysis))
    if analysis.froc is not None:
        tables.append(froc(analysis))
    if comparison is not None:
        tables += [differences(comparison), tests(comparison)]
    return tables


def without_paper(table: Table) -> Table:
    """Remove the last column of a table, which holds the paper's values."""
    return replace(table, header=table.header[:-1], rows=tuple(row[:-1] for row in table.rows))


def performance(analysis: Analysis) -> Table:
    """Make the table of pixel, lesion and count metrics with intervals and the paper's values."""
    values, intervals, wilson = analysis.scores.metrics, analysis.intervals, analysis.wilson
    rows: list[tuple[Cell, ...]] = [
        (
            one.level.capitalize(),
            _title(one),
            values[one.name],
            intervals[one.name],
            wilson.get(one.name),
            one.paper,
        )
        for one in METRICS
    ]
    rows += [
        ("Lesion", "Area under the ROC curve", area.value, area.bootstrap, None, PAPER_LESION_AUC)
        for area in analysis.areas
        if area.name == "lesion_auc"
    ]
    return Table.of(
        "Model performance",
        ("Level", "Metric", "Value", "95 % interval, by patient", "95 % Wilson", "Paper"),
        rows,
        f"Matching rule {analysis.scores.settings.rule}; 26-connected lesions. Intervals: "
        f"BCa bootstrap, {analysis.plan.resamples} resamples "
        f"of patients. Areas: see there what is ranked.",
        text_columns=2,
    )


def _title(one: Metric) -> str:
    return f"{one.title}, {one.unit}" if one.unit else one.title


def patients(analysis: Analysis) -> Table:
    """Make the table of patient-level counts and rates, as the paper prints them."""
    scores = analysis.scores
    rows: list[tuple[Cell, ...]] = [
        (name.removeprefix("patient_").upper(), number(scores.counts[name], 0), None, in_paper)
        for name, in_paper in PAPER_COUNTS.items()
    ]
    rows += [
        (metric(name).title, scores.metrics[name], analysis.wilson[name], metric(name).paper)
        for name in ("patient_fpr", "patient_fnr", "patient_tpr")
    ]
    return Table.of(
        "Patients, positive by at least one correct lesion",
        ("", "Value", "95 % Wilson", "Paper"),
        rows,
        "A patient with lesions is TP if at least one true lesion is found; a control is FP if at "
        "least one predicted lesion is false.",
    )


def strata(analysis: Analysis) -> Table:
    """Make the table of lesion metrics by stratum."""
    rows = [
        (
            f"{one.kind}: {one.name}",
            one.scans,
            _part(one.found, one.missed),
            one.recall,
            one.recall_interval,
            _part(one.correct, one.false),
            one.precision,
            one.precision_interval,
            one.f1,
            one.fp_per_scan,
        )
        for one in analysis.strata
    ]
    header = ("Stratum", "Scans", "Found", "Recall", "95 % Wilson")
    return Table.of(
        "Strata",
        (*header, "Correct", "Precision", "95 % Wilson", "F1", "FP per scan"),
        rows,
        "Size by maximum in-plane diameter d: 2-5 mm is 2 <= d < 5, 5-10 mm is 5 <= d <= 10. "
        "Recall counts true lesions of the stratum, precision predicted ones. Where the "
        "prediction knows no regions, its precision is undefined.",
    )


def _part(right: int, wrong: int) -> str:
    return f"{right}/{right + wrong}" if right + wrong else "-"


def counts(analysis: Analysis, *, by_scan: bool = False) -> Table:
    """Make the table of the agreement of lesion counts per patient, or per scan."""
    agreement = analysis.counts
    if by_scan:
        cases = analysis.scores.cases
        true, predicted = (
            np.array([len(lesions([case])) for case in cases], float)
            for lesions in (counted_truth, counted_predicted)
        )
        agreement = agreement_of_counts(true, predicted)
    low, high = agreement.bland_altman.limits

    def kappa(title: str, one: Kappa) -> tuple[Cell, ...]:
        return title, one.value, one.interval, p_text(one.p)

    rows: list[tuple[Cell, ...]] = [
        ("ICC(2,1)", agreement.icc.value, agreement.icc.interval, None),
        ("Bland-Altman bias, lesions", *agreement.bland_altman.bias, None),
        ("Lower limit of agreement", *low, None),
        ("Upper limit of agreement", *high, None),
        kappa("Kappa, lesion or none", agreement.kappa_presence),
        kappa("Kappa of the bands", agreement.kappa),
        kappa("Kappa of the bands, linear weights", agreement.kappa_linear),
        kappa("Kappa of the bands, quadratic weights", agreement.kappa_quadratic),
    ]
    return Table.of(
        f"Lesions per {'scan' if by_scan else 'patient'}, predicted against true",
        ("", "Value", "95 % interval", "P"),
        rows,
        f"Bands: {', '.join(BANDS)}. P: no agreement beyond chance."
        + (" Scans of one patient are taken as independent." if by_scan else ""),
    )


def bands(analysis: Analysis) -> Table:
    """Make the confusion matrix of the bands of lesions per patient."""
    rows = [
        (f"true {name}", *(f"{int(n)}" for n in row))
        for name, row in zip(BANDS, analysis.counts.bands, strict=True)
    ]
    header = ("Patients", *(f"predicted {name}" for name in BANDS))
    return Table.of("Bands of lesions per patient, true by predicted", header, rows)


def calibrations(analysis: Analysis) -> Table:
    """Make the table of Brier scores."""
    classes = {area.name: area.classes for area in analysis.areas}
    rows = [
        (classes[one.name], f"{one.samples.sum()}", one.brier, one.brier_of_prevalence)
        for one in analysis.calibrations
    ]
    return Table.of(
        "Calibration",
        ("What is predicted", "Samples", "Brier score", "Brier score of the prevalence"),
        rows,
        "Mean square of score minus class: 0 is best. A score that says less than the prevalence "
        "alone has a higher value than the last column.",
    )


def groups(analysis: Analysis) -> Table:
    """Make the table of the agreement of lesion counts per patient by group of regions."""
    rows: list[tuple[Cell, ...]] = []
    for one in analysis.groups:
        (bias, around), (low, high) = one.bland_altman.bias, one.bland_altman.limits
        limits = f"{number(low[0])} to {number(high[0])}"
        rows.append((one.group, one.icc.value, one.icc.interval, bias, around, limits))
    return Table.of(
        "Lesions per patient by group of regions, predicted against true",
        ("Group", "ICC(2,1)", "95 % interval", "Bias, lesions", "95 % interval", "Limits"),
        rows,
        "Bias and limits of agreement of Bland and Altman. A lesion whose region is unknown counts "
        "in no group.",
    )


def areas(analysis: Analysis) -> Table:
    """Make the table of areas under ROC curves and pixel curves."""
    rows: list[tuple[Cell, ...]] = [
        (one.classes, f"{one.positives} / {one.negatives}", one.value, one.bootstrap, one.delong)
        for one in analysis.areas
    ]
    notes = " ".join(analysis.withheld)
    if analysis.areas:
        notes += " DeLong takes samples as independent, which lesions of one patient are not."
    pixel = analysis.pixel
    if pixel is not None:
        rows.append(("voxels, ROC", None, number(pixel.auc, 4), None, None))
        rows.append(("voxels, average precision", None, pixel.average_precision, None, None))
        notes += (
            f" Voxel curves use bins of {pixel.bin_width:g}; the area differs from that "
            f"without bins by at most {pixel.auc_error:.2g}."
        )
    return Table.of(
        "Areas under curves",
        ("What is ranked", "Positives / negatives", "AUC", "95 % interval, by patient", "DeLong"),
        rows,
        notes.strip(),
    )


def froc(analysis: Analysis) -> Table:
    """Make the table of sensitivity at given numbers of false positives per scan."""
    curve = analysis.froc
    if curve is None:
        raise ValueError("a FROC needs scores of lesions")
    band = zip(FP_PER_SCAN, curve.sensitivities, curve.at.low, curve.at.high, strict=True)
    rows: list[tuple[Cell, ...]] = [
        (f"{at:g}", value, f"{number(low)} to {number(high)}") for at, value, low, high in band
    ]
    rows += [("mean", curve.score, None), ("average precision", curve.average_precision, None)]
    return Table.of(
        "FROC",
        ("False positives per scan", "Sensitivity", "95 % interval, by patient"),
        rows,
        "Highest sensitivity with no more false positives; beyond the last candidate it stays. The "
        f"prediction itself: {number(curve.operating_point[0])} false positives per scan, "
        f"sensitivity {number(curve.operating_point[1])}.",
    )


def differences(comparison: Comparison) -> Table:
    """Make the table that compares two models, metric by metric."""
    rows = [
        (
            f"{_title(what)} ({what.level})",
            one.first,
            one.second,
            one.difference,
            one.interval,
            p_text(one.p),
            p_text(one.p_holm),
        )
        for one, what in zip(comparison.differences, METRICS, strict=True)
    ]
    return Table.of(
        "This model against the other",
        ("Metric", "This", "Other", "Difference", "95 % interval, paired", "P, permutation",
         "P, Holm"),
        rows,
        f"The last column is corrected for the number of metrics, {len(rows)}, after Holm.",
    )  # fmt: skip


def tests(comparison: Comparison) -> Table:
    """Make the table of McNemar tests of two models."""
    rows: list[tuple[Cell, ...]] = [
        (test.what, test.only_first, test.only_second, p_text(test.p)) for test in comparison.tests
    ]
    rows.append(("patient-level AUC (DeLong)", None, None, p_text(comparison.patient_auc_p)))
    return Table.of(
        "Paired tests", ("Right", "Only this", "Only the other", "P, McNemar exact"), rows
    )
