"""A case to be scored, and the checks it must pass before anything is counted."""

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
        predicted: Prediction, mask or instance labels. None: `probability` is thresholded.
        probability: Probability in [0, 1] of every voxel.
        ignore: Not 0 where nothing is counted.
        brain: Not 0 where voxels are counted at pixel level. Lesions are not clipped to it.
        regions: Integer region of every voxel, 0 for none.
        lesion_regions: Instead of `regions`: name of the region of each true instance label.
        patient: Who was scanned; the name of the case if empty.
        strata: Properties of the scan, such as ``{"field_t": "3"}``; each makes a stratum.
        lesion_scores: Score that the detector gave to each predicted instance label; FROC, areas
            by candidate and by patient use it before the probabilities of the voxels.
        candidates: What the detector excluded by its score, for the curves below its operating
            point; None where that is not known.
        notes: What happened to the case before ("prediction missing, counted as empty").
    """

    name: str
    truth: Volume
    predicted: Volume | None
    probability: Volume | None = None
    ignore: Volume | None = None
    brain: Volume | None = None
    regions: Volume | None = None
    lesion_regions: Mapping[int, str] | None = None
    patient: str = ""
    strata: Mapping[str, str] = field(default_factory=dict)
    lesion_scores: Mapping[int, float] = field(default_factory=dict)
    candidates: tuple[Candidate, ...] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides a score; written into every result.

    Args:
        rule: When a lesion is found and when a prediction is correct.
        probability_threshold: A voxel is predicted where probability >= this; used only for
            cases without a mask.
        ignore_fraction: A lesion with more than this share of its voxels in the ignore region is
            left out.
        score: Score of a lesion: mean or maximum probability of its voxels.
        size_rule: ``keep``: true lesions outside 2-10 mm count, and are reported; ``ignore``:
            they join the ignore region.
        bins: Number of equal bins of probability for the pixel-level curves.
    """

    rule: MatchingRule = field(default_factory=MatchingRule)
    probability_threshold: float = 0.5
    ignore_fraction: float = 0.4
    score: ScoreKind = "mean"
    size_rule: SizeRule = "keep"
    bins: int = 4096


def check_grids(case: Case) -> None:
    """Every image of a case must lie on the grid of its truth.

    Raises:
        InputRefused: With both grids and both sources, at the first that does not.
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
    """Probabilities must be finite and within [0, 1].

    Raises:
        InputRefused: If one is not.
    """
    low, high = volume.data.min(), volume.data.max()
    if not (low >= 0 and high <= 1):  # also catches NaN, which compares false
        raise InputRefused(
            f"probabilities within [0, 1] are required, got {low!s} to {high!s} in {volume.source}"
        )


def thickness_class(thickness_mm: float) -> str:
    """Class of a distance of slices; a class holds its lower bound.

    Examples:
        >>> [thickness_class(mm) for mm in (0.8, 1.5, 2.0, 3.0, 5.0)]
        ['below 1.5 mm', '1.5-2.5 mm', '1.5-2.5 mm', '2.5-4 mm', '4 mm and above']
    """
    return THICKNESSES[int(np.searchsorted([1.5, 2.5, 4.0], round(thickness_mm, 3), side="right"))]
