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
from cmbnet.evaluation.match.overlap import (
    Overlap,
    VoxelCounts,
    count_voxels,
    counted,
    find_overlap,
)
from cmbnet.evaluation.stats.curves import ProbabilityHistogram, probability_histogram
from cmbnet.lesions import COUNTED_SIZES, SIZES, axial_axis, size_name
from cmbnet.regions.places import scale_name
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
    return _Scorer(case, settings).result()


class _Scorer:
    """The arrays of one case while it is scored, by side."""

    def __init__(self, case: Case, settings: Settings) -> None:
        self.case, self.settings, self.affine = case, settings, case.truth.affine
        prediction = predicted_volume(case, settings)
        truth, predicted = read_labels(case.truth), read_labels(prediction)
        self.warnings = (*scattered(truth, case.truth), *scattered(predicted, prediction))
        self.excluded = case.candidates or ()
        self.labels: dict[Side, Labels] = {
            "truth": truth,
            "predicted": predicted,
            "candidate": outline(self.excluded, predicted, case.truth),
        }
        self.diameters = {side: diameters_mm(one, self.affine) for side, one in self.labels.items()}
        self.sizes = [size_name(diameter) for diameter in self.diameters["truth"]]
        self.ignore = None if case.ignore is None else case.ignore.data != 0
        self.brain = None if case.brain is None else case.brain.data != 0
        self.left_out = self._ignored_truth()
        self.counted = np.flatnonzero(~self.left_out)
        self.scores: dict[Side, NDArray[np.float64]] = {
            "truth": self._scores(truth, {}),
            "predicted": self._scores(predicted, case.lesion_scores),
            "candidate": np.array(
                [getattr(one, f"{settings.score}_probability") for one in self.excluded], float
            ),
        }

    def _ignored_truth(self) -> NDArray[np.bool_]:
        """Find the true lesions that do not count. They join the ignore region."""
        truth = self.labels["truth"]
        left_out = _inside(truth, self.ignore, self.settings.ignore_fraction)
        if self.settings.size_rule == "ignore":
            left_out |= np.array([size not in COUNTED_SIZES for size in self.sizes], bool)
        if left_out.any():
            region = np.zeros(truth.shape, bool) if self.ignore is None else self.ignore.copy()
            region.ravel()[truth.subset(left_out).index] = True
            self.ignore = region
        return left_out

    def _scores(self, labels: Labels, known: Mapping[int, float]) -> NDArray[np.float64]:
        """Return the scores of lesions from the probabilities of their voxels, or else a table."""
        if self.case.probability is not None:
            return lesion_scores(labels, self.case.probability.data, self.settings.score)
        return np.array([known.get(int(value), np.nan) for value in labels.values], float)

    def result(self) -> ScoredCase:
        case, labels = self.case, self.labels
        truth, rule = labels["truth"].subset(~self.left_out), self.settings.rule
        overlap = find_overlap(truth, labels["predicted"], self.affine)
        matching = match(overlap, rule)
        # The scores of the detector, where it gave any.
        pairs = zip(labels["predicted"].values, self.scores["predicted"], strict=True)
        stated = np.array([case.lesion_scores.get(int(n), score) for n, score in pairs], float)
        excluded = np.array([one.score for one in self.excluded], float)
        verdicts = match_candidates(
            truth,
            ScoredLabels(labels["predicted"], stated),
            ScoredLabels(labels["candidate"], excluded),
            (overlap, matching),
            rule,
            self.affine,
        )
        slice_distance = thickness_class(slice_distance_mm(case.truth))
        return ScoredCase(
            name=case.name,
            patient=case.patient or case.name,
            strata={"slice distance": slice_distance, **case.strata},
            voxels=count_voxels(
                labels["truth"],
                labels["predicted"],
                brain=self.brain,
                ignore=self.ignore,
                voxel_mm3=case.truth.voxel_volume_mm3,
            ),
            truth=self._true(overlap, matching, verdicts.detection),
            predicted=self._predicted(overlap, matching, stated),
            candidates=self._candidates(verdicts, excluded),
            warnings=self.warnings,
            is_truncated=case.candidates is None and case.predicted is not None,
            has_scores=case.probability is not None
            or (bool(case.lesion_scores) and not np.isnan(self.scores["predicted"]).any())
            or not labels["predicted"].count,
            notes=(*case.notes, *_size_notes(self.sizes)),
            histogram=self._histogram(),
        )

    def _true(
        self, overlap: Overlap, matching: Matching, detection: NDArray[np.float64]
    ) -> tuple[ScoredLesion, ...]:
        """Describe the true lesions. Ignored ones were not matched."""
        count = len(self.left_out)
        verdict = np.full(count, "ignored", dtype=object)
        verdict[self.counted] = np.where(matching.found, "found", "missed")
        return self._lesions(
            "truth",
            verdict,
            _spread(overlap.truth_covered / overlap.truth_voxels, self.counted, count, 0.0),
            _spread(matching.partner_of_truth, self.counted, count, -1),
            _spread(detection, self.counted, count, np.nan),
        )

    def _predicted(
        self, overlap: Overlap, matching: Matching, stated: NDArray[np.float64]
    ) -> tuple[ScoredLesion, ...]:
        """Describe the predicted lesions."""
        return self._lesions(
            "predicted",
            self._verdict("predicted", matching),
            overlap.predicted_covered / overlap.predicted_voxels,
            np.append(self.counted, -1)[matching.partner_of_predicted],  # -1 stays -1
            stated,
        )

    def _candidates(
        self, verdicts: CandidateVerdicts, scores: NDArray[np.float64]
    ) -> tuple[ScoredLesion, ...]:
        """Describe the candidates. Their verdicts are those of predicted lesions."""
        count = len(scores)
        verdict = self._verdict("candidate", verdicts)
        return self._lesions(
            "candidate", verdict, np.zeros(count), np.full(count, -1, np.int64), scores
        )

    def _verdict(self, side: Side, of: Matching | CandidateVerdicts) -> NDArray[Any]:
        """Return the verdict on each lesion. A false one in the ignore region is left out."""
        mostly_ignored = _inside(self.labels[side], self.ignore, self.settings.ignore_fraction)
        wrong = np.where(of.spared, "spared", np.where(mostly_ignored, "ignored", "false"))
        return np.where(of.correct, "correct", wrong)

    def _histogram(self) -> ProbabilityHistogram | None:
        if self.case.probability is None:
            return None
        return probability_histogram(
            self.case.probability.data,
            counted(self.labels["truth"], self.brain, self.ignore),
            bins=self.settings.bins,
            brain=self.brain,
            ignore=self.ignore,
        )

    def _regions(self, side: Side) -> list[str]:
        """Return the region of each lesion. True and predicted lesions have a table each."""
        labels = self.labels[side]
        if self.case.regions is not None:
            return _most_frequent(labels, self.case.regions.data)
        table, known = self.case.lesion_regions, self.case.predicted_regions
        if table is None:
            return [""] * labels.count
        if side != "truth":
            return [(known or {}).get(int(value), "") for value in labels.values]
        unknown = [str(value) for value in labels.values if int(value) not in table]
        if unknown:
            raise InputRefused(
                f"the table of true lesions must name every lesion of the reference, case "
                f"{self.case.name} lacks {', '.join(unknown)} of {self.case.truth.source}"
            )
        names = [table[int(value)] for value in labels.values]
        return names if known is None else [scale_name(name) for name in names]

    def _lesions(
        self,
        side: Side,
        verdict: NDArray[Any],
        covered: NDArray[np.float64],
        partner: NDArray[np.int64],
        detection: NDArray[np.float64],
    ) -> tuple[ScoredLesion, ...]:
        """Describe the lesions of a side. `partner` is an index on the other side, or -1."""
        labels, regions = self.labels[side], self._regions(side)
        voxels, voxel_mm3 = labels.voxels, self.case.truth.voxel_volume_mm3
        others = self.labels["predicted" if side == "truth" else "truth"]
        partners = np.append(others.values, 0)[partner]  # 0 for -1
        places = centroids_mm(labels, self.affine).tolist()
        return tuple(
            ScoredLesion(
                side=side,
                label=int(labels.values[n]),
                verdict=str(verdict[n]),  # type: ignore[arg-type]
                voxels=int(voxels[n]),
                volume_mm3=float(voxels[n] * voxel_mm3),
                diameter_mm=diameter,
                size=size_name(diameter),
                centroid_ras_mm=(right, anterior, superior),
                region=regions[n],
                covered=float(covered[n]),
                partner=int(partners[n]),
                score=float(self.scores[side][n]),
                detection_score=float(detection[n]),
            )
            for n, (diameter, (right, anterior, superior)) in enumerate(
                zip(self.diameters[side], places, strict=True)
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


def _size_notes(sizes: list[str]) -> tuple[str, ...]:
    outside = [size for size in SIZES if size in sizes and size not in COUNTED_SIZES]
    return tuple(f"{sizes.count(size)} true lesions {size}" for size in outside)
