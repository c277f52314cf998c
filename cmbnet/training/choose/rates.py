"""How thresholds do on a cohort: counts of lesions and patients, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmbnet.bundle import Measured
from cmbnet.evaluation.stats.bootstrap import draw_weights
from cmbnet.evaluation.stats.empty_cases import ratio
from cmbnet.evaluation.stats.intervals import percentile, wilson
from cmbnet.evaluation.stats.patients import PatientScores
from cmbnet.lesions import LesionRules
from cmbnet.lesions.score_model import ScoreModel
from cmbnet.training.choose.candidates import Candidates

RESAMPLES = 2000
SEED = 20220324
"""Of the bootstrap."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What a pair of thresholds reached: of lesions, voxels and scans, with their shares.

    Args:
        found: True lesions that are found.
        true: True lesions.
        correct: Predicted lesions that are correct.
        false: Predicted lesions that are not.
        hit_voxels: Voxels of predicted lesions inside true ones.
        marked_voxels: Voxels of predicted lesions.
        true_voxels: Voxels of true lesions.
        scans: Number of scans.
        positives: Scans with true lesions.
        missed: Of these, how many have no found lesion that reaches the patient threshold.
        alarms: Of the others, how many have a false lesion that does.
        false_in_controls: Predicted lesions in these.
    """

    found: int
    true: int
    correct: int
    false: int
    hit_voxels: int
    marked_voxels: int
    true_voxels: int
    scans: int
    positives: int
    missed: int
    alarms: int
    false_in_controls: int

    @property
    def sensitivity(self) -> float:
        """Found of all true lesions."""
        return self.found / max(self.true, 1)

    @property
    def precision(self) -> float:
        """Correct of all predicted lesions; 0 without any."""
        return self.correct / max(self.correct + self.false, 1)

    @property
    def surplus(self) -> int:
        """Predicted lesions more than there are true ones."""
        return self.correct + self.false - self.true

    @property
    def f1(self) -> float:
        """Harmonic mean of sensitivity and precision."""
        total = self.sensitivity + self.precision
        return 2.0 * self.sensitivity * self.precision / total if total else 0.0

    @property
    def dice(self) -> float:
        """Of the voxels of all scans together; ignored candidates left out."""
        return 2.0 * self.hit_voxels / max(self.marked_voxels + self.true_voxels, 1)

    @property
    def false_positives_per_scan(self) -> float:
        """False lesions, controls and patients alike."""
        return self.false / max(self.scans, 1)

    @property
    def false_per_control(self) -> float:
        """False lesions per scan without true ones; 0 without such scans."""
        return self.false_in_controls / max(self.scans - self.positives, 1)

    @property
    def patient_fpr(self) -> float:
        """Controls with a false alarm; 0 without controls."""
        return self.alarms / max(self.scans - self.positives, 1)

    @property
    def patient_fnr(self) -> float:
        """Patients with lesions that are missed; 0 without such patients."""
        return self.missed / max(self.positives, 1)


class ScoredScans:
    """The scans of a cohort at one pixel threshold and under one set of lesion rules.

    Args:
        scans: At least one.
        rules: With their pixel threshold; a score threshold is not applied yet.
        held_out: For each scan, the score to judge it by in place of that of the rules, which has
            been fitted on it.
    """

    def __init__(
        self,
        scans: Sequence[Candidates],
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
        """Scores of all candidates that count and that no rule removes."""
        kept: NDArray[np.float64] = self._score[self._score >= 0.0]
        return kept

    def patients(self, threshold: float) -> tuple[int, int]:
        """Missed patients and alarmed controls, where scans are positive from a score on.

        As `cmbnet.evaluation.stats.patients` defines them, a scan being a patient.
        """
        classes = self._patients.at(threshold)
        return classes["fn"], classes["fp"]

    def rates(self, lesion_score: float, patient_threshold: float | None = None) -> Rates:
        """What thresholds reach.

        Args:
            lesion_score: Candidates below are dropped.
            patient_threshold: A scan is positive from this score of its best lesion on; the
                lesion score if None.
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
        """The same for the manifest of a bundle, with 95 % intervals."""
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
        """Of lesions by bootstrap over scans (percentile), of patients Wilson's."""
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
    """Index of the scan for each of its lesions."""
    return np.repeat(np.arange(len(lengths)), lengths)
