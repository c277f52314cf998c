"""Which unreviewed cases would teach most: the most uncertain, and those most unlike the rest."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from cmbnet.report.result import Result
from cmbnet.review import Cohort
from cmbnet.review.cohort import ReviewCase

SUGGESTED = 5
LEAST_SPREAD = 1e-9


def suggestions(reviewed: Sequence[tuple[ReviewCase, Cohort]]) -> Iterator[str]:
    """Name the cases to review next, most useful first.

    Uncertain is a case whose candidates have scores near 1/2 (the sum of their entropies). Unlike
    is a case whose measures of quality and geometry lie far from those of every reviewed case.

    Args:
        reviewed: The finished cases, and the cohort of each.
    """
    done = {case.folder.resolve(): case for case, _ in reviewed}
    cohorts = {id(cohort): cohort for _, cohort in reviewed}.values()
    waiting = {
        case.folder.resolve(): case
        for cohort in cohorts
        for case in cohort.cases
        if case.result is not None and case.folder.resolve() not in done
    }
    if not waiting:
        return
    names = [case.name for case in waiting.values()]
    results = [case.result for case in waiting.values() if case.result is not None]
    known = [case.result for case in done.values() if case.result is not None]
    yield f"{len(names)} cases are not reviewed yet"
    for what, values in (
        ("most uncertain", np.array([_uncertainty(one) for one in results])),
        ("most unlike the reviewed ones", _distances(results, known)),
    ):
        best = np.argsort(-values, kind="stable")[:SUGGESTED]
        yield f"review next, {what}: {', '.join(names[n] for n in best.tolist())}"


def _uncertainty(result: Result) -> float:
    """Add up the entropies of the scores of all candidates, in bits."""
    scores = [lesion.score for lesion in (*result.lesions, *result.excluded)]
    p = np.clip(np.array(scores, float), 1e-6, 1 - 1e-6)
    return float(-np.sum(p * np.log2(p) + (1 - p) * np.log2(1 - p)))


def _distances(waiting: Sequence[Result], known: Sequence[Result]) -> NDArray[np.float64]:
    """Return the distance of each case to the nearest reviewed one, in standard deviations."""
    table = np.array([_measures(one) for one in (*waiting, *known)])
    spread = np.maximum(table.std(axis=0), LEAST_SPREAD)
    table = (table - table.mean(axis=0)) / spread
    mine, theirs = table[: len(waiting)], table[len(waiting) :]
    apart: NDArray[np.float64] = np.linalg.norm(mine[:, None] - theirs[None], axis=-1).min(axis=1)
    return apart


def _measures(result: Result) -> list[float]:
    measures = [np.ravel(result.quality.measures[name]) for name in sorted(result.quality.measures)]
    geometry = [*result.input.shape_ijk, *result.input.spacing_ijk_mm]
    return [*map(float, np.concatenate(measures)), *map(float, geometry)]
