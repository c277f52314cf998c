"""Thresholds chosen on a validation cohort by running the real pipeline over it.

The network runs once for each scan. Then every combination of pixel threshold and lesion rules
on the grid is scored with `cmbnet.evaluation`, and every lesion score that occurs is tried as
threshold.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle, Measured, OperatingPoint
from cmbnet.errors import InputRefused
from cmbnet.evaluation import Case, ScoredCase, Settings, score_case
from cmbnet.io import read_nifti
from cmbnet.lesions import LesionRules, find_lesions
from cmbnet.predict import predict_volume
from cmbnet.training.cohort import CohortCase, list_cohort
from cmbnet.volume import Volume

PIXEL_THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
MAX_Z_RATIOS = (1.5, 2.5)
MAX_ELONGATIONS = (3.0, 4.0)

BALANCED_PATIENT_FPR = 0.15
"""Most controls that the balanced point may call positive."""

SENSITIVE_RECALL_LOSS = 0.01
"""The sensitive point gives away at most this much of the highest sensitivity."""

SCREENING_PATIENT_FPR = 0.05


@dataclass(frozen=True, slots=True)
class Map:
    """What the network said about a validation scan, with its truth; all on the native grid."""

    name: str
    probability: Volume
    brain: NDArray[np.bool_]
    truth: Volume
    ignore: Volume | None


@dataclass(frozen=True, slots=True)
class Rates:
    """What a combination of thresholds reached on a cohort."""

    n_positive: int
    n_negative: int
    found: int
    true_lesions: int
    correct: int
    predicted: int
    false_positives_per_scan: float
    patient_fpr: float
    patient_fnr: float

    @property
    def sensitivity(self) -> float:
        """Found of all true lesions."""
        return self.found / max(self.true_lesions, 1)

    @property
    def precision(self) -> float:
        """Correct of all predicted lesions; 0 without any."""
        return self.correct / max(self.predicted, 1)

    @property
    def f1(self) -> float:
        """Harmonic mean of sensitivity and precision."""
        total = self.sensitivity + self.precision
        return 2.0 * self.sensitivity * self.precision / total if total else 0.0

    def measured(self, cohort: str) -> Measured:
        """For the manifest of a bundle."""
        return Measured(
            cohort=cohort,
            n_positive=self.n_positive,
            n_negative=self.n_negative,
            sensitivity=self.sensitivity,
            precision=self.precision,
            false_positives_per_scan=self.false_positives_per_scan,
            patient_fpr=self.patient_fpr,
            patient_fnr=self.patient_fnr,
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """Thresholds and what they reached."""

    rules: LesionRules
    lesion_score: float
    rates: Rates


@dataclass(frozen=True, slots=True)
class Chosen:
    """The operating points of a bundle, and the lesion rules that all of them share."""

    rules: LesionRules
    points: tuple[OperatingPoint, ...]
    candidates: tuple[Candidate, ...]


def validation_maps(
    cohort: Path, bundle: Bundle, backend: Backend, *, report: Callable[[str], None]
) -> list[Map]:
    """Run the pipeline over a cohort. Scans that the quality gate refuses are left out, aloud.

    Raises:
        InputRefused: If no scan of the cohort is analysable.
    """
    maps = []
    for case in list_cohort(cohort):
        try:
            maps.append(_map(case, bundle, backend))
        except InputRefused as refusal:
            report(f"left out: {refusal}")
    if not maps:
        raise InputRefused(f"no scan of {cohort} is analysable: operating points need some")
    return maps


def _map(case: CohortCase, bundle: Bundle, backend: Backend) -> Map:
    """The map of one scan."""
    prediction = predict_volume(read_nifti(case.image), bundle, backend)
    return Map(
        name=case.name,
        probability=prediction.probability,
        brain=prediction.prepared.frame.to_native(prediction.prepared.brain),
        truth=read_nifti(case.lesions),
        ignore=None if case.ignore is None else read_nifti(case.ignore),
    )


def choose_operating_points(
    maps: Sequence[Map],
    *,
    cohort: str,
    base: LesionRules | None = None,
    pixel_thresholds: Sequence[float] = PIXEL_THRESHOLDS,
) -> Chosen:
    """Choose ``balanced``, ``sensitive`` and ``screening``.

    Args:
        maps: Of the validation cohort, with positives and controls.
        cohort: What the cohort is, for the manifest.
        base: Rules that the grid varies.
        pixel_thresholds: Of the grid.

    Returns:
        ``balanced`` has the best lesion F1 with at most `BALANCED_PATIENT_FPR` false alarms in
        controls; ``sensitive`` the best precision near the highest sensitivity; ``screening``
        the fewest missed patients with at most `SCREENING_PATIENT_FPR`. Shape rules are those
        of ``balanced`` for all. Where no candidate keeps a limit, the lowest rate of false
        alarms decides.
    """
    shapes = itertools.product(MAX_Z_RATIOS, MAX_ELONGATIONS)
    start = base or LesionRules()
    candidates: list[Candidate] = []
    for max_z_ratio, max_elongation in shapes:
        rules = replace(start, max_z_ratio=max_z_ratio, max_elongation=max_elongation)
        for threshold in pixel_thresholds:
            candidates += sweep(maps, replace(rules, pixel_threshold=threshold, min_score=0.0))
    balanced = _best_f1(candidates, BALANCED_PATIENT_FPR)
    shared = replace(balanced.rules, pixel_threshold=start.pixel_threshold, min_score=0.0)
    same = [
        c
        for c in candidates
        if replace(c.rules, pixel_threshold=start.pixel_threshold, min_score=0.0) == shared
    ]
    highest = max(c.rates.sensitivity for c in same)
    near = [c for c in same if c.rates.sensitivity >= highest - SENSITIVE_RECALL_LOSS]
    sensitive = max(near, key=lambda c: (c.rates.precision, c.rates.sensitivity))
    screening = _fewest_missed(same, SCREENING_PATIENT_FPR)
    named = {"balanced": balanced, "sensitive": sensitive, "screening": screening}
    points = tuple(_point(name, c, candidates, cohort) for name, c in named.items())
    return Chosen(shared, points, tuple(candidates))


def sweep(maps: Iterable[Map], rules: LesionRules) -> list[Candidate]:
    """Score one set of rules at every lesion score that changes something."""
    scored = [_score(m, rules) for m in maps]
    # Rounded down: a threshold must not remove the lesion that it was taken from.
    scores = sorted(
        {math.floor(1000 * lesion.score) / 1000 for case in scored for lesion in case.predicted}
    )
    steps = [0.0, *scores]
    # A hundred thresholds show the curve; a cohort can hold thousands of scores.
    kept = sorted({steps[int(n)] for n in np.linspace(0, len(steps) - 1, min(len(steps), 100))})
    return [Candidate(rules, score, rates_at(scored, score)) for score in kept]


def _score(m: Map, rules: LesionRules) -> ScoredCase:
    """Find the lesions of a map and compare them with the truth."""
    finding = find_lesions(m.probability, rules, brain=m.brain)
    case = Case(
        name=m.name,
        truth=m.truth,
        predicted=m.truth.with_data(finding.labels),
        ignore=m.ignore,
        lesion_scores={lesion.id: lesion.score for lesion in finding.lesions},
    )
    return score_case(case, Settings(size_rule="ignore"))


def rates_at(scored: Sequence[ScoredCase], lesion_score: float) -> Rates:
    """Counts over all scans if lesions below a score are dropped."""
    found = true_lesions = correct = false = alarms = missed = positives = 0
    for case in scored:
        truth = [lesion for lesion in case.truth if lesion.verdict != "ignored"]
        kept = [lesion for lesion in case.predicted if lesion.score >= lesion_score]
        true_lesions += len(truth)
        hits = sum(lesion.detection_score >= lesion_score for lesion in truth)
        found += hits
        correct += sum(lesion.verdict == "correct" for lesion in kept)
        false += sum(lesion.verdict == "false" for lesion in kept)
        counted = any(lesion.verdict != "ignored" for lesion in kept)
        if truth:
            positives += 1
            missed += hits == 0
        else:
            alarms += counted
    negatives = len(scored) - positives
    return Rates(
        n_positive=positives,
        n_negative=negatives,
        found=found,
        true_lesions=true_lesions,
        correct=correct,
        predicted=correct + false,
        false_positives_per_scan=false / max(len(scored), 1),
        patient_fpr=alarms / max(negatives, 1),
        patient_fnr=missed / max(positives, 1),
    )


def _best_f1(candidates: Sequence[Candidate], patient_fpr: float) -> Candidate:
    """Best lesion F1 within a limit of false alarms."""
    allowed = [c for c in candidates if c.rates.patient_fpr <= patient_fpr] or list(candidates)
    return max(allowed, key=lambda c: (c.rates.f1, -c.rates.patient_fpr))


def _fewest_missed(candidates: Sequence[Candidate], patient_fpr: float) -> Candidate:
    """Fewest missed patients within a limit of false alarms, then best F1."""
    lowest = min(c.rates.patient_fpr for c in candidates)
    limit = max(patient_fpr, lowest)
    allowed = [c for c in candidates if c.rates.patient_fpr <= limit]
    return min(allowed, key=lambda c: (c.rates.patient_fnr, -c.rates.f1))


def _point(
    name: str, candidate: Candidate, candidates: Sequence[Candidate], cohort: str
) -> OperatingPoint:
    """As it stands in a manifest, with the patient threshold that confuses fewest patients.

    A patient threshold does what the same lesion threshold would do to patients, so the
    candidates hold its rates already.
    """
    patient = min(
        (
            c
            for c in candidates
            if c.rules == candidate.rules and c.lesion_score >= candidate.lesion_score
        ),
        key=lambda c: (c.rates.patient_fpr + c.rates.patient_fnr, c.lesion_score),
    )
    rates = replace(
        candidate.rates,
        patient_fpr=patient.rates.patient_fpr,
        patient_fnr=patient.rates.patient_fnr,
    )
    return OperatingPoint(
        name=name,
        pixel_threshold=candidate.rules.pixel_threshold,
        lesion_score=candidate.lesion_score,
        patient_threshold=patient.lesion_score,
        measured=rates.measured(cohort),
    )
