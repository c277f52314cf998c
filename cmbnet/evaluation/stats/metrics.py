"""The table of headline metrics with name, unit, formula and value in the paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cmbnet.evaluation.stats.ratios import f1_score, ratio

Sums = Mapping[str, NDArray[np.float64]]
Level = Literal["pixel, data level", "pixel, patient level", "lesion", "patient", "scan", "count"]


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of a cohort."""

    name: str  # Key in ``results.json``
    title: str  # Name in a table
    level: Level  # Table to which it belongs
    formula: str  # The formula in words of `cmbnet.evaluation.stats.columns`
    # Function from sums over patients to the value. It takes arrays of sums, too.
    compute: Callable[[Sums], NDArray[np.float64]]
    # Numerator and denominator columns, if the metric is a share of independent things and Wilson's
    # interval applies.
    proportion: tuple[str, tuple[str, ...]] | None = None
    paper: float | None = None  # Value in Fan et al. 2022, or None.
    unit: str = ""  # Unit, empty for a share


def _share(top: str, *bottom: str) -> Callable[[Sums], NDArray[np.float64]]:
    def compute(sums: Sums) -> NDArray[np.float64]:
        return ratio(sums[top], sum(sums[name] for name in bottom))

    return compute


def _mean(name: str) -> Callable[[Sums], NDArray[np.float64]]:
    return _share(f"own_{name}", f"has_{name}")


def _dice(sums: Sums) -> NDArray[np.float64]:
    return ratio(2 * sums["tp"], 2 * sums["tp"] + sums["fp"] + sums["fn"])


def _volume_share(sums: Sums) -> NDArray[np.float64]:
    return ratio(sums["volume_error_mm3"], sums["truth_mm3"])


def _f1(sums: Sums) -> NDArray[np.float64]:
    precision = ratio(sums["correct"], sums["correct"] + sums["false"])
    return f1_score(precision, ratio(sums["found"], sums["found"] + sums["missed"]))


def _proportion(
    name: str, title: str, level: Level, parts: tuple[str, ...], paper: float | None = None
) -> Metric:
    """Make a share: the first part over the sum of all parts."""
    formula = f"{parts[0]} / ({' + '.join(parts)})"
    compute = _share(parts[0], *parts)
    return Metric(name, title, level, formula, compute, (parts[0], parts), paper)


DATA: Level = "pixel, data level"
PATIENT_MEAN: Level = "pixel, patient level"

METRICS: tuple[Metric, ...] = (
    Metric("dice", "Dice", DATA, "2 tp / (2 tp + fp + fn)", _dice, paper=0.72),
    Metric("precision", "Precision", DATA, "tp / (tp + fp)", _share("tp", "tp", "fp"), paper=0.718),
    Metric("recall", "Recall", DATA, "tp / (tp + fn)", _share("tp", "tp", "fn"), paper=0.765),
    Metric("volume_share", "Volume error, share of the true volume", DATA,
           "(predicted_mm3 - truth_mm3) / truth_mm3", _volume_share),
    Metric("patient_mean_dice", "Dice", PATIENT_MEAN, "mean of dice", _mean("dice"), paper=0.72),
    Metric("patient_mean_precision", "Precision", PATIENT_MEAN, "mean of precision",
           _mean("precision"), paper=0.718),
    Metric("patient_mean_recall", "Recall", PATIENT_MEAN, "mean of recall", _mean("recall"),
           paper=0.765),
    Metric("patient_mean_volume_share", "Volume error, share of the true volume", PATIENT_MEAN,
           "mean of volume_share", _mean("volume_share")),
    Metric("volume_error_mm3", "Volume error", PATIENT_MEAN, "volume_error_mm3 / patients",
           _share("volume_error_mm3", "patients"), unit="mm3"),
    Metric("absolute_volume_error_mm3", "Absolute volume error", PATIENT_MEAN,
           "absolute_volume_error_mm3 / patients",
           _share("absolute_volume_error_mm3", "patients"), unit="mm3"),
    _proportion("lesion_precision", "Precision", "lesion", ("correct", "false"), 0.751),
    _proportion("lesion_recall", "Recall", "lesion", ("found", "missed"), 0.852),
    Metric("lesion_f1", "F1", "lesion", "harmonic mean of precision and recall", _f1),
    Metric("fp_per_scan", "False positives per scan", "lesion", "false / scans",
           _share("false", "scans")),
    _proportion("recall_small", "Recall, 2-5 mm", "lesion", ("found_small", "missed_small"), 0.844),
    _proportion("recall_large", "Recall, 5-10 mm", "lesion", ("found_large", "missed_large"),
                0.9351),
    _proportion("precision_small", "Precision, 2-5 mm", "lesion",
                ("correct_small", "false_small"), 0.7807),
    _proportion("precision_large", "Precision, 5-10 mm", "lesion",
                ("correct_large", "false_large"), 0.8372),
    Metric("patient_mean_lesion_precision", "Precision, mean over patients", "lesion",
           "mean of lesion_precision", _mean("lesion_precision")),
    Metric("patient_mean_lesion_recall", "Recall, mean over patients", "lesion",
           "mean of lesion_recall", _mean("lesion_recall")),
    Metric("patient_mean_lesion_f1", "F1, mean over patients", "lesion", "mean of lesion_f1",
           _mean("lesion_f1")),
    _proportion("patient_fpr", "False-positive rate", "patient", ("patient_fp", "patient_tn"),
                0.106),
    _proportion("patient_fnr", "False-negative rate", "patient", ("patient_fn", "patient_tp"),
                0.021),
    _proportion("patient_tpr", "True-positive rate", "patient", ("patient_tp", "patient_fn")),
    Metric("scan_fpr", "False-positive rate", "scan", "scan_fp / (scan_fp + scan_tn)",
           _share("scan_fp", "scan_fp", "scan_tn")),
    Metric("scan_fnr", "False-negative rate", "scan", "scan_fn / (scan_fn + scan_tp)",
           _share("scan_fn", "scan_fn", "scan_tp")),
    Metric("count_error", "Count difference, predicted - true", "count", "count_error / patients",
           _share("count_error", "patients"), unit="lesions"),
    Metric("absolute_count_error", "Absolute count difference", "count",
           "absolute_count_error / patients", _share("absolute_count_error", "patients"),
           unit="lesions"),
)  # fmt: skip
"""The headline metrics. The paper calls 0.7807 and 0.8372 a "specificity of labeling". Lesions have
no true negatives, so these values stand beside precision."""


PAPER_LESION_AUC = 0.861
"""Area under the lesion-level ROC curve in Fan et al. 2022."""


def metric(name: str) -> Metric:
    """Return a headline metric by its name.

    Raises:
        KeyError: If there is no metric of that name.
    """
    return {one.name: one for one in METRICS}[name]


def compute_all(sums: Sums) -> dict[str, float]:
    """Compute every headline metric for one set of sums."""
    return {one.name: float(one.compute(sums)) for one in METRICS}
