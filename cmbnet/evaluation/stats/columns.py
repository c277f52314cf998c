"""Counts per patient, as columns. Every metric is a function of sums over patients.

This makes intervals cheap. A bootstrap resample is a row of weights, and 10,000 resamples are one
matrix product.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.evaluation.match.score import ScoredCase, ScoredLesion
from cmbnet.evaluation.stats.patients import patient_classes
from cmbnet.evaluation.stats.ratios import f1_score, ratio
from cmbnet.lesions import COUNTED_SIZES

SIZE_SUFFIX = dict(zip(COUNTED_SIZES, ("_small", "_large"), strict=True))
PER_PATIENT = (
    "dice",
    "precision",
    "recall",
    "volume_share",
    "lesion_precision",
    "lesion_recall",
    "lesion_f1",
)
"""Metrics that are computed for each patient and then averaged."""


@dataclass(frozen=True, slots=True)
class Columns:
    """Counts per patient."""

    patients: tuple[str, ...]  # Name of each row
    names: tuple[str, ...]  # Name of each column
    values: NDArray[np.float64]  # float64 (patients, columns)

    def column(self, name: str) -> NDArray[np.float64]:
        """Return one column, shape (patients,)."""
        return self.values[:, self.names.index(name)]

    def sums(self) -> dict[str, NDArray[np.float64]]:
        """Return the sum of every column over the patients."""
        return dict(zip(self.names, self.values.sum(axis=0), strict=True))


def group_by_patient(cases: Iterable[ScoredCase]) -> dict[str, list[ScoredCase]]:
    """Group the scans by patient, with patients in order of name."""
    groups: dict[str, list[ScoredCase]] = {}
    for case in cases:
        groups.setdefault(case.patient, []).append(case)
    return dict(sorted(groups.items()))


def patient_columns(cases: Iterable[ScoredCase]) -> Columns:
    """Count every patient of a cohort.

    Raises:
        ValueError: If there is no case.
    """
    groups = group_by_patient(cases)
    if not groups:
        raise ValueError("at least one case is required")
    rows = [_row(scans) for scans in groups.values()]
    names = tuple(rows[0])
    values = np.array([[row[name] for name in names] for row in rows])
    return Columns(tuple(groups), names, values)


def counted_truth(cases: Iterable[ScoredCase]) -> list[ScoredLesion]:
    """Return the true lesions that count, in order."""
    return [lesion for case in cases for lesion in case.truth if lesion.verdict != "ignored"]


def counted_predicted(cases: Iterable[ScoredCase]) -> list[ScoredLesion]:
    """Return the predicted lesions that are correct or false, in order."""
    return [one for case in cases for one in case.predicted if one.verdict in ("correct", "false")]


def scored_predicted(cases: Iterable[ScoredCase]) -> list[ScoredLesion]:
    """Return the predicted lesions and candidates that are correct or false, for curves."""
    every = (one for case in cases for one in (*case.predicted, *case.candidates))
    return [one for one in every if one.verdict in ("correct", "false")]


def _row(scans: Sequence[ScoredCase]) -> dict[str, float]:
    row = _voxel_sums(scans) | _lesion_counts(scans)
    by_scan = [_class(_lesion_counts([scan]), "scan") for scan in scans]
    row |= {name: sum(one[name] for one in by_scan) for name in by_scan[0]}
    return row | _class(row, "patient") | _own_metrics(row)


def _voxel_sums(scans: Sequence[ScoredCase]) -> dict[str, float]:
    row = {
        key: float(sum(getattr(s.voxels, key) for s in scans)) for key in ("tp", "fp", "fn", "tn")
    }
    row["truth_mm3"] = sum((s.voxels.tp + s.voxels.fn) * s.voxels.voxel_mm3 for s in scans)
    row["predicted_mm3"] = sum((s.voxels.tp + s.voxels.fp) * s.voxels.voxel_mm3 for s in scans)
    row["volume_error_mm3"] = row["predicted_mm3"] - row["truth_mm3"]
    row["absolute_volume_error_mm3"] = abs(row["volume_error_mm3"])
    return row


def _lesion_counts(scans: Sequence[ScoredCase]) -> dict[str, float]:
    lesions = [*counted_truth(scans), *counted_predicted(scans)]
    row: dict[str, float] = {}
    for verdict in ("found", "missed", "correct", "false"):
        row[verdict] = float(sum(lesion.verdict == verdict for lesion in lesions))
        for size, suffix in SIZE_SUFFIX.items():
            row[verdict + suffix] = float(
                sum(lesion.verdict == verdict and lesion.size == size for lesion in lesions)
            )
    row["patients"] = 1.0
    row["scans"] = float(len(scans))
    row["count_error"] = (row["correct"] + row["false"]) - (row["found"] + row["missed"])
    row["absolute_count_error"] = abs(row["count_error"])
    return row


def _class(row: Mapping[str, float], what: str) -> dict[str, float]:
    """Return the paper's class of a patient or scan, positive by at least one found lesion."""
    classes = patient_classes(row["found"] + row["missed"] > 0, row["found"] > 0, row["false"] > 0)
    return {f"{what}_{name}": float(member) for name, member in classes.items()}


def _own_metrics(row: Mapping[str, float]) -> dict[str, float]:
    """Return each per-patient metric as a value (0 if undefined) and whether it is defined."""
    tp, fp, fn = (row[key] for key in ("tp", "fp", "fn"))
    precision = ratio(row["correct"], row["correct"] + row["false"])
    recall = ratio(row["found"], row["found"] + row["missed"])
    own = {
        "dice": ratio(2 * tp, 2 * tp + fp + fn),
        "precision": ratio(tp, tp + fp),
        "recall": ratio(tp, tp + fn),
        "volume_share": ratio(row["volume_error_mm3"], row["truth_mm3"]),
        "lesion_precision": precision,
        "lesion_recall": recall,
        "lesion_f1": f1_score(precision, recall),
    }
    result: dict[str, float] = {}
    for name in PER_PATIENT:
        value = float(own[name])
        result[f"own_{name}"] = float(np.nan_to_num(value, nan=0.0))
        result[f"has_{name}"] = float(not np.isnan(value))
    return result
