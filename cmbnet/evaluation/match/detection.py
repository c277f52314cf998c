"""The score threshold at which each true lesion stops being found."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmbnet.evaluation.match.matching import Matching, MatchingRule, exceeds
from cmbnet.evaluation.match.overlap import Overlap


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
