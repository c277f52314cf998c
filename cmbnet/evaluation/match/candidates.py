"""Candidates that the detector excluded by their score. They continue curves below its threshold.

``lesions.csv`` of ``cmbnet predict`` lists them with place, volume and score, but no image has
their outline. The voxels nearest to their centre stand for it, as many as they have volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmbnet.errors import InputRefused
from cmbnet.evaluation.match.labels import Labels
from cmbnet.evaluation.match.matching import Matching, MatchingRule, detection_scores, match
from cmbnet.evaluation.match.overlap import Overlap, find_overlap
from cmbnet.volume import Volume


@dataclass(frozen=True, slots=True)
class Candidate:
    """A candidate below the detector's operating point."""

    label: int  # Its number in the table
    centre_ras_mm: tuple[float, float, float]  # Its centre, RAS+ mm
    volume_mm3: float  # Its volume
    score: float  # Score that the detector gave it
    # Mean probability of its voxels. NaN if the table lacks it.
    mean_probability: float = float("nan")
    # Maximum probability of its voxels. NaN if the table lacks it.
    max_probability: float = float("nan")


def outline(candidates: Sequence[Candidate], predicted: Labels, grid: Volume) -> Labels:
    """Choose the voxels that stand for candidates: none of a predicted lesion, and none twice.

    The result has the order of the candidates. Only shape and affine of the grid are used.

    Raises:
        InputRefused: If a candidate has no voxel of its own.
    """
    taken = set(predicted.index.tolist())
    parts: list[NDArray[np.int64]] = []
    for one in candidates:
        free = [voxel for voxel in _nearest(one, grid).tolist() if voxel not in taken]
        if not free:
            raise InputRefused(
                f"candidate {one.label} lies wholly in lesions of {grid.source}: mask and "
                "lesions.csv are of different runs; predict again"
            )
        own = free[: max(1, round(one.volume_mm3 / grid.voxel_volume_mm3))]
        taken.update(own)
        parts.append(np.array(own, np.int64))
    index = np.concatenate([np.zeros(0, np.int64), *parts])
    lesion = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = np.argsort(index)
    labels = np.array([one.label for one in candidates], np.int64)
    return Labels(grid.shape, index[order], lesion[order], labels)


def _nearest(one: Candidate, grid: Volume) -> NDArray[np.int64]:
    """Return flat indices of the voxels around a candidate, the nearest first."""
    spacing = np.array(grid.spacing_mm)
    centre = np.linalg.solve(grid.affine[:3, :3], np.array(one.centre_ras_mm) - grid.affine[:3, 3])
    reach = 2 * np.cbrt(one.volume_mm3) / spacing + 2
    low = np.clip(np.floor(centre - reach), 0, np.array(grid.shape) - 1).astype(int)
    high = np.clip(np.ceil(centre + reach) + 1, low + 1, grid.shape).astype(int)
    box = np.stack(np.meshgrid(*map(np.arange, low, high), indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.linalg.norm((box - centre) * spacing, axis=1)
    nearest = box[np.argsort(distance, kind="stable")]
    flat: NDArray[np.int64] = np.ravel_multi_index(tuple(nearest.T), grid.shape)
    return flat


@dataclass(frozen=True, slots=True)
class CandidateVerdicts:
    """The verdicts below the operating point, with candidates."""

    # Highest threshold at which each true lesion is found. NaN if it never is.
    detection: NDArray[np.float64]
    correct: NDArray[np.bool_]  # Bool, one per candidate
    spared: NDArray[np.bool_]  # Bool, one per candidate: neither correct nor false


@dataclass(frozen=True, slots=True)
class ScoredLabels:
    """Lesions with the scores that the detector gave them."""

    labels: Labels
    scores: NDArray[np.float64]


def match_candidates(
    truth: Labels,
    predicted: ScoredLabels,
    candidates: ScoredLabels,
    at_point: tuple[Overlap, Matching],
    rule: MatchingRule,
    affine: NDArray[np.float64],
) -> CandidateVerdicts:
    """Match candidates below the operating point. A lesion that is found there stays found.

    Under ``paper`` candidates add to what predicted lesions cover. Under a one-to-one rule they
    are paired with the true lesions that have no partner yet.
    """
    above, matching = at_point
    detection = detection_scores(above, matching, predicted.scores, rule)
    none = np.zeros(candidates.labels.count, bool)
    if not candidates.labels.count:
        return CandidateVerdicts(detection, none, none)
    if rule.kind == "paper":
        both = find_overlap(truth, joined(predicted.labels, candidates.labels), affine)
        scores = np.concatenate([predicted.scores, candidates.scores])
        every = match(both, rule)
        found_at = detection_scores(both, every, scores, rule)
        return CandidateVerdicts(found_at, every.correct[predicted.labels.count :], none)
    rest = find_overlap(truth.subset(~matching.found), candidates.labels, affine)
    pairs = match(rest, rule)
    detection[~matching.found] = detection_scores(rest, pairs, candidates.scores, rule)
    admissible: Matching = match(find_overlap(truth, candidates.labels, affine), rule)
    extra = (admissible.correct | admissible.spared) & ~pairs.correct
    return CandidateVerdicts(detection, pairs.correct, extra if rule.spare_extras else none)


def joined(first: Labels, second: Labels) -> Labels:
    """Join the lesions of both, the first before the second. No two lesions share a voxel."""
    index = np.concatenate([first.index, second.index])
    lesion = np.concatenate([first.lesion, second.lesion + first.count])
    order = np.argsort(index)
    values = np.concatenate([first.values, second.values])
    return Labels(first.shape, index[order], lesion[order], values)
