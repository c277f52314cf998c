"""The candidates that a network finds on a cohort, kept as numbers to try thresholds on.

The network runs once for each scan. The candidates of every outline rule are found and compared
with the truth once. Lesion rules, lesion scores and patient thresholds are then tried on these
numbers, without reading an image again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cmbnet.backends import Backend
from cmbnet.bundle import Bundle
from cmbnet.errors import InputRefused
from cmbnet.evaluation import Case, MatchingRule, Settings, score_case
from cmbnet.evaluation.match.labels import read_labels, scattered
from cmbnet.evaluation.match.matching import Matching, detection_scores, match
from cmbnet.evaluation.match.overlap import Overlap, find_overlap
from cmbnet.io import read_nifti
from cmbnet.lesions import Lesion, LesionRules, find_lesions
from cmbnet.lesions.lesion import Triple
from cmbnet.lesions.rules import RULES, SIZE, first_no, lesion_score
from cmbnet.predict import Prediction, predict_volume
from cmbnet.regions import Place, locate
from cmbnet.training.data.labelled import Labelled
from cmbnet.training.data.specs.discover import ScanCase
from cmbnet.training.data.specs.labels import read_labels as read_scan_labels
from cmbnet.volume import Volume

SCORING = Settings(size_rule="ignore")
"""The rule of the paper. True lesions outside 2 to 10 mm are not counted."""

REMOVED = -1.0
"""Score of a candidate that a rule removes: below every threshold."""


class OutlineRule(NamedTuple):
    """How candidates are outlined in a map of probabilities; see `LesionRules`."""

    pixel_threshold: float
    outline_share: float = 0.0

    def of(self, rules: LesionRules) -> LesionRules:
        """Return the rules with this pixel threshold and outline share."""
        return replace(
            rules, pixel_threshold=self.pixel_threshold, outline_share=self.outline_share
        )


@dataclass(frozen=True, slots=True)
class LabelledMap:
    """The network's answer for a scan, and the truth, on the grid of the scan.

    `place` returns the place of a position in RAS+ mm. It is None if the rules do not use it.
    """

    name: str
    image: Volume
    probability: Volume
    brain: NDArray[np.bool_]
    truth: Volume
    ignore: Volume | None
    place: Callable[[Triple], Place] | None = None


@dataclass(frozen=True, slots=True)
class ScanCandidates:
    """The candidates of a scan under one outline rule, compared with the truth."""

    # The candidates that `find_lesions` returns under the rule of size alone
    lesions: tuple[Lesion, ...]
    correct: NDArray[np.bool_]  # Whether each candidate is correct, bool
    # Whether each candidate is ignored, that is neither correct nor false, bool
    ignored: NDArray[np.bool_]
    overlap: Overlap  # Overlap with the true lesions that count
    matching: Matching  # Matching of all candidates

    def scores(self, rules: LesionRules) -> NDArray[np.float64]:
        """Return the score of each candidate, or `REMOVED` if a rule removes it.

        `find_lesions` with these rules keeps the same candidates and gives them the same scores.
        """
        return np.array([_score(lesion, rules) for lesion in self.lesions], float)

    def found_at(self, scores: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the highest score at which each true lesion is found, or `REMOVED` if none is."""
        found = detection_scores(self.overlap, self.matching, scores, SCORING.rule)
        return np.where(np.isnan(found), REMOVED, found)


def _score(lesion: Lesion, rules: LesionRules) -> float:
    scored = replace(lesion, score=lesion_score(lesion, rules))
    return scored.score if first_no(scored, rules, RULES) is None else REMOVED


CohortCandidates = Mapping[OutlineRule, Sequence[ScanCandidates]]
"""Outline rule -> the candidates of each scan of a cohort, scans in the same order."""


def find_candidates(
    cohorts: Sequence[Labelled],
    bundle: Bundle,
    backend: Backend,
    *,
    outlines: Sequence[OutlineRule],
    report: Callable[[str], None],
) -> CohortCandidates:
    """Run the pipeline over cohorts. Scans that the quality gate refuses are reported and left out.

    Only one scan is in memory at a time.

    Raises:
        InputRefused: If no scan of the cohorts is analysable.
    """
    candidates: dict[OutlineRule, list[ScanCandidates]] = {outline: [] for outline in outlines}
    for case in (case for cohort in cohorts for case in cohort.cases):
        try:
            image = read_nifti(case.image)
            prediction = predict_volume(image, bundle, backend)
        except InputRefused as refusal:
            report(f"left out: {refusal}")
            continue
        found = _map(case, image, prediction)
        for line in scattered(read_labels(found.truth), found.truth):
            report(f"warning: case {found.name}: {line}")
        for outline, scans in candidates.items():
            scans.append(scan_candidates(found, outline, bundle.manifest.rules))
    if not any(candidates.values()):
        names = ", ".join(str(cohort.path) for cohort in cohorts)
        raise InputRefused(f"no scan of {names} is analysable: operating points need some")
    return candidates


def _map(case: ScanCase, image: Volume, prediction: Prediction) -> LabelledMap:
    """Lay the answer of the network beside the truth."""
    labels = read_scan_labels(case.label, case.ignore, image)
    prepared = prediction.prepared
    place = None
    if prediction.bundle.manifest.rules.in_tissue:
        affine = prepared.frame.affine(image.affine)
        place = (prediction.locator or locate(prepared.image, prepared.brain, affine)).place
    return LabelledMap(
        name=case.name,
        image=image,
        probability=prediction.probability,
        brain=prepared.frame.to_native(prepared.brain),
        truth=image.with_data(labels.instances),
        ignore=image.with_data(labels.uncertain) if labels.uncertain.any() else None,
        place=place,
    )


def scan_candidates(found: LabelledMap, outline: OutlineRule, rules: LesionRules) -> ScanCandidates:
    """Find the candidates of a scan and compare them with its truth.

    The limits of size of `rules` are kept; no other rule removes anything yet.
    """
    # Any limit makes `find_lesions` look at what lies around a candidate.
    lenient = replace(outline.of(rules), max_continuation_mm=math.inf)
    finding = find_lesions(
        found.probability, lenient, brain=found.brain, image=found.image, asked=(SIZE,)
    )
    predicted = found.truth.with_data(finding.labels)
    case = Case(name=found.name, truth=found.truth, predicted=predicted, ignore=found.ignore)
    scored = score_case(case, SCORING)
    counted = np.array([lesion.verdict != "ignored" for lesion in scored.truth], bool)
    truth = read_labels(found.truth).subset(counted)
    overlap = find_overlap(truth, read_labels(predicted), found.truth.affine)
    lesions = finding.lesions
    if (place := found.place) is not None:
        lesions = tuple(replace(one, place=place(one.centre_ras_mm)) for one in lesions)
    return ScanCandidates(
        lesions=lesions,
        correct=np.array([lesion.verdict == "correct" for lesion in scored.predicted], bool),
        ignored=np.array([lesion.verdict == "ignored" for lesion in scored.predicted], bool),
        overlap=overlap,
        matching=match(overlap, MatchingRule()),
    )
