"""Score one case: voxels, lesions, and the verdict on each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused
from cmbnet.evaluation.match.candidates import (
    CandidateVerdicts,
    ScoredLabels,
    match_candidates,
    outline,
)
from cmbnet.evaluation.match.case import (
    Case,
    Settings,
    check_grids,
    check_probability,
    thickness_class,
)
from cmbnet.evaluation.match.labels import (
    Labels,
    centroids_mm,
    diameters_mm,
    read_labels,
    scattered,
)
from cmbnet.evaluation.match.matching import Matching, exceeds, match
from cmbnet.evaluation.match.overlap import Overlap, find_overlap
from cmbnet.evaluation.match.pixels import VoxelCounts, count_voxels, counted
from cmbnet.evaluation.stats.curves import ProbabilityHistogram, probability_histogram
from cmbnet.lesions import COUNTED_SIZES, SIZES, axial_axis, size_name
from cmbnet.volume import Volume

Side = Literal["truth", "predicted", "candidate"]
Verdict = Literal["found", "missed", "correct", "false", "spared", "ignored"]


@dataclass(frozen=True, slots=True)
class ScoredLesion:
    """One lesion with its verdict."""

    side: Side  # Reference, prediction, or excluded from the prediction by its score
    label: int  # Its value in the file, or its component number
    # True lesions: found, missed, ignored. Others: correct, false, spared, ignored.
    verdict: Verdict
    voxels: int  # Number of voxels
    volume_mm3: float  # Their volume
    diameter_mm: float  # Maximum in-plane diameter
    size: str  # Class of the diameter
    centroid_ras_mm: tuple[float, float, float]  # Mean position of the voxels
    # Most frequent region of its voxels, or the region that a table names. Empty if unknown.
    region: str
    covered: float  # Share of its voxels covered by the other side, in [0, 1]
    partner: int  # Label of the partner on the other side, 0 for none
    score: float  # Mean or maximum probability of its voxels. NaN if unknown.
    # For a true lesion, the highest threshold on the scores of predicted lesions and candidates at
    # which it is still found; NaN if it never is or scores are unknown. For another lesion, the
    # score of the detector (`Case.lesion_scores`), or else `score`.
    detection_score: float


@dataclass(frozen=True, slots=True)
class ScoredCase:
    """The counts and verdicts of one case. They are small enough to keep 1,615 of them."""

    name: str  # Name of the case
    patient: str  # Name of the patient
    strata: Mapping[str, str]  # Properties of the scan
    voxels: VoxelCounts  # Counts at pixel level
    truth: tuple[ScoredLesion, ...]  # True lesions
    predicted: tuple[ScoredLesion, ...]  # Predicted lesions
    has_scores: bool  # Whether lesion scores are known
    notes: tuple[str, ...]  # Notes on the case
    # Candidates that the detector excluded by their score. Only curves use them.
    candidates: tuple[ScoredLesion, ...] = ()
    warnings: tuple[str, ...] = ()  # Possible mistakes in the files
    is_truncated: bool = False  # Whether the detector may have excluded lesions by an unknown score
    # Voxels by probability. None without a probability map.
    histogram: ProbabilityHistogram | None = None


def score_case(case: Case, settings: Settings | None = None) -> ScoredCase:
    """Compare the prediction of a case with its truth.

    Raises:
        InputRefused: If the grids differ, labels are wrong, or probabilities are out of range.
    """
    settings = settings or Settings()
    check_grids(case)
    if case.probability is not None:
        check_probability(case.probability)
    scored = _Scorer(case, settings)
    return scored.result()


class _Scorer:
    """The arrays of one case while it is scored."""

    def __init__(self, case: Case, settings: Settings) -> None:
        self.case, self.settings = case, settings
        self.truth = read_labels(case.truth)
        prediction = predicted_volume(case, settings)
        self.predicted = read_labels(prediction)
        self.warnings = [*scattered(self.truth, case.truth), *scattered(self.predicted, prediction)]
        self.candidate = outline(case.candidates or (), self.predicted, case.truth)
        affine = case.truth.affine
        self.diameters = {
            "truth": diameters_mm(self.truth, affine),
            "predicted": diameters_mm(self.predicted, affine),
            "candidate": diameters_mm(self.candidate, affine),
        }
        self.sizes = [size_name(diameter) for diameter in self.diameters["truth"]]
        self.ignore = None if case.ignore is None else case.ignore.data != 0
        self.brain = None if case.brain is None else case.brain.data != 0
        self.left_out = self._ignored_truth()
        self.scores = {side: self._scores(side) for side in ("truth", "predicted")}
        self.scores["candidate"] = np.array(
            [getattr(one, f"{settings.score}_probability") for one in case.candidates or ()], float
        )
        self.stated = self._stated_scores()

    def _ignored_truth(self) -> NDArray[np.bool_]:
        """Find the true lesions that do not count. They join the ignore region."""
        left_out = _inside(self.truth, self.ignore, self.settings.ignore_fraction)
        if self.settings.size_rule == "ignore":
            left_out |= np.array([size not in COUNTED_SIZES for size in self.sizes], bool)
        if left_out.any():
            region = np.zeros(self.truth.shape, bool) if self.ignore is None else self.ignore.copy()
            region.ravel()[self.truth.subset(left_out).index] = True
            self.ignore = region
        return left_out

    def _scores(self, side: str) -> NDArray[np.float64]:
        labels: Labels = getattr(self, side)
        if self.case.probability is not None:
            return lesion_scores(labels, self.case.probability.data, self.settings.score)
        known = self.case.lesion_scores if side == "predicted" else {}
        return np.array([known.get(int(v), np.nan) for v in labels.values], float)

    def _stated_scores(self) -> NDArray[np.float64]:
        """Return the scores of the detector for the predicted lesions, if it gave any."""
        known = self.case.lesion_scores
        pairs = zip(self.predicted.values, self.scores["predicted"], strict=True)
        return np.array([known.get(int(value), score) for value, score in pairs], float)

    def result(self) -> ScoredCase:
        overlap = find_overlap(
            self.truth.subset(~self.left_out), self.predicted, self.case.truth.affine
        )
        matching = match(overlap, self.settings.rule)
        verdicts = match_candidates(
            self.truth.subset(~self.left_out),
            ScoredLabels(self.predicted, self.stated),
            ScoredLabels(
                self.candidate, np.array([one.score for one in self.case.candidates or ()])
            ),
            (overlap, matching),
            self.settings.rule,
            self.case.truth.affine,
        )
        return self._assemble(
            self._true(overlap, matching, verdicts.detection),
            self._predicted(overlap, matching),
            self._candidates(verdicts),
        )

    def _true(
        self, overlap: Overlap, matching: Matching, detection: NDArray[np.float64]
    ) -> tuple[ScoredLesion, ...]:
        """Describe the true lesions. Ignored ones were not matched."""
        counted, count = np.flatnonzero(~self.left_out), self.truth.count
        verdict = np.full(count, "ignored", dtype=object)
        verdict[counted] = np.where(matching.found, "found", "missed")
        return self._lesions(
            "truth",
            verdict,
            _spread(overlap.truth_covered / overlap.truth_voxels, counted, count, 0.0),
            _labels_of(_spread(matching.partner_of_truth, counted, count, -1), self.predicted),
            _spread(detection, counted, count, np.nan),
        )

    def _candidates(self, verdicts: CandidateVerdicts) -> tuple[ScoredLesion, ...]:
        """Describe the candidates. Their verdicts are those of predicted lesions."""
        labels = self.candidate
        verdict = np.where(
            verdicts.correct, "correct", np.where(verdicts.spared, "spared", "false")
        )
        mostly_ignored = _inside(labels, self.ignore, self.settings.ignore_fraction)
        return self._lesions(
            "candidate",
            np.where((verdict == "false") & mostly_ignored, "ignored", verdict),
            np.zeros(labels.count),
            np.zeros(labels.count, np.int64),
            np.array([one.score for one in self.case.candidates or ()], float),
        )

    def _predicted(self, overlap: Overlap, matching: Matching) -> tuple[ScoredLesion, ...]:
        """Describe the predicted lesions. A false one in the ignore region is left out."""
        mostly_ignored = _inside(self.predicted, self.ignore, self.settings.ignore_fraction)
        verdict = np.where(
            matching.correct, "correct", np.where(matching.spared, "spared", "false")
        )
        verdict = np.where((verdict == "false") & mostly_ignored, "ignored", verdict)
        among_all = np.append(np.flatnonzero(~self.left_out), -1)  # -1 stays -1
        return self._lesions(
            "predicted",
            verdict,
            overlap.predicted_covered / overlap.predicted_voxels,
            _labels_of(among_all[matching.partner_of_predicted], self.truth),
            self.stated,
        )

    def _assemble(
        self,
        truth: tuple[ScoredLesion, ...],
        predicted: tuple[ScoredLesion, ...],
        candidates: tuple[ScoredLesion, ...],
    ) -> ScoredCase:
        case = self.case
        return ScoredCase(
            name=case.name,
            patient=case.patient or case.name,
            strata={
                "slice distance": thickness_class(slice_distance_mm(case.truth)),
                **case.strata,
            },
            voxels=count_voxels(
                self.truth,
                self.predicted,
                brain=self.brain,
                ignore=self.ignore,
                voxel_mm3=case.truth.voxel_volume_mm3,
            ),
            truth=truth,
            predicted=predicted,
            candidates=candidates,
            warnings=tuple(self.warnings),
            is_truncated=case.candidates is None and case.predicted is not None,
            has_scores=case.probability is not None
            or (bool(case.lesion_scores) and not np.isnan(self.scores["predicted"]).any())
            or not self.predicted.count,
            notes=(*case.notes, *_size_notes(self.sizes)),
            histogram=self._histogram(),
        )

    def _histogram(self) -> ProbabilityHistogram | None:
        if self.case.probability is None:
            return None
        return probability_histogram(
            self.case.probability.data,
            counted(self.truth, self.brain, self.ignore),
            bins=self.settings.bins,
            brain=self.brain,
            ignore=self.ignore,
        )

    def _places(self, side: Side) -> list[tuple[float, float, float]]:
        places = centroids_mm(getattr(self, side), self.case.truth.affine)
        return [(float(r), float(a), float(s)) for r, a, s in places]

    def _regions(self, side: Side) -> list[str]:
        """Return the region of each lesion. A table knows only those of true lesions."""
        labels: Labels = getattr(self, side)
        if self.case.regions is not None:
            return _most_frequent(labels, self.case.regions.data)
        table = self.case.lesion_regions
        if table is None or side != "truth":
            return [""] * labels.count
        unknown = [str(value) for value in labels.values if int(value) not in table]
        if unknown:
            raise InputRefused(
                f"the table of true lesions must name every lesion of the reference, case "
                f"{self.case.name} lacks {', '.join(unknown)} of {self.case.truth.source}"
            )
        return [table[int(value)] for value in labels.values]

    def _lesions(
        self,
        side: Side,
        verdict: NDArray[Any],
        covered: NDArray[np.float64],
        partner: NDArray[np.int64],
        detection: NDArray[np.float64],
    ) -> tuple[ScoredLesion, ...]:
        labels: Labels = getattr(self, side)
        regions = self._regions(side)
        voxels, voxel_mm3 = labels.voxels, self.case.truth.voxel_volume_mm3
        return tuple(
            ScoredLesion(
                side=side,
                label=int(labels.values[n]),
                verdict=str(verdict[n]),  # type: ignore[arg-type]
                voxels=int(voxels[n]),
                volume_mm3=float(voxels[n] * voxel_mm3),
                diameter_mm=diameter,
                size=size_name(diameter),
                centroid_ras_mm=place,
                region=regions[n],
                covered=float(covered[n]),
                partner=int(partner[n]),
                score=float(self.scores[side][n]),
                detection_score=float(detection[n]),
            )
            for n, (diameter, place) in enumerate(
                zip(self.diameters[side], self._places(side), strict=True)
            )
        )


def slice_distance_mm(volume: Volume) -> float:
    """Return the distance of neighbouring slices, along the axis that points most nearly up."""
    return volume.spacing_mm[axial_axis(volume.affine)]


def predicted_volume(case: Case, settings: Settings) -> Volume:
    """Return the predicted mask, or the thresholded probability if there is no mask."""
    if case.predicted is not None:
        return case.predicted
    if case.probability is None:
        raise ValueError(f"case {case.name} was not checked: it has no prediction")
    return case.probability.with_data(case.probability.data >= settings.probability_threshold)


def lesion_scores(labels: Labels, probability: NDArray[Any], kind: str) -> NDArray[np.float64]:
    """Return the mean or maximum probability of the voxels of each lesion, shape (count,)."""
    value = labels.at(probability).astype(np.float64)
    if kind == "max":
        highest = np.zeros(labels.count)
        np.maximum.at(highest, labels.lesion, value)
        return highest
    sums = np.bincount(labels.lesion, weights=value, minlength=labels.count)
    return sums / labels.voxels


def _inside(labels: Labels, region: NDArray[np.bool_] | None, fraction: float) -> NDArray[np.bool_]:
    """Find the lesions that have more than a fraction of their voxels in a region."""
    if region is None:
        return np.zeros(labels.count, bool)
    return exceeds(labels.share_inside(region), labels.voxels, fraction)


def _most_frequent(labels: Labels, regions: NDArray[Any]) -> list[str]:
    """Return the most frequent region of each lesion's voxels. A tie takes the lower number."""
    region = labels.at(regions).astype(np.int64)
    votes = np.zeros((labels.count, int(region.max(initial=0)) + 1), np.int64)
    np.add.at(votes, (labels.lesion, region), 1)
    return [f"region {number}" if number else "none" for number in votes.argmax(axis=1).tolist()]


def _spread(
    values: NDArray[Any], where: NDArray[np.int64], count: int, fill: float
) -> NDArray[Any]:
    """Spread the values of some lesions over all `count` lesions, and fill the others."""
    result = np.full(count, fill, dtype=np.result_type(values.dtype, type(fill)))
    result[where] = values
    return result


def _labels_of(index: NDArray[np.int64], labels: Labels) -> NDArray[np.int64]:
    """Return the label of each lesion index, and 0 for -1."""
    return np.append(labels.values, 0)[index]


def _size_notes(sizes: list[str]) -> tuple[str, ...]:
    outside = [size for size in SIZES if size in sizes and size not in COUNTED_SIZES]
    return tuple(f"{sizes.count(size)} true lesions {size}" for size in outside)
