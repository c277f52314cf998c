"""``results.json`` and CSV tables of an analysis. NaN becomes null and an empty cell."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from cmbnet import RESEARCH_USE_ONLY, __version__
from cmbnet.evaluation.cohort.analysis import Analysis, Area, Froc, PixelCurves
from cmbnet.evaluation.cohort.compare import Comparison
from cmbnet.evaluation.cohort.origin import Origin
from cmbnet.evaluation.match.score import ScoredCase, ScoredLesion
from cmbnet.evaluation.stats.columns import counted_truth, group_by_patient
from cmbnet.evaluation.stats.froc import FP_PER_SCAN, patient_scores
from cmbnet.evaluation.stats.metrics import METRICS, Metric
from cmbnet.evaluation.stats.ratios import ratio
from cmbnet.evaluation.stats.roc import Curve
from cmbnet.io import table_csv
from cmbnet.lesions import SIZES

SCHEMA = "cmbnet-evaluation/2"


def to_json(analysis: Analysis, origin: Origin, comparison: Comparison | None = None) -> str:
    """Make the content of ``results.json``. Its schema is ``data_specs/evaluation.schema.json``."""
    settings = asdict(analysis.scores.settings) | {
        "rule": str(analysis.scores.settings.rule),
        "connectivity": 26,
    }
    document = {
        "schema": SCHEMA,
        "research_use_only": RESEARCH_USE_ONLY,
        "cmbnet": __version__,
        "data": {"kind": origin.kind, "cases": [asdict(case) for case in origin.cases]},
        "model": None if origin.model is None else asdict(origin.model),
        "settings": settings,
        "resampling": asdict(analysis.plan),
        "cohort": cohort_counts(analysis.scores.cases),
        "counts": dict(analysis.scores.counts),
        "metrics": [_metric(analysis, one) for one in METRICS],
        "areas": [_area(area) for area in analysis.areas],
        "pixel_curves": None if analysis.pixel is None else _pixel(analysis.pixel),
        "calibration": [asdict(one) for one in analysis.calibrations],
        "decision_curve": None if analysis.decision is None else asdict(analysis.decision),
        "froc": None if analysis.froc is None else _froc(analysis.froc),
        "patient_thresholds": patient_thresholds(analysis.scores.cases),
        "strata": [asdict(one) for one in analysis.strata],
        "lesions_per_patient": _agreement(asdict(analysis.counts)),
        "lesions_by_group": [_agreement(asdict(one)) for one in analysis.groups],
        "comparison": _comparison(comparison, origin),
        "notes": [*analysis.withheld, *case_notes(analysis.scores.cases)],
    }
    return json.dumps(plain(document), indent=1, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """Convert a value to what JSON has. NaN and infinity become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


def cohort_counts(cases: Sequence[ScoredCase]) -> dict[str, int]:
    """Count the parts of the cohort, and what was left out."""
    truth = [lesion for case in cases for lesion in case.truth]
    sizes = Counter(lesion.size for lesion in truth)
    predicted = Counter(lesion.verdict for case in cases for lesion in case.predicted)
    positive = [bool(counted_truth(scans)) for scans in group_by_patient(cases).values()]
    counted = len(counted_truth(cases))
    return {
        "scans": len(cases),
        "patients": len(positive),
        "patients_with_lesions": sum(positive),
        "controls": len(positive) - sum(positive),
        "true_lesions": counted,
        "true_lesions_ignored": len(truth) - counted,
        "true_lesions_below_2_mm": sizes[SIZES[0]],
        "true_lesions_above_10_mm": sizes[SIZES[-1]],
        "predicted_lesions": predicted["correct"] + predicted["false"],
        "predicted_lesions_ignored": predicted["ignored"],
        "predicted_lesions_spared": predicted["spared"],
        "missing_predictions": sum("prediction missing" in " ".join(c.notes) for c in cases),
    }


def patient_thresholds(cases: Sequence[ScoredCase]) -> list[dict[str, float]] | None:
    """Make the table of the patient level by threshold, from `cmbnet.evaluation.stats.patients`.

    It is None without scores.
    """
    scores = patient_scores(cases)
    if scores is None:
        return None
    rows = []
    for threshold in sorted(set(scores.reach[np.isfinite(scores.reach)].tolist()), reverse=True):
        at = scores.at(threshold)
        rates = {
            "tpr": float(ratio(at["tp"], at["tp"] + at["fn"])),
            "fpr": float(ratio(at["fp"], at["fp"] + at["tn"])),
            "fnr": float(ratio(at["fn"], at["tp"] + at["fn"])),
        }
        rows.append({"threshold": threshold, **at, **rates})
    return rows


def cases_csv(cases: Sequence[ScoredCase]) -> str:
    """Make a CSV with one row per case: voxel counts and lesion counts."""
    kinds = sorted({kind for case in cases for kind in case.strata})
    header = ["case", "patient", *kinds, "tp", "fp", "fn", "tn", "voxel_mm3", "found", "missed"]
    header += ["true_ignored", "correct", "false", "spared", "predicted_ignored", "notes"]
    rows = []
    for case in cases:
        true = [lesion.verdict for lesion in case.truth]
        predicted = [lesion.verdict for lesion in case.predicted]
        rows.append(
            [
                case.name,
                case.patient,
                *(case.strata.get(kind, "") for kind in kinds),
                *(getattr(case.voxels, name) for name in ("tp", "fp", "fn", "tn", "voxel_mm3")),
                *(true.count(verdict) for verdict in ("found", "missed", "ignored")),
                *(predicted.count(v) for v in ("correct", "false", "spared", "ignored")),
                "; ".join((*case.warnings, *case.notes)),
            ]
        )
    return _csv(header, rows)


def lesions_csv(cases: Sequence[ScoredCase]) -> str:
    """Make a CSV with one row per lesion of either side, with its verdict."""
    names = [field.name for field in fields(ScoredLesion) if field.name != "centroid_ras_mm"]
    header = ["case", "patient", *names, "right_mm", "anterior_mm", "superior_mm"]
    rows = [
        [
            case.name,
            case.patient,
            *(getattr(lesion, name) for name in names),
            *(round(mm, 3) for mm in lesion.centroid_ras_mm),
        ]
        for case in cases
        for lesion in (*case.truth, *case.predicted)
    ]
    return _csv(header, rows)


def curves_csv(analysis: Analysis) -> str:
    """Make a CSV of every point of every curve: curve, x, y, threshold."""
    curves: dict[str, Curve] = {f"roc {area.name}": area.curve for area in analysis.areas}
    if analysis.froc is not None:
        curves["froc"] = analysis.froc.curve
        curves["lesion precision-recall"] = analysis.froc.precision_recall
    if analysis.pixel is not None:
        curves["pixel roc"] = analysis.pixel.roc
        curves["pixel precision-recall"] = analysis.pixel.precision_recall
    rows = [
        [name, x, y, threshold]
        for name, curve in curves.items()
        for x, y, threshold in zip(curve.x, curve.y, curve.threshold, strict=True)
    ]
    return _csv(["curve", "x", "y", "threshold"], rows)


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    return table_csv(header, ([_cell(value) for value in row] for row in rows))


def _cell(value: Any) -> Any:
    if isinstance(value, (float, np.floating)):
        return "" if not np.isfinite(value) else repr(round(float(value), 6))
    return value


def _metric(analysis: Analysis, one: Metric) -> dict[str, Any]:
    wilson = analysis.wilson.get(one.name)
    averaged = one.name.removeprefix("patient_mean_")
    counts = analysis.scores.counts
    return {
        **{key: getattr(one, key) for key in ("name", "title", "level", "unit", "formula")},
        "value": analysis.scores.metrics[one.name],
        "interval": asdict(analysis.intervals[one.name]),
        "wilson": None if wilson is None else asdict(wilson),
        "undefined_resamples": analysis.undefined_resamples[one.name],
        "patients_defined": None if averaged == one.name else counts[f"has_{averaged}"],
        "paper": one.paper,
    }


def _area(area: Area) -> dict[str, Any]:
    keys = ("name", "classes", "positives", "negatives", "value")
    intervals = {"bootstrap": asdict(area.bootstrap), "delong": asdict(area.delong)}
    return {key: getattr(area, key) for key in keys} | intervals


def _pixel(pixel: PixelCurves) -> dict[str, float]:
    keys = ("auc", "auc_error", "average_precision", "bin_width")
    return {key: getattr(pixel, key) for key in keys}


def _comparison(comparison: Comparison | None, origin: Origin) -> dict[str, Any] | None:
    if comparison is None:
        return None
    return {"model": None if origin.other is None else asdict(origin.other), **asdict(comparison)}


def _froc(froc: Froc) -> dict[str, Any]:
    return {
        "fp_per_scan": list(FP_PER_SCAN),
        "sensitivity": list(froc.sensitivities),
        "low": froc.at.low,
        "high": froc.at.high,
        "mean": froc.score,
        "operating_point": froc.operating_point,
        "average_precision": froc.average_precision,
    }


def _agreement(agreement: dict[str, Any]) -> dict[str, Any]:
    del agreement["bland_altman"]["mean"], agreement["bland_altman"]["difference"]
    return agreement


def case_notes(cases: Sequence[ScoredCase]) -> list[str]:
    """Return warnings and notes, case by case."""
    return [f"{case.name}: {note}" for case in cases for note in (*case.warnings, *case.notes)]
