"""Validate on whole cases: every slice passes the network, then lesions are found and scored.

Candidates, rules and scoring are those of `cmbnet.lesions` and `cmbnet.evaluation`. The cache holds
the scan as `cmbnet predict` would prepare it, so sizes are measured in the frame of the network.
`cmbnet export` chooses the thresholds with the whole pipeline, back to the scanner's grid.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cmbnet.evaluation import Case, ScoredCase, Settings, score_case, summarise
from cmbnet.lesions import LesionRules, find_lesions, spacing_affine
from cmbnet.training.data.cache_part import BRAIN, IGNORE, LESION
from cmbnet.training.fit.sampler import Sampler
from cmbnet.volume import Volume

SCORING = Settings(size_rule="ignore")

REPORTED = {
    "dice": "case_dice",
    "lesion_recall": "case_lesion_recall",
    "lesion_precision": "case_lesion_precision",
    "fp_per_scan": "case_fp_per_scan",
    "patient_fpr": "case_patient_fpr",
    "patient_fnr": "case_patient_fnr",
}
"""Metrics of the evaluation and their columns in the log."""


def choose_cases(sampler: Sampler, count: int, seed: int) -> list[int]:
    """Choose fixed cases, half of them with lesions if there are enough of both kinds."""
    rng = np.random.default_rng(seed)
    positive = rng.permutation(sampler.cache.with_lesions).tolist()
    control = rng.permutation(sampler.cache.controls).tolist()
    n_control = min(count // 2, len(control))
    return sorted(positive[: count - n_control] + control[:n_control])


def judge_cases(
    predict: Any, sampler: Sampler, cases: list[int], pixel_threshold: float
) -> dict[str, float]:
    """Score whole cases. Return the columns of `REPORTED` that are defined.

    `predict` maps (sampler, case, z) to a probability (y, x), `cases` are indices. Of the lesion
    rules, only the pixel threshold is not the default.
    """
    rules = LesionRules(pixel_threshold=pixel_threshold)
    scored = [_scored(predict, sampler, case, rules) for case in cases]
    metrics = summarise(scored, SCORING).metrics
    found = {column: float(metrics[name]) for name, column in REPORTED.items()}
    return {column: value for column, value in found.items() if np.isfinite(value)}


def _scored(predict: Any, sampler: Sampler, case: int, rules: LesionRules) -> ScoredCase:
    content = sampler.cache.cases[case]
    probability = np.zeros(content.image.shape, np.float32)
    brain = (content.marks & BRAIN) > 0
    for z in np.flatnonzero(brain.any(axis=(1, 2))).tolist():
        probability[z] = predict(sampler, case, z)
    volume = Volume(probability, spacing_affine(content.spacing_mm), source=content.name)
    finding = find_lesions(volume, rules, brain=brain)
    return score_case(
        Case(
            name=content.name,
            truth=volume.with_data(((content.marks & LESION) > 0).astype(np.uint8)),
            predicted=volume.with_data(finding.labels),
            ignore=volume.with_data(((content.marks & IGNORE) > 0).astype(np.uint8)),
        ),
        SCORING,
    )
