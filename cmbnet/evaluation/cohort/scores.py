"""Score a cohort. Training, the command line and notebooks share this call."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from cmbnet.errors import InputRefused
from cmbnet.evaluation.match.case import Case, Settings
from cmbnet.evaluation.match.score import ScoredCase, score_case
from cmbnet.evaluation.stats.columns import Columns, patient_columns
from cmbnet.evaluation.stats.curves import ProbabilityHistogram
from cmbnet.evaluation.stats.metrics import compute_all


@dataclass(frozen=True, slots=True)
class CohortScores:
    """The scores of a cohort, as point values."""

    cases: tuple[ScoredCase, ...]  # Each case with its lesions, in order of name
    columns: Columns  # Counts per patient
    counts: Mapping[str, float]  # Sum of every count over the patients
    # Value of every metric of `cmbnet.evaluation.stats.metrics.METRICS`. An undefined one is NaN.
    metrics: Mapping[str, float]
    settings: Settings  # The settings of the scoring
    # Voxels of all cases by probability. None if a case has no map.
    histogram: ProbabilityHistogram | None = None


def evaluate_cohort(cases: Iterable[Case], settings: Settings | None = None) -> CohortScores:
    """Score cases one after the other and add them up.

    A generator of cases keeps only one in memory. The default settings are the paper's rule.

    Raises:
        InputRefused: If there is no case, a name occurs twice, or a case cannot be scored.

    Examples:
        >>> import numpy as np
        >>> from cmbnet.volume import Volume
        >>> mask = np.zeros((3, 8, 8)); mask[1, 2:5, 2:5] = 1
        >>> case = Case("a", Volume(mask, np.eye(4)), Volume(mask, np.eye(4)))
        >>> scores = evaluate_cohort([case])
        >>> scores.metrics["dice"], scores.metrics["lesion_f1"], scores.metrics["fp_per_scan"]
        (1.0, 1.0, 0.0)
    """
    settings = settings or Settings()
    return summarise((score_case(case, settings) for case in cases), settings)


def summarise(cases: Iterable[ScoredCase], settings: Settings) -> CohortScores:
    """Add up scored cases in any order.

    Raises:
        InputRefused: If there is no case or a name occurs twice.
    """
    kept: list[ScoredCase] = []
    total: ProbabilityHistogram | None = None
    for case in cases:  # a histogram is 64 KiB: added up at once, not kept for every case
        if not kept:
            total = case.histogram
        else:
            total = total + case.histogram if total and case.histogram else None
        kept.append(replace(case, histogram=None))
    ordered = tuple(sorted(kept, key=lambda case: case.name))
    if not ordered:
        raise InputRefused("at least one case is required to score a cohort, got none")
    names = [case.name for case in ordered]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputRefused(f"every case must have its own name, got twice: {', '.join(twice)}")
    columns = patient_columns(ordered)
    sums = columns.sums()
    return CohortScores(
        cases=ordered,
        columns=columns,
        counts={name: float(value) for name, value in sums.items()},
        metrics=compute_all(sums),
        settings=settings,
        histogram=total,
    )
