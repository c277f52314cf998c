"""A case to score, and the checks that it must pass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from cmbnet.errors import InputRefused
from cmbnet.evaluation.match.candidates import Candidate
from cmbnet.evaluation.match.matching import MatchingRule
from cmbnet.volume import Volume, grid_difference

ScoreKind = Literal["mean", "max"]
SizeRule = Literal["keep", "ignore"]

THICKNESSES = ("below 1.5 mm", "1.5-2.5 mm", "2.5-4 mm", "4 mm and above")
"""Classes of the distance of slices, in order."""


@dataclass(frozen=True, slots=True)
class Case:
    """One scan: reference and prediction on one grid.

    Args:
        name: Name of the case; unique in a cohort.
        truth: Reference: a mask (one value besides 0) or instance labels (several).
        predicted: Prediction: a mask or instance labels. If it is None, `probability` is
            thresholded.
        probability: Probability in [0, 1] of every voxel.
        ignore: Mask of the region where nothing counts.
        brain: Mask of the voxels that count at pixel level. Lesions are not clipped to it.
        regions: Integer region of every voxel, 0 for none.
        lesion_regions: Name of the region of each true instance label. It replaces `regions`.
        predicted_regions: Name of the region of each predicted instance label and candidate, beside
            `lesion_regions`. Then true regions are named as on the scale of `cmbnet.regions`. None
            if the prediction does not know regions.
        patient: Name of the patient. Empty means the name of the case.
        strata: Properties of the scan, such as ``{"field_t": "3"}``. Each makes a stratum.
        lesion_scores: Score that the detector gave to each predicted instance label. FROC and the
            areas by candidate and by patient prefer it to the probabilities of the voxels.
        candidates: Candidates that the detector excluded by their score, for the curves below its
            operating point. None if they are unknown.
        notes: Earlier notes on the case, such as "prediction missing, counted as empty".
    """

    name: str
    truth: Volume
    predicted: Volume | None
    probability: Volume | None = None
    ignore: Volume | None = None
    brain: Volume | None = None
    regions: Volume | None = None
    lesion_regions: Mapping[int, str] | None = None
    predicted_regions: Mapping[int, str] | None = None
    patient: str = ""
    strata: Mapping[str, str] = field(default_factory=dict)
    lesion_scores: Mapping[int, float] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of the scoring. Every result records them.

    Args:
        rule: When a lesion is found and when a prediction is correct.
        probability_threshold: A voxel of this probability or more is predicted. It is used only
            for cases without a mask.
        ignore_fraction: A lesion with more than this share of its voxels in the ignore region is
            left out.
        score: Score of a lesion: mean or maximum probability of its voxels.
        size_rule: With ``keep``, true lesions outside 2-10 mm count and are reported. With
            ``ignore``, they join the ignore region.
        bins: Number of equal bins of probability for the pixel-level curves.
    """

    rule: MatchingRule = field(default_factory=MatchingRule)
    probability_threshold: float = 0.5
    ignore_fraction: float = 0.4
    score: ScoreKind = "mean"
    size_rule: SizeRule = "keep"
    bins: int = 4096


def check_grids(case: Case) -> None:
    """Check that every image of a case lies on the grid of its truth.

    Raises:
        InputRefused: If an image does not. It names both grids and both sources.
    """
    for other in (case.predicted, case.probability, case.ignore, case.brain, case.regions):
        if other is None:
            continue
        difference = grid_difference(case.truth, other)
        if difference is not None:
            raise InputRefused(
                f"case {case.name}: {case.truth.source} and {other.source} must lie on one grid, "
                f"got {difference}. Nothing is resampled: write the prediction on the grid of "
                "the reference"
            )
    if case.predicted is None and case.probability is None:
        raise InputRefused(f"case {case.name}: a mask or a probability map is required, got none")


def check_probability(volume: Volume) -> None:
    """Check that probabilities are finite and within [0, 1].

    Raises:
        InputRefused: If a probability is not.
    """
    low, high = volume.data.min(), volume.data.max()
    if not (low >= 0 and high <= 1):  # also catches NaN, which compares false
        raise InputRefused(
            f"probabilities within [0, 1] are required, got {low!s} to {high!s} in {volume.source}"
        )


def thickness_class(thickness_mm: float) -> str:
    """Return the class of a slice distance. A class holds its lower bound.

    Examples:
        >>> [thickness_class(mm) for mm in (0.8, 1.5, 2.0, 3.0, 5.0)]
        ['below 1.5 mm', '1.5-2.5 mm', '1.5-2.5 mm', '2.5-4 mm', '4 mm and above']
    """
    return THICKNESSES[int(np.searchsorted([1.5, 2.5, 4.0], round(thickness_mm, 3), side="right"))]
