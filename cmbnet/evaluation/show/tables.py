"""The tables of an evaluation. The first follows the paper's Table 3."""

from __future__ import annotations

from dataclasses import replace

from cmbnet.evaluation.cohort.analysis import PAPER_LESION_AUC, Analysis
from cmbnet.evaluation.cohort.compare import Comparison
from cmbnet.evaluation.show.table import Table, interval_text, number, p_text
from cmbnet.evaluation.stats.counts import BANDS
from cmbnet.evaluation.stats.froc import FP_PER_SCAN
from cmbnet.evaluation.stats.kappa import Kappa
from cmbnet.evaluation.stats.metrics import METRICS, Metric, metric

PAPER = (
    "Paper: Fan et al. 2022, doi:10.3389/fmed.2022.807443, on patients of its own; its averages do "
    "not say which level they are of and stand at both. What it calls specificity of labeling "
    "stands beside precision by size: lesions have no true negatives."
)
METHODS = {"bca": "BCa", "percentile": "percentile"}
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
    tables = [*first, strata(analysis), counts(analysis)]
    if analysis.areas or analysis.withheld or analysis.pixel is not None:
        tables.append(areas(analysis))
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
    rows = [
        (
            one.level.capitalize(),
            _title(one),
            number(analysis.scores.metrics[one.name]),
            interval_text(analysis.intervals[one.name]),
            interval_text(analysis.wilson.get(one.name)),
            number(one.paper),
        )
        for one in METRICS
    ]
    for area in analysis.areas:
        if area.name == "lesion_auc":
            rows.append(
                (
                    "Lesion",
                    "Area under the ROC curve",
                    number(area.value),
                    interval_text(area.bootstrap),
                    "-",
                    number(PAPER_LESION_AUC),
                )
            )
    return Table(
        "Model performance",
        ("Level", "Metric", "Value", "95 % interval, by patient", "95 % Wilson", "Paper"),
        tuple(rows),
        f"Matching rule {analysis.scores.settings.rule}; 26-connected lesions. Intervals: "
        f"{METHODS[analysis.plan.method]} bootstrap, {analysis.plan.resamples} resamples "
        f"of patients. Areas: see there what is ranked.",
        text_columns=2,
    )


def _title(one: Metric) -> str:
    return f"{one.title}, {one.unit}" if one.unit else one.title


def patients(analysis: Analysis) -> Table:
    """Make the table of patient-level counts and rates, as the paper prints them."""
    names = {"patient_fp": "FP", "patient_fn": "FN", "patient_tn": "TN", "patient_tp": "TP"}
    rows = [
        (title, number(analysis.scores.counts[name], 0), "-", str(PAPER_COUNTS[name]))
        for name, title in names.items()
    ]
    for name in ("patient_fpr", "patient_fnr", "patient_tpr"):
        one = metric(name)
        rows.append(
            (
                one.title,
                number(analysis.scores.metrics[name]),
                interval_text(analysis.wilson[name]),
                number(one.paper),
            )
        )
    return Table(
        "Patients, positive by at least one correct lesion",
        ("", "Value", "95 % Wilson", "Paper"),
        tuple(rows),
        "A patient with lesions is TP if at least one true lesion is found; a control is FP if at "
        "least one predicted lesion is false.",
    )


def strata(analysis: Analysis) -> Table:
    """Make the table of lesion metrics by stratum."""
    rows = tuple(
        (
            f"{one.kind}: {one.name}",
            str(one.scans),
            _part(one.found, one.missed),
            number(one.recall),
            interval_text(one.recall_interval),
            _part(one.correct, one.false),
            number(one.precision),
            interval_text(one.precision_interval),
            number(one.f1),
            number(one.fp_per_scan),
        )
        for one in analysis.strata
    )
    header = ("Stratum", "Scans", "Found", "Recall", "95 % Wilson")
    return Table(
        "Strata",
        (*header, "Correct", "Precision", "95 % Wilson", "F1", "FP per scan"),
        rows,
        "Size by maximum in-plane diameter d: 2-5 mm is 2 <= d < 5, 5-10 mm is 5 <= d <= 10. "
        "Recall counts true lesions of the stratum, precision predicted ones; a table of true "
        "lesions knows no region of predicted ones.",
    )


def _part(right: int, wrong: int) -> str:
    return f"{right}/{right + wrong}" if right + wrong else "-"


def counts(analysis: Analysis) -> Table:
    """Make the table of the agreement of lesion counts per patient."""
    agreement = analysis.counts
    limits = agreement.bland_altman.limits
    rows = [
        ("ICC(2,1)", number(agreement.icc.value), interval_text(agreement.icc.interval), "-"),
        (
            "Bland-Altman bias, lesions",
            number(agreement.bland_altman.bias[0]),
            interval_text(agreement.bland_altman.bias[1]),
            "-",
        ),
        ("Lower limit of agreement", number(limits[0][0]), interval_text(limits[0][1]), "-"),
        ("Upper limit of agreement", number(limits[1][0]), interval_text(limits[1][1]), "-"),
        _kappa_row("Kappa, lesion or none", agreement.kappa_presence),
        _kappa_row("Kappa of the bands", agreement.kappa),
        _kappa_row("Kappa of the bands, linear weights", agreement.kappa_linear),
        _kappa_row("Kappa of the bands, quadratic weights", agreement.kappa_quadratic),
    ]
    return Table(
        "Lesions per patient, predicted against true",
        ("", "Value", "95 % interval", "P"),
        tuple(rows),
        f"Bands: {', '.join(BANDS)}. P: no agreement beyond chance.",
    )


def _kappa_row(title: str, kappa: Kappa) -> tuple[str, str, str, str]:
    return title, number(kappa.value), interval_text(kappa.interval), p_text(kappa.p)


def areas(analysis: Analysis) -> Table:
    """Make the table of areas under ROC curves and pixel curves."""
    rows = [
        (
            area.classes,
            f"{area.positives} / {area.negatives}",
            number(area.value),
            interval_text(area.bootstrap),
            interval_text(area.delong),
        )
        for area in analysis.areas
    ]
    notes = " ".join(analysis.withheld)
    if analysis.areas:
        notes += " DeLong takes samples as independent, which lesions of one patient are not."
    if analysis.pixel is not None:
        rows.append(("voxels, ROC", "-", number(analysis.pixel.auc, 4), "-", "-"))
        rows.append(
            ("voxels, average precision", "-", number(analysis.pixel.average_precision), "-", "-")
        )
        notes += (
            f" Voxel curves use bins of {analysis.pixel.bin_width:g}; the area differs from that "
            f"without bins by at most {analysis.pixel.auc_error:.2g}."
        )
    return Table(
        "Areas under curves",
        ("What is ranked", "Positives / negatives", "AUC", "95 % interval, by patient", "DeLong"),
        tuple(rows),
        notes.strip(),
    )


def froc(analysis: Analysis) -> Table:
    """Make the table of sensitivity at given numbers of false positives per scan."""
    curve = analysis.froc
    if curve is None:
        raise ValueError("a FROC needs scores of lesions")
    rows = [
        (f"{at:g}", number(value), f"{number(low)} to {number(high)}")
        for at, value, low, high in zip(
            FP_PER_SCAN, curve.sensitivities, curve.at.low, curve.at.high, strict=True
        )
    ]
    rows.append(("mean", number(curve.score), "-"))
    rows.append(("average precision", number(curve.average_precision), "-"))
    return Table(
        "FROC",
        ("False positives per scan", "Sensitivity", "95 % interval, by patient"),
        tuple(rows),
        "Highest sensitivity with no more false positives; beyond the last candidate it stays. The "
        f"prediction itself: {number(curve.operating_point[0])} false positives per scan, "
        f"sensitivity {number(curve.operating_point[1])}.",
    )


def differences(comparison: Comparison) -> Table:
    """Make the table that compares two models, metric by metric."""
    rows = tuple(
        (
            f"{_title(what)} ({what.level})",
            number(one.first),
            number(one.second),
            number(one.difference),
            interval_text(one.interval),
            p_text(one.p),
        )
        for one, what in zip(comparison.differences, METRICS, strict=True)
    )
    return Table(
        "This model against the other",
        ("Metric", "This", "Other", "Difference", "95 % interval, paired", "P, permutation"),
        rows,
        "P values are not corrected for the number of metrics.",
    )


def tests(comparison: Comparison) -> Table:
    """Make the table of McNemar tests of two models."""
    rows = [
        (test.what, str(test.only_first), str(test.only_second), p_text(test.p))
        for test in comparison.tests
    ]
    rows.append(("patient-level AUC (DeLong)", "-", "-", p_text(comparison.patient_auc_p)))
    return Table(
        "Paired tests", ("Right", "Only this", "Only the other", "P, McNemar exact"), tuple(rows)
    )
