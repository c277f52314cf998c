"""The rules that decide which true lesions are found and which predicted lesions are correct.

Under every rule, a voxel belongs to at most one lesion on each side. The counts are:

- found: true lesions that the rule calls detected (the TP of recall),
- missed: the other true lesions (FN),
- correct: predicted lesions that the rule calls right (the TP of precision),
- false: the other predicted lesions (FP).

``paper`` judges each lesion by itself. If the predicted mask covers *more than* 40 % of the voxels
of a true lesion, the lesion is found. If the true mask covers more than 40 % of the voxels of a
predicted lesion, that lesion is correct. Exactly 40 % is not enough. A predicted lesion over two
true ones finds both (a merge). If two predicted lesions each cover a part of a true one, their sum
counts (a split). So the numbers of found and of correct lesions may differ.

The other rules pair lesions one to one. They take the largest possible number of admissible pairs,
then the largest sum of overlap measures, and ties go to the larger true lesion. A merge finds one
true lesion and misses the other. In a split, one part is correct and the others are false. With
`MatchingRule.spare_extras` (as in picai_eval), unpaired predicted lesions that would be admissible
alone are left out instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self, get_args

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from cmbnet.errors import UsageError
from cmbnet.evaluation.match.overlap import Overlap

RuleKind = Literal["paper", "coverage", "iou", "any-voxel", "centroid"]
DEFAULT_THRESHOLDS: dict[str, float] = {
    "paper": 0.4,
    "coverage": 0.4,
    "iou": 0.1,
    "any-voxel": 0.0,
    "centroid": 5.0,
}
"""Threshold of each rule: a fraction, or mm for ``centroid``. ``any-voxel`` has none."""

TIE_BREAK = 1e-9
"""Weight of the true lesion's size in the assignment. It decides only ties."""


@dataclass(frozen=True, slots=True)
class MatchingRule:
    """A rule of `match`.

    Raises:
        UsageError: If the kind is unknown or the threshold out of range.

    Examples:
        >>> MatchingRule.parse("iou:0.5")
        MatchingRule(kind='iou', threshold=0.5, spare_extras=False)
        >>> str(MatchingRule())
        'paper:0.4'
    """

    # ``paper``: covered fraction > threshold, each side by itself. The others are one to one.
    # ``coverage``: covered fraction of the true lesion > threshold; ``iou``: intersection over
    # union >= threshold; ``any-voxel``: at least one shared voxel; ``centroid``: centroids at most
    # threshold mm apart.
    kind: RuleKind = "paper"
    threshold: float = 0.4  # Fraction in [0, 1], or mm for ``centroid``
    # Whether an unpaired predicted lesion that is admissible with some true lesion is left out
    # instead of called false. Only for the one-to-one rules.
    spare_extras: bool = False

    def __post_init__(self) -> None:
        if self.kind not in get_args(RuleKind):
            known = ", ".join(get_args(RuleKind))
            raise UsageError(f"a matching rule of {known} is required, got {self.kind!r}")
        highest = np.inf if self.kind == "centroid" else 1.0
        if not 0 <= self.threshold <= highest:
            raise UsageError(
                f"matching rule {self.kind} needs a threshold from 0 to {highest:g}, "
                f"got {self.threshold:g}"
            )
        if self.kind == "iou" and self.threshold == 0:
            raise UsageError("iou:0 would pair lesions that do not touch; use any-voxel")
        if self.spare_extras and self.kind == "paper":
            raise UsageError("the paper's rule pairs nothing, so there are no extras to spare")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``kind`` or ``kind:threshold`` or ``kind:threshold:spare``.

        Raises:
            UsageError: If the text has none of these forms.
        """
        kind, *rest = text.split(":")
        spare = bool(rest) and rest[-1] == "spare"
        numbers = rest[:-1] if spare else rest
        try:
            threshold = float(numbers[0]) if numbers else DEFAULT_THRESHOLDS.get(kind, np.nan)
        except ValueError:
            numbers = ["", ""]
        if len(numbers) > 1:
            raise UsageError(
                f"kind, kind:threshold or kind:threshold:spare is required, got {text!r}"
            )
        return cls(kind=kind, threshold=threshold, spare_extras=spare)  # type: ignore[arg-type]

    def __str__(self) -> str:
        name = self.kind if self.kind == "any-voxel" else f"{self.kind}:{self.threshold:g}"
        return f"{name}:spare" if self.spare_extras else name


@dataclass(frozen=True, slots=True)
class Matching:
    """The verdict on every lesion of a case."""

    found: NDArray[np.bool_]  # Bool, one per true lesion
    correct: NDArray[np.bool_]  # Bool, one per predicted lesion
    spared: NDArray[np.bool_]  # Bool, one per predicted lesion: neither correct nor false
    # Index of the paired (``paper``: most overlapping) predicted lesion, or -1.
    partner_of_truth: NDArray[np.int64]
    # Index of the paired (``paper``: most overlapping) true lesion, or -1.
    partner_of_predicted: NDArray[np.int64]


def match(overlap: Overlap, rule: MatchingRule) -> Matching:
    """Apply a rule to the overlaps of a case."""
    return _each_by_itself(overlap, rule) if rule.kind == "paper" else _one_to_one(overlap, rule)


def exceeds(
    part: NDArray[np.int64], whole: NDArray[np.int64], threshold: float
) -> NDArray[np.bool_]:
    """Return whether part / whole > threshold, exactly. `whole` is at least 1.

    IEEE division is correctly rounded, so a fraction equal to 0.4 gives the same double as the
    literal 0.4 and the comparison is exact at the tie; ``part > 0.4 * whole`` is not.

    Examples:
        >>> exceeds(np.array([2, 3]), np.array([5, 5]), 0.4).tolist()
        [False, True]
    """
    result: NDArray[np.bool_] = part / whole > threshold
    return result


def detection_scores(
    overlap: Overlap, matching: Matching, scores: NDArray[np.float64], rule: MatchingRule
) -> NDArray[np.float64]:
    """Compute the highest threshold on scores at which each true lesion is still found.

    Under ``paper``, the predicted lesions that cover a true lesion are removed from the lowest
    score up, until the rest covers too little. The result is the score of the last lesion that was
    needed. Under a one-to-one rule, it is the score of the partner. Pairs are made once, over all
    predicted lesions.

    Returns:
        One threshold per true lesion. NaN if the lesion is missed, or if a deciding score is
        unknown.
    """
    result = np.full(len(overlap.truth_voxels), np.nan)
    if rule.kind != "paper":
        found = np.flatnonzero(matching.found)
        result[found] = scores[matching.partner_of_truth[found]]
        return result
    for lesion in np.flatnonzero(matching.found):
        pairs = np.flatnonzero(overlap.truth == lesion)
        own = scores[overlap.predicted[pairs]]
        if np.isnan(own).any():
            continue
        order = np.argsort(-own, kind="stable")
        covered = np.cumsum(overlap.shared[pairs][order])
        size = np.full(len(pairs), overlap.truth_voxels[lesion])
        enough = int(np.argmax(exceeds(covered, size, rule.threshold)))
        result[lesion] = own[order][enough]
    return result


def _each_by_itself(overlap: Overlap, rule: MatchingRule) -> Matching:
    n_truth, n_predicted = len(overlap.truth_voxels), len(overlap.predicted_voxels)
    found = exceeds(overlap.truth_covered, overlap.truth_voxels, rule.threshold)
    correct = exceeds(overlap.predicted_covered, overlap.predicted_voxels, rule.threshold)
    return Matching(
        found=found,
        correct=correct,
        spared=np.zeros(n_predicted, bool),
        partner_of_truth=_most_shared(overlap.truth, overlap.predicted, overlap.shared, n_truth),
        partner_of_predicted=_most_shared(
            overlap.predicted, overlap.truth, overlap.shared, n_predicted
        ),
    )


def _most_shared(
    own: NDArray[np.int64], other: NDArray[np.int64], shared: NDArray[np.int64], count: int
) -> NDArray[np.int64]:
    partner = np.full(count, -1)
    order = np.lexsort((-other, shared))  # the last write wins: most shared, then lowest index
    partner[own[order]] = other[order]
    return partner


def _one_to_one(overlap: Overlap, rule: MatchingRule) -> Matching:
    truth, predicted, score = admissible_pairs(overlap, rule)
    n_truth, n_predicted = len(overlap.truth_voxels), len(overlap.predicted_voxels)
    partner_of_truth, partner_of_predicted = np.full(n_truth, -1), np.full(n_predicted, -1)
    # Most pairs are alone: no other pair has one of their lesions, so there is nothing to choose.
    choice = (np.bincount(truth)[truth] > 1) | (np.bincount(predicted)[predicted] > 1)
    partner_of_truth[truth[~choice]] = predicted[~choice]
    for pairs in _groups(truth[choice], predicted[choice], n_truth, n_predicted):
        chosen = np.flatnonzero(choice)[pairs]
        rows, columns = _assign(
            truth[chosen], predicted[chosen], score[chosen], overlap.truth_voxels
        )
        partner_of_truth[rows] = columns
    found = np.flatnonzero(partner_of_truth >= 0)
    partner_of_predicted[partner_of_truth[found]] = found
    correct = partner_of_predicted >= 0
    spared = np.zeros(n_predicted, bool)
    if rule.spare_extras:
        spared[predicted] = True
        spared &= ~correct
    return Matching(
        found=partner_of_truth >= 0,
        correct=correct,
        spared=spared,
        partner_of_truth=partner_of_truth,
        partner_of_predicted=partner_of_predicted,
    )


def admissible_pairs(
    overlap: Overlap, rule: MatchingRule
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Find the pairs that a one-to-one rule allows, as true index, predicted index and score."""
    if rule.kind == "centroid":
        between = overlap.truth_centroid_mm[:, None] - overlap.predicted_centroid_mm[None]
        distance = np.linalg.norm(between, axis=2)
        truth, predicted = np.nonzero(distance <= rule.threshold)
        return truth, predicted, 1 / (1 + distance[truth, predicted])
    truth, predicted, shared = overlap.truth, overlap.predicted, overlap.shared
    truth_voxels, predicted_voxels = (
        overlap.truth_voxels[truth],
        overlap.predicted_voxels[predicted],
    )
    iou = shared / (truth_voxels + predicted_voxels - shared)
    if rule.kind == "coverage":
        allowed, score = exceeds(shared, truth_voxels, rule.threshold), shared / truth_voxels
    elif rule.kind == "iou":
        allowed, score = iou >= rule.threshold, iou
    else:
        allowed, score = shared > 0, iou
    return truth[allowed], predicted[allowed], score[allowed]


def _groups(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], n_truth: int, n_predicted: int
) -> list[NDArray[np.int64]]:
    """Group the indices of the pairs, one array per set of linked lesions."""
    if not len(truth):
        return []
    size = n_truth + n_predicted
    links = coo_matrix((np.ones(len(truth)), (truth, n_truth + predicted)), shape=(size, size))
    _, group = connected_components(links, directed=False)
    order = np.argsort(group[truth], kind="stable")
    cuts = np.flatnonzero(np.diff(group[truth][order])) + 1
    return np.split(order, cuts)


def _assign(
    truth: NDArray[np.int64],
    predicted: NDArray[np.int64],
    score: NDArray[np.float64],
    truth_voxels: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Choose most pairs, then the largest sum of scores, then the larger true lesions."""
    rows, row = np.unique(truth, return_inverse=True)
    columns, column = np.unique(predicted, return_inverse=True)
    weight = np.zeros((len(rows), len(columns)))
    pair_bonus = min(weight.shape) + 1  # one pair more outweighs any sum of scores
    size = truth_voxels[truth] / truth_voxels[truth].max()
    weight[row, column] = pair_bonus + score + TIE_BREAK * size
    chosen_row, chosen_column = linear_sum_assignment(weight, maximize=True)
    paired = weight[chosen_row, chosen_column] > 0
    return rows[chosen_row[paired]], columns[chosen_column[paired]]
