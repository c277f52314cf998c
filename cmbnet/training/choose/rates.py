"""The rates that thresholds reach on a cohort: lesions and patients, with intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.bundle import Measured
from cmbnet.evaluation.stats.bootstrap import draw_weights
from cmbnet.evaluation.stats.intervals import percentile, wilson
from cmbnet.evaluation.stats.patients import PatientScores
from cmbnet.evaluation.stats.ratios import ratio
from cmbnet.lesions import LesionRules
from cmbnet.lesions.score_model import ScoreModel
from cmbnet.training.choose.candidates import ScanCandidates

RESAMPLES = 2000
SEED = 20220324
"""Seed of the bootstrap."""


@dataclass(frozen=True, slots=True)
class Rates:
    """The counts of lesions, voxels and scans that a pair of thresholds reached."""

    found: int  # Number of true lesions that are found
    true: int  # Number of true lesions
    correct: int  # Number of correct predicted lesions
    false: int  # Number of false predicted lesions
    hit_voxels: int  # Voxels of predicted lesions inside true ones
    marked_voxels: int  # Voxels of predicted lesions
    true_voxels: int  # Voxels of true lesions
    scans: int  # Number of scans
    positives: int  # Number of scans with true lesions
    # Number of positive scans without a found lesion that reaches the patient threshold
    missed: int
    alarms: int  # Number of controls with a false lesion that reaches it
    false_in_controls: int  # Number of predicted lesions in controls

    @property
    def sensitivity(self) -> float:
        """Share of true lesions that are found."""
        return self.found / max(self.true, 1)

    @property
    def precision(self) -> float:
        """Share of predicted lesions that are correct. 0 without any."""
        return self.correct / max(self.correct + self.false, 1)

    @property
    def surplus(self) -> int:
        """Number of predicted lesions minus number of true lesions."""
        return self.correct + self.false - self.true

    @property
    def f1(self) -> float:
        """Harmonic mean of sensitivity and precision."""
        total = self.sensitivity + self.precision
        return 2.0 * self.sensitivity * self.precision / total if total else 0.0

    @property
    def dice(self) -> float:
        """Dice of the voxels of all scans together, without ignored candidates."""
        return 2.0 * self.hit_voxels / max(self.marked_voxels + self.true_voxels, 1)

    @property
    def false_positives_per_scan(self) -> float:
        """Number of false lesions per scan, in controls and patients."""
        return self.false / max(self.scans, 1)

    @property
    def false_per_control(self) -> float:
        """Number of false lesions per control. 0 without controls."""
        return self.false_in_controls / max(self.scans - self.positives, 1)

    @property
    def patient_fpr(self) -> float:
        """Share of controls with a false alarm. 0 without controls."""
        return self.alarms / max(self.scans - self.positives, 1)

    @property
    def patient_fnr(self) -> float:
        """Share of positive scans that are missed. 0 without such scans."""
        return self.missed / max(self.positives, 1)


class ScoredScans:
    """The scans of a cohort at one pixel threshold and under one set of lesion rules.

    There is at least one scan. The score threshold of the rules is not applied. `held_out` has for
    each scan a score that has not seen it, in place of the score of the rules.
    """

    def __init__(
        self,
        scans: Sequence[ScanCandidates],
        rules: LesionRules,
        held_out: Sequence[ScoreModel] | None = None,
    ) -> None:
        self.rules = rules
        judged_by = [rules] * len(scans)
        if held_out is not None:
            judged_by = [replace(rules, evidence=evidence) for evidence in held_out]
        scores = [scan.scores(own) for scan, own in zip(scans, judged_by, strict=True)]
        found_at = [scan.found_at(own) for scan, own in zip(scans, scores, strict=True)]
        self._n = len(scans)
        self.positive = np.array([len(found) > 0 for found in found_at], bool)
        ignored = np.concatenate([scan.ignored for scan in scans])
        # Of candidates that count, all scans in one row:
        self._score = np.concatenate(scores)[~ignored]
        self._scan = _repeated([len(own) for own in scores])[~ignored]
        self._correct = np.concatenate([scan.correct for scan in scans])[~ignored]
        self._voxels = np.concatenate([s.overlap.predicted_voxels for s in scans])[~ignored]
        self._covered = np.concatenate([s.overlap.predicted_covered for s in scans])[~ignored]
        # Of true lesions:
        self._found_at = np.concatenate(found_at)
        self._truth_scan = _repeated([len(found) for found in found_at])
        self._true_voxels = int(sum(s.overlap.truth_voxels.sum() for s in scans))
        self._patients = PatientScores(
            self.positive,
            np.where(
                self.positive,
                self._highest_by_scan(self._truth_scan, self._found_at),
                self._highest_by_scan(self._scan, self._score),
            ),
        )

    def _highest_by_scan(
        self, scan: NDArray[np.int64], values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        highest = np.full(self._n, -1.0)
        np.maximum.at(highest, scan, values)
        return highest

    @property
    def scores(self) -> NDArray[np.float64]:
        """Return the scores of all candidates that count and that no rule removes."""
        kept: NDArray[np.float64] = self._score[self._score >= 0.0]
        return kept

    def patients(self, threshold: float) -> tuple[int, int]:
        """Count missed patients and alarmed controls if scans are positive from a score on.

        `cmbnet.evaluation.stats.patients` defines both. Each scan counts as a patient.
        """
        classes = self._patients.at(threshold)
        return classes["fn"], classes["fp"]

    def rates(self, lesion_score: float, patient_threshold: float | None = None) -> Rates:
        """Compute the rates that thresholds reach.

        A candidate of at least `lesion_score` is kept. `patient_threshold` is the lowest score of
        the best lesion of a positive scan. None takes the lesion score.
        """
        kept = self._score >= lesion_score
        correct = int(np.sum(kept & self._correct))
        missed, alarms = self.patients(
            lesion_score if patient_threshold is None else patient_threshold
        )
        return Rates(
            found=int(np.sum(self._found_at >= lesion_score)),
            true=len(self._found_at),
            correct=correct,
            false=int(kept.sum()) - correct,
            hit_voxels=int(self._covered[kept].sum()),
            marked_voxels=int(self._voxels[kept].sum()),
            true_voxels=self._true_voxels,
            scans=self._n,
            positives=int(self.positive.sum()),
            missed=missed,
            alarms=alarms,
            false_in_controls=int(np.sum(kept & ~self.positive[self._scan])),
        )

    def measured(self, lesion_score: float, patient_threshold: float, cohort: str) -> Measured:
        """Return the rates for the manifest of a bundle, with 95 % intervals."""
        rates = self.rates(lesion_score, patient_threshold)
        return Measured(
            cohort=cohort,
            n_positive=rates.positives,
            n_negative=rates.scans - rates.positives,
            sensitivity=rates.sensitivity,
            precision=rates.precision,
            false_positives_per_scan=rates.false_positives_per_scan,
            patient_fpr=rates.patient_fpr if rates.positives < rates.scans else None,
            patient_fnr=rates.patient_fnr if rates.positives else None,
            intervals=self._intervals(lesion_score, rates),
        )

    def _intervals(self, lesion_score: float, rates: Rates) -> dict[str, tuple[float, float]]:
        """Compute intervals: of lesions by bootstrap over scans, of patients by Wilson's method."""
        weights = np.concatenate(list(draw_weights(self._n, RESAMPLES, SEED)))
        kept = self._score >= lesion_score
        found, true, correct, predicted = (
            weights @ np.bincount(scan, minlength=self._n)
            for scan in (
                self._truth_scan[self._found_at >= lesion_score],
                self._truth_scan,
                self._scan[kept & self._correct],
                self._scan[kept],
            )
        )
        intervals: dict[str, Any] = {
            "sensitivity": percentile(ratio(found, true)),
            "precision": percentile(ratio(correct, predicted)),
            "false_positives_per_scan": percentile((predicted - correct) / self._n),
            "patient_fpr": wilson(rates.alarms, rates.scans - rates.positives),
            "patient_fnr": wilson(rates.missed, rates.positives),
        }
        return {
            name: (one.low, one.high) for name, one in intervals.items() if np.isfinite(one.low)
        }


def _repeated(lengths: Sequence[int]) -> NDArray[np.int64]:
    """Repeat the index of each scan once for each of its lesions."""
    return np.repeat(np.arange(len(lengths)), lengths)
