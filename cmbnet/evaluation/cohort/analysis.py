"""The analysis of a scored cohort: intervals, curves, strata, agreement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from cmbnet.evaluation.cohort.scores import CohortScores
from cmbnet.evaluation.cohort.strata import GroupAgreement, Stratum, agreement_by_group, stratify
from cmbnet.evaluation.match.score import ScoredCase
from cmbnet.evaluation.stats.bands import Band, curve_band, froc_events, roc_events
from cmbnet.evaluation.stats.bootstrap import ClusteredAuc, Resampled, resample
from cmbnet.evaluation.stats.calibration import (
    Calibration,
    Decision,
    calibration,
    decision_curve,
)
from cmbnet.evaluation.stats.counts import CountAgreement, count_agreement
from cmbnet.evaluation.stats.curves import (
    area_error,
    average_precision,
    pixel_auc,
    pixel_pr,
    pixel_roc,
)
from cmbnet.evaluation.stats.froc import (
    FP_PER_SCAN,
    Samples,
    candidate_samples,
    froc_curve,
    froc_score,
    lesion_average_precision,
    lesion_samples,
    lesion_scores_of,
    patient_samples,
    precision_recall_curve,
    sensitivity_at,
)
from cmbnet.evaluation.stats.intervals import Interval, wilson
from cmbnet.evaluation.stats.metrics import METRICS
from cmbnet.evaluation.stats.roc import Curve, auc, delong_interval, roc_curve

ROC_GRID = np.linspace(0, 1, 101)
AREAS: Mapping[str, tuple[str, Callable[[Sequence[ScoredCase]], Samples | None]]] = {
    "lesion_auc": ("all true lesions against false predicted lesions", lesion_samples),
    "candidate_auc": ("correct against false predicted lesions", candidate_samples),
    "patient_auc": ("patients with against without true lesions", patient_samples),
}
"""ROC curves of a cohort: their key, the ranked classes, and the samples."""
FEWEST = 10
"""With fewer samples of a class there is no area and no FROC, because one more lesion would move it
by a tenth or more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much resampling to do."""

    resamples: int = 10_000  # Number of resamples for metrics and areas
    band_resamples: int = 1000  # Number of resamples for curves
    seed: int = 20220324  # Seed of both
    method: Literal["bca"] = "bca"  # Method of the bootstrap interval
    # Smallest number of samples of each class for an area, and of false lesions for a FROC.
    fewest: int = FEWEST


@dataclass(frozen=True, slots=True)
class Area:
    """A ROC curve with its area."""

    name: str  # Key in ``results.json``
    classes: str  # The classes that are ranked against each other
    positives: int  # Number of positive samples
    negatives: int  # Number of negative samples
    value: float  # Area; NaN with one class
    bootstrap: Interval  # Interval by patient
    delong: Interval  # DeLong's interval. It takes samples as independent.
    curve: Curve  # The curve
    band: Band  # Interval of the curve


@dataclass(frozen=True, slots=True)
class Froc:
    """FROC and average precision."""

    curve: Curve  # False positives per scan against sensitivity
    precision_recall: Curve  # Recall against precision
    at: Band  # Sensitivity with its band at `FP_PER_SCAN`
    sensitivities: tuple[float, ...]  # Sensitivity at `FP_PER_SCAN`
    score: float  # Their mean
    # False positives per scan and recall of the prediction itself.
    operating_point: tuple[float, float]
    average_precision: float  # Step area of the precision-recall curve


@dataclass(frozen=True, slots=True)
class PixelCurves:
    """Curves of the voxels."""

    roc: Curve  # ROC curve
    precision_recall: Curve  # Recall against precision
    auc: float  # Area under the ROC curve
    auc_error: float  # Largest error of the area from the bins
    average_precision: float  # Step area of the precision-recall curve
    bin_width: float  # Width of the bins


@dataclass(frozen=True, slots=True)
class Analysis:
    """The analysis of a cohort."""

    scores: CohortScores  # Point values and lesions
    intervals: Mapping[str, Interval]  # Bootstrap interval of every headline metric
    wilson: Mapping[str, Interval]  # Wilson interval of the metrics that are proportions
    # Share of the resamples in which each metric was undefined.
    undefined_resamples: Mapping[str, float]
    areas: tuple[Area, ...]  # ROC curves. Curves with too few samples are left out.
    froc: Froc | None  # The FROC. None without scores of lesions or with too few false lesions.
    withheld: tuple[str, ...]  # Sentences about curves that are left out or end early
    pixel: PixelCurves | None  # Curves of the voxels. None without probability maps.
    strata: tuple[Stratum, ...]  # Parts of the cohort
    counts: CountAgreement  # Agreement of lesion counts
    groups: tuple[GroupAgreement, ...]  # The same by group of regions. Empty if they are unknown.
    calibrations: tuple[Calibration, ...]  # Of patients and of predicted lesions, with scores
    decision: Decision | None  # Decision curve of patients. None without scores.
    plan: Plan  # The resampling


def analyse(scores: CohortScores, plan: Plan | None = None) -> Analysis:
    """Compute intervals, curves, strata and agreement of a scored cohort."""
    plan = plan or Plan()
    samples = {name: collect(scores.cases) for name, (_, collect) in AREAS.items()}
    scored = {name: one for name, one in samples.items() if one is not None}
    few = {name: _too_few(one, plan.fewest) for name, one in scored.items()}
    known = {name: one for name, one in scored.items() if not few[name]}
    froc, no_froc = _froc(scores, plan)
    rows = {name: index for index, name in enumerate(scores.columns.patients)}
    clustered = {
        name: ClusteredAuc.of(
            np.array([rows[p] for p in one.patient], np.int64), one.positive, one.score, len(rows)
        )
        for name, one in known.items()
    }
    resampled = resample(scores.columns, aucs=clustered, resamples=plan.resamples, seed=plan.seed)
    return Analysis(
        scores=scores,
        intervals={m.name: resampled[m.name].interval() for m in METRICS},
        wilson=_wilson(scores),
        undefined_resamples={
            m.name: float(np.isnan(resampled[m.name].values).mean()) for m in METRICS
        },
        areas=tuple(_area(name, one, resampled[name], scores, plan) for name, one in known.items()),
        froc=froc,
        withheld=(
            *(f"No ROC of {AREAS[name][0]}: {why}." for name, why in few.items() if why),
            *no_froc,
            *_truncated(scores),
        ),
        pixel=_pixel(scores),
        strata=tuple(stratify(scores.cases)),
        counts=count_agreement(scores.columns),
        groups=agreement_by_group(scores.cases),
        calibrations=tuple(
            calibration(name, known[name])
            for name in ("candidate_auc", "patient_auc")
            if name in known
        ),
        decision=decision_curve(known["patient_auc"]) if "patient_auc" in known else None,
        plan=plan,
    )


def _wilson(scores: CohortScores) -> dict[str, Interval]:
    return {
        m.name: wilson(
            scores.counts[m.proportion[0]], sum(scores.counts[name] for name in m.proportion[1])
        )
        for m in METRICS
        if m.proportion is not None
    }


def _area(
    name: str, samples: Samples, resampled: Resampled, scores: CohortScores, plan: Plan
) -> Area:
    events = roc_events(samples, scores.columns.patients)
    return Area(
        name=name,
        classes=AREAS[name][0],
        positives=int(samples.positive.sum()),
        negatives=int((~samples.positive).sum()),
        value=auc(samples.positive, samples.score),
        bootstrap=resampled.interval(),
        delong=delong_interval(samples.positive, samples.score),
        curve=roc_curve(samples.positive, samples.score),
        band=curve_band(events, ROC_GRID, resamples=plan.band_resamples, seed=plan.seed),
    )


def _too_few(samples: Samples, fewest: int) -> str:
    """Say why samples are too few for an area. Empty if they are enough."""
    positives = int(samples.positive.sum())
    for what, count in (("negatives", len(samples.positive) - positives), ("positives", positives)):
        if count < fewest:
            return f"not enough {what}, {count} where {fewest} are required"
    return ""


def _truncated(scores: CohortScores) -> list[str]:
    """Say where curves end early."""
    truncated = sum(case.is_truncated and case.has_scores for case in scores.cases)
    if not truncated:
        return []
    return [
        f"What the detector excluded by its score is not known of {truncated} cases: FROC and ROC "
        "end at its operating point (give the output folder of cmbnet predict, or probability maps "
        "alone with a low threshold)."
    ]


def _froc(scores: CohortScores, plan: Plan) -> tuple[Froc | None, list[str]]:
    """Compute the FROC, or say why there is none."""
    lesions = lesion_scores_of(scores.cases)
    if lesions is None:
        return None, []
    if len(lesions.false) < plan.fewest:
        few = f"{len(lesions.false)} false lesions where {plan.fewest} are required"
        return None, [f"No FROC: not enough negatives, {few}."]
    curve = froc_curve(lesions)
    events = froc_events(scores.cases, scores.columns.patients)
    at = np.array(FP_PER_SCAN)
    metrics = scores.metrics
    froc = Froc(
        curve=curve,
        precision_recall=precision_recall_curve(lesions),
        at=curve_band(events, at, resamples=plan.band_resamples, seed=plan.seed),
        sensitivities=tuple(sensitivity_at(curve, x) for x in FP_PER_SCAN),
        score=froc_score(curve),
        operating_point=(metrics["fp_per_scan"], metrics["lesion_recall"]),
        average_precision=lesion_average_precision(lesions),
    )
    return froc, []


def _pixel(scores: CohortScores) -> PixelCurves | None:
    histogram = scores.histogram
    if histogram is None:
        return None
    precision_recall = pixel_pr(histogram)
    return PixelCurves(
        roc=pixel_roc(histogram),
        precision_recall=precision_recall,
        auc=pixel_auc(histogram),
        auc_error=area_error(histogram),
        average_precision=average_precision(precision_recall),
        bin_width=histogram.bin_width,
    )
